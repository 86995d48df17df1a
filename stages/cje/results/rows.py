"""Typed rows of numbers, from which everything that people see of a run is made.

What is not known is None, never NaN. Utilities, scores and labels are on [0, 1].
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from cje.stats.calibration import score_bins
from cje.vocabulary import Conclusion, Evidence, Reach, Status, Verdict, WeightKind

MOST_BINS, PER_BIN = 10, 10  # of labels, and labels at least in one where there are many scores


@dataclass(frozen=True)
class TruthRow:
    """The oracle's mean over answers of a policy to prompts of which no estimate used a label."""

    oracle_truth: float  # mean utility
    se: float  # standard error of that mean
    ci_low: float  # ends of its confidence interval
    ci_high: float
    labels: int  # prompts with such a label
    absolute_error: float  # distance of the policy's estimate, utility
    covered: bool  # estimate and truth agree within their errors


@dataclass(frozen=True)
class EstimateRow:
    """A policy's estimate, what checks it, and whether to believe it."""

    policy: str
    is_base: bool  # it wrote the logs
    v_hat: float | None  # estimated expected oracle utility
    se: float | None  # standard error of v_hat
    ci_low: float | None  # ends of the confidence interval of v_hat
    ci_high: float | None
    verdict: Verdict
    evidence: Evidence
    labels: int  # prompts with a label on the policy's own answers that the estimate used
    raw_judge: float | None = None  # mean judge score of its answers
    calibrated_judge: float | None = None  # mean of the same as the base's labels calibrate it
    truth: TruthRow | None = None

    @property
    def refused(self) -> bool:
        """Whether the number is a projection that nothing supports."""
        return self.verdict == Verdict.REFUSE

    @property
    def half_width(self) -> float | None:
        """Half the width of the confidence interval, utility."""
        if self.ci_low is None or self.ci_high is None:
            return None
        return (self.ci_high - self.ci_low) / 2


@dataclass(frozen=True)
class DifferenceRow:
    """The estimate of policy a minus that of policy b, on the same prompts."""

    policy_a: str
    policy_b: str
    difference: float  # utility
    se: float  # standard error of the difference
    ci_low: float  # ends of its confidence interval
    ci_high: float
    p_value: float  # of no difference
    p_value_corrected: float  # the same with Holm's correction over all pairs
    conclusion: Conclusion  # what the corrected p-value supports of policy a

    @property
    def reversed(self) -> "DifferenceRow":
        """Policy b minus policy a."""
        return replace(
            self, policy_a=self.policy_b, policy_b=self.policy_a, difference=-self.difference,
            ci_low=-self.ci_high, ci_high=-self.ci_low, conclusion=OPPOSITE[self.conclusion],
        )  # fmt: skip


OPPOSITE = {
    Conclusion.BETTER: Conclusion.WORSE,
    Conclusion.WORSE: Conclusion.BETTER,
    Conclusion.SAME: Conclusion.SAME,
}


@dataclass(frozen=True)
class OverlapRow:
    """How well the logs overlap with a policy: the importance weights that its estimate used, and
    the exact ones, used or not. Shares are from 0 to 1; weights have mean 1 where overlap is
    full."""

    policy: str
    is_base: bool
    weights: WeightKind  # used by the estimate
    why: str  # a sentence
    status: Status
    ess: float | None  # effective sample size of the weights used, share of the logs
    mean_weight: float | None  # the next four are of the weights used
    max_share: float | None  # of all weight, carried by the heaviest log
    zero_share: float | None  # of the logs, with weight 0
    extreme_share: float | None  # of the logs, with an extreme weight
    exact_ess: float | None  # effective sample size of the exact weights, share of the logs
    exact_mean_weight: float | None
    reach: Reach | None  # how far exact weights carry an estimate

    @property
    def used(self) -> bool:
        """Whether the estimate uses weights at all."""
        return self.weights != WeightKind.NONE


