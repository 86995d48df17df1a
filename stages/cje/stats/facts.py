"""What guard rails look at: the facts of a policy, of a run, and of what checks them."""

from dataclasses import dataclass
from math import inf, isfinite

import pandas as pd

from cje.stats.weights import off_one
from cje.vocabulary import Evidence, Reach, Status, WeightKind


@dataclass(frozen=True)
class PolicyDiagnostics:
    """What is known of one policy's estimate beside the number. Shares are from 0 to 1; what a
    policy does not have is None.

    logged: its answers are the logged ones. widened: the estimator takes no correction from the
    evidence, and its interval holds that of it. weights, why, status: importance weights used, a
    sentence, the overlap at a glance. ess to extreme_share: of the weights used. sequence_*: of the
    exact weights, used or not; reach: how far they carry; residual_tail_index: of the weighted
    residuals; residual_bend: how surely those grow faster than the log-ratio. labels: clusters with
    a label on the policy's own answers; effective_labels, Kish's number of those behind the number;
    label_skew: their skewness over the root of their number; label_values: how many different ones
    there are; power: how much of the predictions is believed. transport: what the evidence says
    less the calibrated judge's mean, transport_z in standard errors; gap_z: exact weights less own
    labels. labels_z: judge scores, labelled answers against all. Where it lacks prompts of the base
    policy's, base_prompts: how many those are; shared_prompts: of them, that it has answers to;
    prompts_z: the base's judge scores on these against all. skipped, passed_over: of the answers
    that people who label came to, the shares that they skipped, or passed over unsaid; waiting: how
    many are still on their list. adds_labels: `cje label --add` draws labels here.
    """

    policy: str
    is_base: bool
    logged: bool
    estimator: str
    method: str
    evidence: Evidence
    value: float
    half_width: float
    widened: bool
    spread: float
    weights: WeightKind
    why: str
    status: Status
    ess: float
    mean_weight: float
    mean_weight_z: float
    max_share: float
    tail_index: float
    zero_share: float
    extreme_share: float
    sequence_ess: float | None
    sequence_mean_weight: float | None
    sequence_mean_weight_z: float | None
    sequence_zero_share: float | None
    sequence_tail_index: float | None
    sequence_extreme_share: float | None
    residual_tail_index: float | None
    residual_bend: float
    reach: Reach
    log_ratio_sd: float | None
    unscored_share: float
    raw_logprobs: bool
    identical: bool
    labels: int
    effective_labels: float
    label_skew: float
    power: float | None
    label_values: int
    spearman: float | None
    out_of_range: float
    labels_z: float | None
    transport: float
    transport_z: float
    gap_z: float | None
    draws: int
    prompts_with_draws: int
    base_prompts: int | None = None
    shared_prompts: int | None = None
    prompts_z: float | None = None
    truncated: float = 0.0
    missing: float = 0.0
    unparsed: float = 0.0
    left_out: float = 0.0
    skipped: float = 0.0
    passed_over: float = 0.0
    waiting: int = 0
    adds_labels: bool = False
    self_preference: str | None = None
    rescored_spread: float = 0.0

    @property
    def interval_skew(self) -> float:
        """The skewness of the mean of labels that the interval allows for: that of a share whose
        interval is as wide."""
        most = self.value * (1 - self.value)
        return abs(1 - 2 * self.value) * self.half_width / (1.96 * most) if most > 0 else inf

    @property
    def mean_is_off(self) -> int:
        """-1 where the mean exact weight is below 1 beyond chance, 1 where above, else 0."""
        if self.sequence_mean_weight is None or self.sequence_mean_weight_z is None:
            return 0
        return off_one(self.sequence_mean_weight, self.sequence_mean_weight_z)

    @property
    def heaviest_tail(self) -> float:
        """The larger tail index of the exact weights and the weighted residuals."""
        found = (self.sequence_tail_index, self.residual_tail_index)
        return max((index for index in found if index is not None), default=-inf)

    @property
    def own_labels(self) -> bool:
        """Whether own labels check the number."""
        return self.evidence in (Evidence.LABELS, Evidence.BOTH)

    @property
    def leans_on_weights(self) -> bool:
        """Whether exact weights carry the number, alone or with labels."""
        return self.evidence in (Evidence.WEIGHTS, Evidence.BOTH)


@dataclass(frozen=True)
class RunDiagnostics:
    """What is known of a whole run: the labels of all policies together, the part of the scale that
    they span, and whether all stand at its ends; its prompts, and those of which the judge has no
    score for any answer."""

    span: float
    at_the_ends: bool
    all_labels: int
    prompts: int = 0
    unscored_prompts: int = 0


@dataclass(frozen=True)
class PolicyValidation:
    """A policy's estimate against labels that it did not use: what it stands on, and how far they
    are apart, in standard errors of the paired difference; how to have more of its answers
    labelled, as `label_answers` says it."""

    policy: str
    evidence: Evidence
    gap_z: float
    more_labels: str


@dataclass(frozen=True)
class RunValidation:
    """How many intervals cover the oracle's truth, of how many that labels check."""

    covered: int
    validated: int


def finite_facts(diagnostics: pd.DataFrame) -> dict[str, dict[str, object]]:
    """The diagnostics as scalars by policy, without what is not defined, or infinite."""
    return {
        policy: {
            name: value
            for name, value in facts.items()
            if value is not None and not (isinstance(value, float) and not isfinite(value))
        }
        for policy, facts in diagnostics.to_dict("index").items()
    }
