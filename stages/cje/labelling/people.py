"""People as the oracle: the tables of labels contain what they have said so far.

The list is in the order of the sampling design, whose first k prompts are a sample with known
probabilities for every k. So a policy's labels have the probability of the prompts down to the last
one that people have reached, times the share of those that is labelled. What is not random is
counted: skips, and answers that were passed over.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cje.data.tables import LOGGED, read_table
from cje.errors import CJEError
from cje.labelling.kept import LABELS, Labels, Mark, check_scale, ratings
from cje.labelling.tasks import tasks_for_checks, tasks_for_estimates
from cje.pipeline.choice import AnswerPool, given_labels, label_counts
from cje.pipeline.designs import answer_pool
from cje.pipeline.sources import LabelSource, open_source
from cje.settings import Settings

ANSWERS = ["uid", "policy", "draw"]


def open_label_source(settings: Settings, stage: str) -> LabelSource:
    """The source of labels that the settings name: people, models or files."""
    source = open_source(settings, stage)
    return HumanSource(source, settings) if settings.asks_people else source


def read_pool(folder: Path, settings: Settings) -> AnswerPool:
    """The answers that can be labelled, from the tables in `folder`; where people label, with the
    designs as far as they have been learned from them."""
    pool = answer_pool(
        settings,
        read_table(folder / "prompts.parquet", "prompts"),
        read_table(folder / "logs.parquet", "logs", ["uid", "answer", "action"]),
        read_table(folder / "draws.parquet", "draws", ["uid", "policy", "draw", "answer"]),
        read_table(folder / "proxy_scores.parquet", "proxy_scores"),
    )
    return learned(pool, Labels(LABELS), settings) if settings.asks_people else pool


class HumanSource:
    """A source of labels that people give; `source` is that of the answers."""

    def __init__(self, source: LabelSource, settings: Settings):
        self.source, self.settings = source, settings
        self.labels = Labels(LABELS)
        check_scale(self.labels, settings.oracle_range)

    def oracle_labels(self, pool: AnswerPool) -> pd.DataFrame:
        """The labels so far of the answers that estimates use."""
        if self.settings.source == "files" and len(self.source.oracle_labels(pool)):
            raise CJEError(
                "data/inputs: the files contain oracle labels, and oracle_model is human; "
                "remove them, or set oracle_model to the model that gave them"
            )
        rows = tasks_for_estimates(self.settings, pool)
        return label_table(_by_reach(rows, self.labels, pool), self.labels)

    def validation_labels(self, pool: AnswerPool, used: pd.DataFrame) -> pd.DataFrame:
        """The labels so far of the answers that check the estimates."""
        return label_table(tasks_for_checks(self.settings, pool), self.labels)

    def call_table(self) -> pd.DataFrame:
        """Table calls: empty, for people are not called."""
        return self.source.call_table()

    def progress(self, pool: AnswerPool) -> pd.DataFrame:
        """How far people are with the answers that estimates use; see `progress`."""
        return progress(tasks_for_estimates(self.settings, pool), self.labels)

    def checks_waiting(self, pool: AnswerPool) -> int:
        """How many answers that would check the estimates nobody has labelled or skipped."""
        rows = tasks_for_checks(self.settings, pool)
        return int(progress(rows, self.labels)["waiting"].sum())


def _by_reach(rows: pd.DataFrame, labels: Labels, pool: AnswerPool) -> pd.DataFrame:
    """Each policy's rows down to the last one that people have reached, with the probability of
    their prompt to be among that many prompts of its design."""
    places = rows["place"].where(_reached(rows, labels))
    reach = places.groupby([rows["policy"], rows["draw"]]).transform("max")
    rows = rows[rows["place"] <= reach]  # none of a policy without a mark, whose reach is NaN
    chance = np.ones(len(rows))
    places = pd.Index(pool.prompts["uid"]).get_indexer(rows["uid"])
    logged, reach = rows["draw"].to_numpy() == LOGGED, reach[rows.index].to_numpy()
    for design, own in ((pool.designs.logged, logged), (pool.designs.own, ~logged)):
        if design is None:  # still to be learned: none of its answers is on the list
            continue
        for last in np.unique(reach[own]):
            here = own & (reach == last)
            chance[here] = design.probability(int(last) + 1)[places[here]]
    return rows.assign(oracle_prob=chance)


def _reached(rows: pd.DataFrame, labels: Labels) -> pd.Series:
    """Whether people have reached each row: it has a mark, and was not marked while it was on the
    list for another reason, unless all of the policy's rows were."""
    marked = pd.Series([bool(labels.current.get(name)) for name in rows["id"]], rows.index, bool)
    whole = rows.groupby(["policy", "draw"])["before"].transform("all").astype(bool)
    return marked & (~rows["before"] | whole)