@dataclass(frozen=True)
class CalibrationBin:
    """Labelled answers with judge scores near each other."""

    judge_score: float  # mean judge score
    oracle_utility: float  # mean label
    half_width: float | None  # of the 95 % t interval of that mean; None with one label
    labels: int

    @property
    def interval(self) -> tuple[float, float]:
        """The ends of the interval, held to [0, 1]."""
        half = self.half_width or 0.0
        return max(self.oracle_utility - half, 0.0), min(self.oracle_utility + half, 1.0)


@dataclass(frozen=True)
class CalibrationView:
    """How well calibrated judge scores predict the oracle's labels of logged answers."""

    labels: int
    form: str  # of the calibration curve
    spearman: float | None  # rank correlation of judge and oracle, from -1 to 1
    calibration_error: float | None  # mean distance of calibrated scores from labels, utility
    calibration_error_by_chance: float | None  # of a perfect curve with as few labels
    calibration_error_raw: float | None  # of the judge's scores as they are
    r2: float | None  # share of the labels' variance that is explained, at most 1
    rmse: float | None  # root mean squared error of one answer, utility
    score_low: float | None  # lowest and highest judge score with a label
    score_high: float | None


@dataclass(frozen=True)
class CostRow:
    """Calls to models of a stage, of a model, or of all."""

    name: str
    calls: int
    failed: int  # calls
    prompt_tokens: int
    completion_tokens: int
    usd: float  # of the calls with a known price
    unpriced: int  # calls without one

    @property
    def dollars(self) -> float | None:
        """US dollars; None where no price is known."""
        return None if self.unpriced and not self.usd else self.usd


@dataclass(frozen=True)
class CostView:
    """What the calls to models cost, in all and by what they were for."""

    total: CostRow
    by_stage: list[CostRow]
    by_model: list[CostRow]


@dataclass(frozen=True)
class RaterAgreement:
    """How far several raters of the same answers agree."""

    answers: int  # that several raters labelled
    alpha: float | None  # Krippendorff's: 1 is full agreement, 0 is chance
    noise: float  # standard deviation of labels of one answer, on the oracle's own scale
    reliability: float | None  # share of the labels' variance that is not noise
    ceiling: float | None  # highest possible correlation of a judge with the labels


@dataclass(frozen=True)
class AnswerCounts:
    """How many answers there are, judged, and labelled for the estimates."""

    prompts: int
    answers: int  # of all policies
    judged: int  # that have a judge score
    base_labels: int  # of logged answers
    other_labels: int  # of the other policies' answers

    @property
    def labels(self) -> int:
        """All labels that the estimates rest on."""
        return self.base_labels + self.other_labels


@dataclass(frozen=True)
class TruthErrors:
    """Mean distances from the oracle's truth, utility, of the policies that are not refused and
    have one; how many estimates agree with it, of how many."""

    raw_judge: float | None
    calibrated_judge: float | None
    estimate: float | None
    covered: int
    policies: int
    largest: tuple[EstimateRow, TruthRow]  # whose estimate is farthest away


def best_first(estimates: pd.DataFrame) -> pd.DataFrame:
    """Estimates (columns `v_hat` and `verdict`), best policy first and the refused ones last."""
    refused = estimates["verdict"].eq(Verdict.REFUSE)
    order = pd.DataFrame({"refused": refused, "value": -estimates["v_hat"]})
    return estimates.loc[order.sort_values(["refused", "value"], kind="stable").index]


def known(value: Any) -> float | None:
    """A number; None where it is missing, NaN or infinite."""
    return None if value is None or not math.isfinite(value) else float(value)


