"""What is said of labels: how many there are, what waits, and how far raters agree."""

from typing import Any

import pandas as pd

from cje.errors import Waiting
from cje.labelling.agreement import agreement
from cje.labelling.files import waiting, write_lists
from cje.labelling.people import HumanSource
from cje.labelling.tasks import task_list
from cje.pipeline.choice import AnswerPool


def wait_for_people(source: HumanSource, progress: pd.DataFrame, pool: AnswerPool) -> str:
    """Write the list of what waits, and say so, as the end of a sentence; nothing where nothing
    waits. Raises Waiting where there is no label yet."""
    rows = task_list(source.settings, pool)
    left = waiting(rows, source.labels)
    if left.empty:
        return ""
    path = write_lists(left, source.settings)
    wait = "waits" if len(left) == 1 else "wait"
    label = "cje label (a page), or fill in the file and cje label --import FILE"
    if not progress["labelled"].sum():
        raise Waiting(
            f"{counted(len(left))} {wait} for labels of people, in {path}, and none has any yet.\n"
            f"Next: {label}; then dvc repro"
        )
    return f"; {counted(len(left))} {wait} for labels in {path}: {label}, then dvc repro"


def label_metrics(
    labels: pd.DataFrame, answers: pd.DataFrame, progress: pd.DataFrame | None
) -> dict[str, Any]:
    """How many labels there are; of people's also how far they are with the list, by policy; and
    where raters shared answers, how far they agree. `labels` is table oracle_labels, `answers` has
    the texts."""
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


def counted(answers: int) -> str:
    """So many answers."""
    return "1 answer" if answers == 1 else f"{answers:,} answers"
