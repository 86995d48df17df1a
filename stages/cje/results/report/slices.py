"""The estimates on parts of the prompts: by task, and by whatever else their rows say of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cje.data.metadata import metadata_columns
from cje.results.rows import EstimateRow
from cje.results.view import RunView
from cje.results.words import count, counted, listed, short
from cje.stats.estimators import FEWEST_LABELS
from cje.stats.samples import clusters_of
from cje.stats.slices import Part, part_estimate
from cje.vocabulary import Evidence

MOST_VALUES = 12  # of a column; of more the most frequent stand for themselves
NUMBER_GROUPS = 4
MOST_COLUMNS = 20
OTHERS = "all others"
NONE = "not given"


@dataclass(frozen=True)
class Slices:
    """A column's parts: `rows` are (value, prompts, a part a policy); without any, `why`."""

    column: str
    rows: list[tuple[str, int, list[Part]]]
    why: str


@dataclass(frozen=True)
class ByKind:
    """The policies that are not refused, their slices by column, and what to think of so many."""

    policies: list[str]
    columns: list[Slices]
    looks: str
    left_out: str


def slices(view: RunView) -> ByKind:
    """Empty `columns` where the prompts have no metadata, or every policy is refused."""
    prompts = view.run.prompts.reset_index(drop=True)
    table = metadata_columns(prompts["metadata"])
    policies = [row.policy for row in view.kept]
    if not policies or table.empty:
        return ByKind(policies, [], "", "")
    names = [name for name in table if table[name].nunique() > 1 or table[name].isna().any()]
    estimate = _Estimator(view, prompts)
    found = [sliced(name, parts(table[name]), estimate, view.kept) for name in names[:MOST_COLUMNS]]
    found.sort(key=lambda one: not one.rows)
    left = names[MOST_COLUMNS:]
    words = f"Left out, because there are too many columns: {listed(left)}." if left else ""
    return ByKind(policies, found, looks(found, view.alpha), words)


def sliced(
    column: str, groups: pd.Series, estimate: "_Estimator", estimates: Sequence[EstimateRow]
) -> Slices:
    """The slices by one column; one sentence where none holds labels enough."""
    values = list(groups.cat.categories)
    every = {
        value: [estimate(row, (groups == value).to_numpy()) for row in estimates]
        for value in values
    }
    named = {value: row for value, row in every.items() if value not in (OTHERS, NONE)}
    if all(part.value is None for row in named.values() for part in row):
        sizes = {value: row[0].prompts for value, row in named.items()}
        largest = max(sizes, key=lambda value: sizes[value])
        why = (
            f"{counted(groups.attrs['values'], 'value')}, of which none has "
            f"{counted(FEWEST_LABELS, 'label')} of a policy; the largest, {largest}, has "
            f"{counted(sizes[largest], 'prompt')}. That is too few for a number."
        )
        return Slices(column, [], why)
    rows = [(value, row[0].prompts, row) for value, row in every.items()]
    return Slices(column, rows, "")


def looks(found: Sequence[Slices], alpha: float) -> str:
    """How many intervals there are, and how many of those miss by chance alone."""
    shown = sum(part.value is not None for own in found for _, _, row in own.rows for part in row)
    missed = shown * alpha
    if shown < 2:
        return ""
    chance = "one of them may well miss"
    if missed >= 1.5:
        chance = f"about {count(missed)} of them miss"
    return (
        f"These are {count(shown)} intervals from the same labels, not corrected for their number: "
        f"{chance} the true value by chance alone. A surprise here calls for more labels; it "
        "settles nothing."
    )


def parts(values: pd.Series) -> pd.Series:
    """The part that each prompt is in, as ordered categories: the values themselves, of many
    numbers groups of about the same size, of many texts the most frequent and the others.

    `attrs["values"]` is how many different values there are.
    """
    known = values.dropna()
    numeric = known.map(lambda value: isinstance(value, int | float)).all()
    many = known.nunique() > MOST_VALUES
    if numeric and many:
        numbers = values.astype(float)
        edges = np.unique(np.quantile(known.astype(float), np.linspace(0, 1, NUMBER_GROUPS + 1)))
        place = np.searchsorted(edges[1:-1], numbers, side="right")
        ends = numbers.groupby(place).agg(["min", "max"])
        named = {row.Index: _span(row.min, row.max) for row in ends.itertuples()}
        words = pd.Series([named[p] for p in place], values.index).where(values.notna(), NONE)
        order = list(dict.fromkeys(named.values()))
    else:
        words = values.map(_word, na_action="ignore").astype(object).where(values.notna(), NONE)
        counts = words[values.notna()].value_counts()
        order = [_word(value) for value in sorted(set(known))] if numeric else list(counts.index)
        if many:
            order = list(counts.index[: MOST_VALUES - 1])
            words = words.where(words.isin([*order, NONE]), OTHERS)
            order.append(OTHERS)
    if values.isna().any():
        order.append(NONE)
    found = pd.Series(pd.Categorical(words, list(dict.fromkeys(order))), values.index)
    found.attrs["values"] = int(known.nunique())
    return found


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return short(value) if isinstance(value, float) else str(value)


def _span(low: float, high: float) -> str:
    return short(low) if low == high else f"{short(low)} to {short(high)}"


class _Estimator:
    """A policy's estimate on some of the prompts."""

    def __init__(self, view: RunView, prompts: pd.DataFrame):
        self.view, run, uids = view, view.run, prompts["uid"]
        self.influence = run.influence.reindex(uids)
        self.cluster = pd.factorize(clusters_of(prompts))[0]
        answers = pd.concat([run.logs[_LABELLED], run.draws[_LABELLED]])
        labels = answers[answers["oracle_score"].notna()]
        self.labelled = {p: uids.isin(rows["uid"]) for p, rows in labels.groupby("policy")}
        self.none = pd.Series(False, uids.index)
        self.means = [
            (row.v_hat, row.se * row.labels**0.5)
            for row in view.estimates
            if row.evidence == Evidence.LABELS and row.v_hat is not None and row.se is not None
        ]

    def __call__(self, row: EstimateRow, inside: np.ndarray) -> Part:
        contribution = self.influence[row.policy]
        labelled = self.labelled.get(row.policy, self.none)
        if row.evidence == Evidence.WEIGHTS:
            labelled = labelled | self.labelled.get(self.view.base, self.none)
        # What the standard error holds beyond the contributions widens the parts' as well.
        alone = contribution.std() / len(contribution) ** 0.5
        widening = row.se / alone if row.se is not None and alone > 0 else 1.0
        return part_estimate(
            contribution.to_numpy(), labelled.to_numpy(), self.cluster, inside,
            alpha=self.view.alpha, widening=widening, means=self.means,
        )  # fmt: skip


_LABELLED = ["uid", "policy", "oracle_score"]