def estimate_row(facts: Mapping[str, Any], base: str) -> EstimateRow:
    """A row of `Run.estimates`, with its `policy`."""
    truth = None
    if known(facts["oracle_truth"]) is not None:
        truth = TruthRow(
            oracle_truth=facts["oracle_truth"], se=facts["se_truth"], ci_low=facts["ci_low_truth"],
            ci_high=facts["ci_high_truth"], labels=int(facts["truth_labels"]),
            absolute_error=facts["absolute_error"], covered=bool(facts["covered"]),
        )  # fmt: skip
    names = ("v_hat", "se", "ci_low", "ci_high", "raw_judge", "calibrated_judge")
    return EstimateRow(
        policy=facts["policy"], is_base=facts["policy"] == base,
        verdict=Verdict(facts["verdict"]), evidence=Evidence(facts["evidence"]),
        labels=int(facts["labels"]), truth=truth, **{name: known(facts[name]) for name in names},
    )  # fmt: skip


def difference_rows(
    comparisons: pd.DataFrame, order: Sequence[str], alpha: float
) -> list[DifferenceRow]:
    """The pairs of `inference.paired_comparisons` among `order`, in its order, the policy that
    comes first in it as policy a; better and worse where the corrected p-value is below alpha."""
    place = {policy: number for number, policy in enumerate(order)}
    rows = []
    for pair in comparisons.to_dict("records"):
        if not {pair["policy_a"], pair["policy_b"]} <= set(place):
            continue
        conclusion = Conclusion.SAME
        if pair["p_value_corrected"] < alpha:
            conclusion = Conclusion.BETTER if pair["difference"] > 0 else Conclusion.WORSE
        row = DifferenceRow(**pair, conclusion=conclusion)
        rows.append(row if place[row.policy_a] < place[row.policy_b] else row.reversed)
    return sorted(rows, key=lambda row: (place[row.policy_a], place[row.policy_b]))


def calibration_bins(judge: np.ndarray, oracle: np.ndarray) -> list[CalibrationBin]:
    """The labels, judge score and utility (n,), in bins of about as many by judge score."""
    if not judge.size:
        return []
    labelled = pd.DataFrame({"judge": judge, "oracle": oracle})
    groups = labelled.groupby(score_bins(labelled["judge"].to_numpy(), MOST_BINS, PER_BIN))
    means, spread, count = groups.mean(), groups["oracle"].std(), groups.size()
    half_width = stdtrit(count - 1, 0.975) * spread / np.sqrt(count)
    columns = (means["judge"], means["oracle"], half_width, count)
    return [
        CalibrationBin(float(score), float(utility), known(half), int(labels))
        for score, utility, half, labels in zip(*columns, strict=True)
    ]


def by_pair(differences: Sequence[DifferenceRow]) -> dict[tuple[str, str], DifferenceRow]:
    """The differences by their policies a and b, either one first."""
    rows = [way for row in differences for way in (row, row.reversed)]
    return {(row.policy_a, row.policy_b): row for row in rows}


def cost_row(name: str, facts: Mapping[str, Any]) -> CostRow:
    """The row of a part of `metrics/cost.json`."""
    counts = ("calls", "failed", "prompt_tokens", "completion_tokens", "unpriced")
    return CostRow(name, usd=facts["usd"], **{count: facts[count] for count in counts})


def overlap_row(policy: str, facts: Mapping[str, Any]) -> OverlapRow:
    """The row of a policy's `facts.PolicyDiagnostics`, of which shares may be missing."""
    exact_ess = known(facts.get("sequence_ess"))
    return OverlapRow(
        policy=policy,
        is_base=bool(facts["is_base"]),
        weights=WeightKind(facts["weights"]),
        why=str(facts["why"]),
        status=Status(facts["status"]),
        ess=known(facts.get("ess")),
        mean_weight=known(facts.get("mean_weight")),
        max_share=known(facts.get("max_share")),
        zero_share=known(facts.get("zero_share")),
        extreme_share=known(facts.get("extreme_share")),
        exact_ess=exact_ess,
        exact_mean_weight=known(facts.get("sequence_mean_weight")),
        reach=None if exact_ess is None else Reach(facts["reach"]),
    )
