"""People as the oracle of a source: its tables of labels hold what they said so far.

Unlabelled answers are not labelled yet: the list is in the order of the sampling design, whose
first k prompts are a sample with known chances for every k. So a policy's labels have the chance of
the prompts down to the last that people came to, times the part of those that is labelled. What is
not by chance is counted: skips, and answers that were passed over.
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from cje.errors import CJEError
from cje.labelling.kept import LABELS, Labels, check_scale
from cje.labelling.tasks import for_checks, for_estimates
from cje.pipeline.choice import given_labels
from cje.pipeline.sources import Source, open_source
from cje.settings import Settings
from cje.stats.sampling import Design

ANSWERS = ["uid", "policy", "draw"]


def open_labelled(settings: Settings, stage: str) -> Source:
    """The source that the settings name, with people as its oracle where they say so."""
    source = open_source(settings, stage)
    return PeopleLabel(source, settings) if settings.asks_people else source


class PeopleLabel:
    """A source whose labels are those of people."""

    def __init__(self, source: Source, settings: Settings):
        self.source, self.settings = source, settings
        self.labels = Labels(LABELS)
        check_scale(self.labels, settings.oracle_range)

    def __getattr__(self, name: str):
        return getattr(self.source, name)

    def oracle_labels(
        self, prompts: pd.DataFrame, logs: pd.DataFrame, draws: pd.DataFrame, design: Design
    ) -> pd.DataFrame:
        """The labels so far of the answers that estimates use."""
        asked = (prompts, logs, draws, design)
        if self.settings.source == "files" and len(self.source.oracle_labels(*asked)):
            raise CJEError(
                "data/inputs: there are oracle labels in the files, and oracle_model is human; "
                "take them out, or set oracle_model to that which gave them"
            )
        rows = for_estimates(self.settings, *asked)
        return given(_by_reach(rows, self.labels, prompts, design), self.labels)

    def validation_labels(
        self,
        prompts: pd.DataFrame,
        logs: pd.DataFrame,
        draws: pd.DataFrame,
        used: pd.DataFrame,
        design: Design,
    ) -> pd.DataFrame:
        """The labels so far of the answers that check the estimates."""
        return given(for_checks(self.settings, prompts, logs, draws, design), self.labels)

    def progress(
        self, prompts: pd.DataFrame, logs: pd.DataFrame, draws: pd.DataFrame, design: Design
    ) -> pd.DataFrame:
        """How far people are with the answers that estimates use; see `progress`."""
        return progress(for_estimates(self.settings, prompts, logs, draws, design), self.labels)

    def checks_waiting(
        self, prompts: pd.DataFrame, logs: pd.DataFrame, draws: pd.DataFrame, design: Design
    ) -> int:
        """How many answers that would check the estimates nobody has labelled or skipped."""
        rows = for_checks(self.settings, prompts, logs, draws, design)
        return int(progress(rows, self.labels)["waiting"].sum())


def _by_reach(
    rows: pd.DataFrame, labels: Labels, prompts: pd.DataFrame, design: Design
) -> pd.DataFrame:
    """Of each policy the rows down to the last that people came to, with the chance that their
    prompt had to be among so many of the design."""
    marked = pd.Series([bool(labels.current.get(name)) for name in rows["id"]], rows.index)
    reach = rows["place"].where(marked).groupby([rows["policy"], rows["draw"]]).transform("max")
    rows = rows[rows["place"] <= reach]  # none of a policy without a mark, whose reach is NaN
    chance = np.ones(len(rows))
    places = pd.Index(prompts["uid"]).get_indexer(rows["uid"])
    for last in reach[rows.index].unique():
        here = (reach[rows.index] == last).to_numpy()
        chance[here] = design.probability(int(last) + 1)[places[here]]
    return rows.assign(oracle_prob=chance)


def given(rows: pd.DataFrame, labels: Labels) -> pd.DataFrame:
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
    """By policy, how many of its answers (`rows` with `id`, in the list's order) were `asked`,
    `labelled`, `skipped` by everybody who looked at them, `passed_over` (nobody said anything, and
    a later one has a mark), and how many are `waiting`, passed over or not."""
    found = {}
    for policy, own in rows.groupby("policy", sort=False):
        names = list(own["id"])
        labelled = [bool(labels.ratings(name)) for name in names]
        marked = [bool(labels.current.get(name)) for name in names]
        last = max((place for place, done in enumerate(marked) if done), default=-1)
        found[policy] = {
            "asked": len(names),
            "labelled": sum(labelled),
            "skipped": sum(marked) - sum(labelled),
            "passed_over": last + 1 - sum(marked),
            "waiting": len(names) - sum(marked),
        }
    columns = ["asked", "labelled", "skipped", "passed_over", "waiting"]
    return pd.DataFrame.from_dict(found, orient="index", columns=columns)
