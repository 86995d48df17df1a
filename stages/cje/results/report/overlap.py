"""Which weights the estimates rest on, why, and how many logs still speak."""

from dataclasses import dataclass

import pandas as pd

from cje.results.run import Run
from cje.results.words import UNKNOWN, number, percent
from cje.vocabulary import Status, WeightKind

KINDS = {WeightKind.SEQUENCE: "exact", WeightKind.MARGINAL: "learned", WeightKind.NONE: "none"}
MEANINGS = {
    "exact": "the ratio of the answers' probabilities under policy and base (sequence)",
    "learned": "from judge scores and fresh answers (marginal); they check nothing",
    "none": "the estimate uses no weights: it stands on labels, or on nothing",
}
STATUSES = {Status.GOOD: "good", Status.WARNING: "warning", Status.CRITICAL: "critical"}


@dataclass(frozen=True)
class Overlap:
    """A policy's row, in words; lengths of the bars in per cent. `status` is empty where the
    estimate uses no weights."""

    policy: str
    kind: str
    why: str
    used: str
    exact: str
    mean: str
    reach: str
    status: str
    used_share: float | None
    exact_share: float | None


def overlap(run: Run) -> list[Overlap]:
    """The rows, in the order of the ranking."""
    return [row_of(str(policy), row) for policy, row in run.diagnostics.iterrows()]


def row_of(policy: str, row: pd.Series) -> Overlap:
    """A policy's row: the weights used, and the exact ones, used or not."""
    used = row["weights"] != WeightKind.NONE
    return Overlap(
        policy=policy,
        kind=KINDS[row["weights"]],
        why=str(row["why"]),
        used=percent(row["ess"]) if used else "none",
        exact=percent(row["sequence_ess"]),
        mean=number(row["sequence_mean_weight"], ".2f"),
        reach=UNKNOWN if pd.isna(row["sequence_ess"]) else str(row["reach"]),
        status=STATUSES[row["status"]] if used else "",
        used_share=bar(row["ess"]) if used else None,
        exact_share=bar(row["sequence_ess"]),
    )


def bar(share: float | None) -> float | None:
    """The length of a bar of 100; None where the share is not known."""
    return None if share is None or pd.isna(share) else round(100 * float(share), 1)
