"""What is reported about labels: how many there are, what waits, and how well raters agree."""

from typing import Any

import pandas as pd

from cje.errors import Waiting
from cje.labelling.agreement import agreement
from cje.labelling.files import waiting, write_lists
from cje.labelling.people import HumanSource
from cje.labelling.tasks import task_list
from cje.pipeline.choice import AnswerPool
from cje.vocabulary import counted


def wait_for_people(source: HumanSource, progress: pd.DataFrame, pool: AnswerPool) -> str:
    """Write the list of answers that wait for labels, and say so in the end of a sentence, which is
    empty if none waits. Raises Waiting if there is no label yet."""
    rows = task_list(source.settings, pool)
    left = waiting(rows, source.labels)
    if left.empty:
        return ""
    path = write_lists(left, source.settings)
    wait = f"{counted(len(left), 'answer')} {'waits' if len(left) == 1 else 'wait'}"
    label = "cje label (a page), or fill in the file and cje label --import FILE"
    if not progress["labelled"].sum():
        raise Waiting(
            f"{wait} for people's labels in {path}; none is labelled yet.\n"
            f"Next: {label}; then dvc repro"
        )
    return f"; {wait} for labels in {path}: {label}, then dvc repro"


def label_metrics(
    labels: pd.DataFrame, answers: pd.DataFrame, progress: pd.DataFrame | None
) -> dict[str, Any]:
    """The number of labels; where people label, also their progress with the list, in total and by
    policy; and where raters shared answers, how well they agree. `labels` is table oracle_labels,
    `answers` has the texts."""
    facts: dict[str, Any] = {"labels": len(labels)}
    if progress is not None:
        facts |= {name: int(count) for name, count in progress.sum().items()}
    texts = labels.merge(answers[["uid", "policy", "draw", "answer"]], how="left")
    texts = texts[texts["ratings"].notna()].drop_duplicates(["uid", "answer"])
    found = agreement(list(texts["ratings"]))
    if found is not None:
        facts["raters"] = vars(found)
    if progress is not None:
        facts["policies"] = progress.astype(int).to_dict("index")
    return facts