def learned(pool: AnswerPool, labels: Labels, settings: Settings) -> AnswerPool:
    """The pool with its targets' design learned from the labels on the logs, as soon as people have
    dealt with all the logged answers that it is learned from. What they said until then counts:
    labels that come or change later do not change an order that people have begun."""
    if pool.designs.own is not None:
        return pool
    count, _ = label_counts(settings, len(pool.prompts))
    rows = tasks_for_estimates(settings, pool)
    rows = rows[(rows["draw"] == LOGGED) & (rows["place"] < count)]
    found = first_labels(labels, set(rows["id"]))
    if found is None:
        return pool
    return pool.with_labels(rows[["uid"]].assign(oracle_score=rows["id"].map(found)))


def first_labels(labels: Labels, names: set[str]) -> dict[str, float] | None:
    """The labels of the answers at the moment when each of them first had a mark: the mean of its
    ratings, NaN where it was skipped; None if that moment has not come yet."""
    current: dict[str, dict[str, Mark]] = {name: {} for name in names}
    waiting = set(names)
    for mark in labels.marks:
        if not waiting:
            break
        if mark.id in names:
            current[mark.id].pop(mark.rater, None)
            if not mark.withdrawn:
                current[mark.id][mark.rater] = mark
            (waiting.discard if current[mark.id] else waiting.add)(mark.id)
    if waiting:
        return None
    return {name: mean(ratings(marks)) for name, marks in current.items()}


def label_table(rows: pd.DataFrame, labels: Labels) -> pd.DataFrame:
    """Table oracle_labels of the answers (with `id` and `oracle_prob`) that have a label: the mean
    of its `ratings`. Those labelled represent the others of the policy among the rows."""
    ratings = [labels.ratings(name) for name in rows["id"]]
    found = rows[[*ANSWERS, "oracle_prob"]].assign(
        oracle_score=[mean(given) for given in ratings],
        raters=pd.array([len(given) or None for given in ratings], dtype="Int64"),
        reason=[labels.notes(name) for name in rows["id"]],
        ratings=pd.Series([given or None for given in ratings], rows.index, dtype=object),
    )
    return given_labels(found).reset_index(drop=True)


def mean(ratings: Sequence[float]) -> float:
    """The mean of an answer's ratings, within them whatever the rounding; NaN where there are
    none."""
    if not ratings:
        return math.nan
    return min(max(math.fsum(ratings) / len(ratings), min(ratings)), max(ratings))


def progress(rows: pd.DataFrame, labels: Labels) -> pd.DataFrame:
    """By policy, how many of its answers (`rows` with `id`, in the list's order) there are to label
    (`asked`), and how many are `labelled`, `skipped` by everybody who looked at them, `passed_over`
    (without a mark, though a later one has one), and `waiting`, passed over or not."""
    found, rows = {}, rows.assign(reached=_reached(rows, labels))
    for policy, own in rows.groupby("policy", sort=False):
        names = list(own["id"])
        labelled = [bool(labels.ratings(name)) for name in names]
        marked = [bool(labels.current.get(name)) for name in names]
        reached = own["reached"].to_numpy().nonzero()[0]
        last = reached.max() if len(reached) else -1
        found[policy] = {
            "asked": len(names),
            "labelled": sum(labelled),
            "skipped": sum(marked) - sum(labelled),
            "passed_over": marked[: last + 1].count(False),
            "waiting": len(names) - sum(marked),
        }
    columns = ["asked", "labelled", "skipped", "passed_over", "waiting"]
    return pd.DataFrame.from_dict(found, orient="index", columns=columns)
