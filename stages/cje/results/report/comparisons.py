"""Which policies differ, policy by policy."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from cje.results.report.axis import Axis, axis_over
from cje.results.report.ranking import MARGIN, WIDTH
from cje.results.run import Run, turned
from cje.results.words import differences_title, interval, number, p_value


@dataclass(frozen=True)
class Cell:
    """The row's estimate minus the column's; `kind`: better, worse, same, or refused where one of
    the two is."""

    difference: str
    interval: str
    p_value: str
    words: str
    kind: str


@dataclass(frozen=True)
class Difference:
    """A policy less the base: numbers in words, `told` (better, worse, same), and the coordinates
    of its drawing."""

    policy: str
    difference: str
    interval: str
    p_value: str
    told: str
    words: str
    low: float
    place: float
    high: float


@dataclass(frozen=True)
class AgainstBase:
    """Every policy that is not refused against the base policy, in the order of the ranking; the
    scale of the drawings, and where 0 is on it."""

    base: str
    title: str
    rows: list[Difference]
    axis: Axis
    zero: float
    width: int


@dataclass(frozen=True)
class Comparisons:
    """Policies in the order of the ranking, a row of cells each (None: with itself), and how many
    pairs differ clearly of those that may be believed."""

    policies: list[str]
    refused: set[str]
    rows: list[tuple[str, list[Cell | None]]]
    apart: int
    pairs: int
    against: AgainstBase


TOLD = {"better": "better", "worse": "worse", "same": "no clear difference"}
WORDS = {
    "better": "row is better",
    "worse": "row is worse",
    "same": "no clear difference",
    "refused": "refused",
}


NOT_COMPARED = Cell("", "", "", WORDS["refused"], "refused")


def comparisons(run: Run) -> Comparisons:
    """All pairs, both ways round."""
    policies = [str(policy) for policy in run.estimates.index]
    refused = set(run.refused)
    found: dict[tuple[str, str], Cell] = {}
    for pair in run.comparisons.to_dict("records"):
        a, b = pair["policy_a"], pair["policy_b"]
        found[a, b] = cell(pair, run.settings.alpha)
        found[b, a] = cell(turned(pair), run.settings.alpha)
    rows = [
        (a, [None if a == b else found.get((a, b), NOT_COMPARED) for b in policies])
        for a in policies
    ]
    kinds = [pair.kind for pair in found.values()]
    apart = kinds.count("better")
    pairs = apart + kinds.count("same") // 2
    return Comparisons(policies, refused, rows, apart, pairs, against_base(run))


def against_base(run: Run) -> AgainstBase:
    """The differences from the base policy, drawn on one scale."""
    table = run.against_base
    ends = table[["difference", "ci_low", "ci_high"]].to_numpy(float).ravel()
    axis = axis_over([*ends, 0.0], MARGIN, WIDTH - MARGIN)
    rows = [
        Difference(
            str(policy),
            number(row["difference"], "+.3f"),
            interval(row["ci_low"], row["ci_high"], "+.3f"),
            p_value(row["p_value_corrected"]),
            row["told"],
            TOLD[row["told"]],
            axis.at(row["ci_low"]),
            axis.at(row["difference"]),
            axis.at(row["ci_high"]),
        )
        for policy, row in table.iterrows()
    ]
    title = differences_title(table, run.base)
    return AgainstBase(run.base, title, rows, axis, axis.at(0.0), WIDTH)


def cell(pair: dict[str, Any], alpha: float) -> Cell:
    """A pair in words."""
    corrected = pair["p_value_corrected"]
    kind = "same"
    if pd.notna(corrected) and corrected < alpha:
        kind = "better" if pair["difference"] > 0 else "worse"
    return Cell(
        number(pair["difference"], "+.3f"),
        interval(pair["ci_low"], pair["ci_high"]),
        p_value(corrected),
        WORDS[kind],
        kind,
    )
