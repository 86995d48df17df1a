"""Which policies differ, policy by policy."""

from dataclasses import dataclass

import pandas as pd

from cje.runs import Run, turned
from cje.words import interval, number, p_value


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
class Comparisons:
    """Policies in the order of the ranking, a row of cells each (None: with itself), and how many
    pairs are told apart of those that may be believed."""

    policies: list[str]
    refused: set[str]
    rows: list[tuple[str, list[Cell | None]]]
    apart: int
    pairs: int


WORDS = {
    "better": "row is better",
    "worse": "row is worse",
    "same": "not told apart",
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
    return Comparisons(policies, refused, rows, apart, apart + kinds.count("same") // 2)


def cell(pair: dict, alpha: float) -> Cell:
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
