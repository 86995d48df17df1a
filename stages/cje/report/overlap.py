"""Which weights the estimates rest on, why, and how many logs still speak."""

from dataclasses import dataclass

import pandas as pd

from cje.report.words import number, percent
from cje.runs import Run
from cje.vocabulary import WeightKind

KINDS = {WeightKind.SEQUENCE: "exact", WeightKind.MARGINAL: "learned", WeightKind.NONE: "none"}
MEANINGS = {
    "exact": "the ratio of the answers' probabilities under policy and base (sequence)",
    "learned": "from judge scores and fresh answers (marginal); they check nothing",
    "none": "the estimate uses no weights: it stands on labels, or on nothing",
}
STATUSES = {"GOOD": "good", "WARNING": "warning", "CRITICAL": "critical"}


@dataclass(frozen=True)
class Overlap:
    """A policy's row, in words; shares from 0 to 1 for the bars."""

    policy: str
    kind: str
    why: str
    used: str
    exact: str
    mean: str
    status: str
    used_share: float | None
    exact_share: float | None


def overlap(run: Run) -> list[Overlap]:
    """The rows, in the order of the ranking."""
    return [
        Overlap(
            policy=str(policy),
            kind=KINDS.get(row["weights"], row["weights"]),
            why=str(row["why"]),
            used=percent(row.get("ess")),
            exact=percent(row.get("sequence_ess")),
            mean=number(row.get("sequence_mean_weight"), ".3g"),
            status=STATUSES.get(row["status"], str(row["status"])),
            used_share=bar(row.get("ess")),
            exact_share=bar(row.get("sequence_ess")),
        )
        for policy, row in run.diagnostics.iterrows()
    ]


def bar(share: float | None) -> float | None:
    """The length of a bar of 100; None where the share is not known."""
    return None if pd.isna(share) else round(100 * float(share), 1)
