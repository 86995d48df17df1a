"""The estimators of a policy's utility: one class each, in one registry, to which installed
packages add (`cje.plugins`).

    dr-cpo          own labels (`own_labels`), the logs' weighted residuals where exact weights
                    stand (`correction`), or of both the combination of least variance
    ppi             own labels alone
    direct          the calibrated judge's mean on the policy's answers; nothing corrects it
    snips, ips      the weighted mean of the logs' rewards and residuals, normalised or not
    calibrated-ips  snips under weights made monotone in the judge score

What checks a number is its *evidence*: labels on the policy's own answers, or exact weights. An
estimate of which neither is there is a projection, and is refused.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypedDict, Unpack

import numpy as np

from cje import plugins
from cje.errors import CJEError
from cje.stats import correction
from cje.stats.arrays import Array, Mask
from cje.stats.calibration import NO_LABELS, CrossFit
from cje.stats.inference import Influence, bounded_interval, combined, dispersion
from cje.stats.own_labels import OwnLabels
from cje.stats.samples import Draws, Logs, Samples
from cje.stats.weights import (
    MarginalWeights,
    SequenceWeights,
    WeightSummary,
    effective_sample_share,
    expected_sample_share,
    marginal_features,
    marginal_weights,
    off_one,
    tail_index,
    weight_summary,
)
from cje.vocabulary import (
    EstimatorName,
    Evidence,
    Reach,
    WeightChoice,
    WeightKind,
    counted,
    percent,
)

FEWEST_LABELS = 10  # own labels below which they check nothing
FEWEST_WEIGHTED = 20.0  # labels on the logs, weighted, below which exact weights check nothing
STANDS_ESS = 0.2  # sequence weights above this share of the logs carry an estimate by themselves
DIFFERENT = 3.0  # standard errors
BENDS = 2.0  # standard errors, of a bend that would make an interval too short
DOUBTFUL_GAP = 2.25  # variances of a gap within which the point stays at the direct estimate


@dataclass(frozen=True)
class Estimate:
    """A policy's estimate: its influence function, the method and the evidence that it stands on.

    `kind` and `weight` (n,) are the importance weights used. `labels` is the effective number of
    labels behind it; `steps` says that they take two values at most. `checked` is the estimate
    whose interval must be within its own: that of the evidence, where the estimate itself takes no
    correction from it.
    """

    influence: Influence
    method: str
    evidence: Evidence
    kind: WeightKind
    weight: Array | None
    labels: float
    steps: bool = False
    checked: Influence | None = None
    why: str = ""

    @property
    def value(self) -> float:
        """The estimate, held to [0, 1], where utilities are."""
        return float(np.clip(self.influence.value, 0.0, 1.0))

    @property
    def se(self) -> float:
        """The standard error, of the wider of the estimate and what checks it."""
        return max(self.influence.se, 0.0 if self.checked is None else self.checked.se)

    @property
    def compared(self) -> Influence:
        """What enters comparisons: the estimate under the evidence."""
        return self.influence if self.checked is None else self.checked

    def interval(self, alpha: float, common_dispersion: float = 0.0) -> tuple[float, float]:
        """Of level 1 - alpha, within [0, 1]; `common_dispersion`: of all policies' labels."""
        ends = [self._interval(self.influence, alpha, common_dispersion)]
        if self.checked is not None:
            ends.append(self._interval(self.checked, alpha, common_dispersion))
        low, high = zip(*ends, strict=True)
        return min(low), max(high)

    def _interval(
        self, influence: Influence, alpha: float, common_dispersion: float
    ) -> tuple[float, float]:
        freedom = max(self.labels - 1, 1.0)
        if self.evidence is not Evidence.LABELS:
            freedom = min(freedom, influence.degrees_of_freedom)
        return bounded_interval(
            influence.value,
            influence.se,
            self.labels,
            freedom,
            alpha,
            self.steps,
            common_dispersion,
        )


class Changes(TypedDict, total=False):
    """Fields of an `Estimate` beside its influence function and its method."""

    evidence: Evidence
    kind: WeightKind
    weight: Array | None
    labels: float
    steps: bool
    checked: Influence | None
    why: str


@dataclass(frozen=True)
class Case:
    """What is known of one policy. `log_ratio` (n,) is None without log-probabilities of the
    sampling distribution, `own` None without own labels, `draws` None without scored answers.
    `limits` are the guard rails' thresholds."""

    samples: Samples
    policy: str
    calibration: CrossFit
    own: OwnLabels | None
    choice: WeightChoice
    limits: Mapping[str, float]

    @property
    def draws(self) -> Draws | None:
        return self.samples.draws.get(self.policy)

    @property
    def log_ratio(self) -> Array | None:
        return self.samples.log_ratios.get(self.policy)

    @cached_property
    def sequence(self) -> SequenceWeights | None:
        """The exact weights of the logs."""
        return None if self.log_ratio is None else SequenceWeights.from_log_ratio(self.log_ratio)

    @property
    def exact_weight(self) -> Array | None:
        """The exact weights of the logs, (n,)."""
        return None if self.sequence is None else self.sequence.weight

    @cached_property
    def exact_summary(self) -> WeightSummary | None:
        """What the exact weights say of the overlap."""
        if self.sequence is None:
            return None
        scored = self.sequence.scored
        return weight_summary(self.sequence.weight[scored], self.sequence.ratio[scored])

    @cached_property
    def residual_tail(self) -> float:
        """The tail index of the weighted residuals |w omega (y - f)| of the labelled logs."""
        logs = self.samples.logs
        if self.sequence is None or not logs.labelled.any():
            return -np.inf
        size = np.abs(self.sequence.weight * logs.label_weight * logs.residual)
        return tail_index(size[logs.labelled])

    @cached_property
    def residual_bend(self) -> float:
        """How surely the residuals grow faster than the log-ratio, in standard errors."""
        if self.log_ratio is None:
            return 0.0
        return correction.residual_bend(self.samples.logs, self.log_ratio)

    @cached_property
    def promised_share(self) -> float:
        """The effective sample, as a share of the logs, that the log-ratios promise."""
        return 0.0 if self.log_ratio is None else expected_sample_share(self.log_ratio)

    @cached_property
    def reach(self) -> Reach:
        """How far the exact weights carry; not at all where learned ones are asked for."""
        found = self.exact_summary
        if found is None or self.choice is WeightChoice.MARGINAL:
            return Reach.NONE
        off = off_one(found.mean_weight, found.mean_weight_z)
        if off or self.log_labels < FEWEST_WEIGHTED:
            return Reach.NONE
        share = min(found.ess, self.promised_share)
        if share < self.limits["refuse_ess"]:
            return Reach.NONE
        fine = max(found.tail_index, self.residual_tail) <= self.limits["max_tail_index"]
        fine &= abs(self.residual_bend) <= BENDS
        return Reach.STANDS if share >= STANDS_ESS and fine else Reach.WEAK

    @cached_property
    def exact(self) -> Influence | None:
        """The estimate under exact weights, whether or not they carry it; of a policy without
        draws by the logs alone."""
        ratio = self.log_ratio
        if self.sequence is None or ratio is None:
            return None
        logs = self.samples.logs
        if self.draws is None:
            whole = correction.weighted_logs(logs, self.sequence.weight, self.sequence.scored)
            return whole.inflated(self.missed)
        part = correction.sequence_correction(logs, self.draws, self.sequence, ratio)
        return correction.direct(logs, self.draws) + part.inflated(self.missed)

    @cached_property
    def missed(self) -> float:
        """What a standard error under the exact weights lacks because the heaviest answers happen
        to be missing: the root of the labels' effective number as it is by what it promised."""
        seen, promised = self._counted_labels
        return float(np.sqrt(max(seen / promised, 1.0))) if promised > 0 else 1.0

    @cached_property
    def projection(self) -> Influence | None:
        """The calibrated judge's mean, with the uncertainty of the calibration."""
        if self.draws is None:
            return None
        return correction.direct(self.samples.logs, self.draws, self.calibration)

    @property
    def standing(self) -> Influence | None:
        """The estimate under exact weights that stand."""
        return self.exact if self.reach is Reach.STANDS else None

    @property
    def reached(self) -> Influence | None:
        """The estimate under exact weights that reach the policy, if only weakly."""
        return None if self.reach is Reach.NONE else self.exact

    @property
    def exact_ess(self) -> float:
        """The effective sample under exact weights, as a share of the logs."""
        return 0.0 if self.exact_summary is None else self.exact_summary.ess

    @property
    def checking(self) -> OwnLabels | None:
        """The own labels, where there are enough of them to check a number."""
        enough = self.own is not None and self.own.labels >= FEWEST_LABELS
        return self.own if enough else None

    @cached_property
    def _counted_labels(self) -> tuple[float, float]:
        """Kish's number of labels on the logs as the exact weights count them, and the number that
        the log-ratios promise: the first is largest where the heavy answers are missing."""
        logs = self.samples.logs
        weight = logs.label_weight[logs.labelled]
        if self.sequence is None:
            return kish(weight), kish(weight)
        counted = kish(weight * self.sequence.weight[logs.labelled])
        return counted, kish(weight) * self.promised_share

    @property
    def log_labels(self) -> float:
        """The labels on the logs as the exact weights count them, and no more than promised."""
        return min(self._counted_labels)

    def estimate(self, influence: Influence, method: str, **changes: Unpack[Changes]) -> Estimate:
        """An estimate without evidence, but for the `changes`."""
        plain = Estimate(
            influence, method, Evidence.NONE, WeightKind.NONE, weight=None, labels=self.log_labels
        )
        return replace(plain, **changes)

    def from_weights(
        self, influence: Influence, method: str, **changes: Unpack[Changes]
    ) -> Estimate:
        """An estimate under the exact weights, which are evidence as far as they reach."""
        evidence = Evidence.NONE if self.reach is Reach.NONE else Evidence.WEIGHTS
        plain = self.estimate(
            influence, method, evidence=evidence, kind=WeightKind.SEQUENCE, weight=self.exact_weight
        )
        return replace(plain, **changes)

    def from_labels(self, own: OwnLabels, method: str, why: str) -> Estimate:
        """The estimate from own labels."""
        return self.estimate(
            own.influence, method, evidence=Evidence.LABELS, labels=own.effective,
            steps=own.values <= 2, why=why,
        )  # fmt: skip


class Estimator(ABC):
    """A method: from what is known of a policy to its estimate."""

    name: str

    @abstractmethod
    def __call__(self, case: Case) -> Estimate:
        """Raises CJEError where nothing at all is known of the policy."""


class DrCpo(Estimator):
    """Own labels and exact weights, whichever there are."""

    name = EstimatorName.DR_CPO

    def __call__(self, case: Case) -> Estimate:
        exact, own = case.standing, case.checking
        if own is not None:
            if exact is not None and agree(own.influence, exact):
                mixed, kappa = combined(own.influence, exact)
                mixed = mixed.inflated(tuned_factor(own.labels))
                why = f"own labels, and the logs with {percent(kappa)} of the weight"
                labels = min(own.effective, case.log_labels)
                return case.from_weights(
                    mixed, self.name, evidence=Evidence.BOTH, labels=labels, why=why
                )
            return case.from_labels(own, self.name, counted(own.labels, "own label"))
        if case.choice is WeightChoice.SEQUENCE:
            exact = case.exact
        if exact is not None:
            why = f"exact weights reach {percent(case.exact_ess)} of the logs"
            return case.from_weights(exact, weighted_name(case, self.name), why=why)
        if (weak := case.reached) is not None:
            return self._weak(case, weak)
        if case.own is not None:
            return case.from_labels(
                case.own, self.name, f"{counted(case.own.labels, 'own label')}, too few"
            )
        return projected(case)

    def _weak(self, case: Case, exact: Influence) -> Estimate:
        """The exact estimate's interval, and a point that moves toward the direct estimate within
        it: V_direct + kappa (V_log - V_direct), kappa = max(0, 1 - 2.25 var D / D^2)."""
        why = f"exact weights reach {percent(case.exact_ess)} of the logs"
        if case.projection is None:
            return case.from_weights(exact, weighted_name(case, self.name), why=why)
        gap = exact - case.projection
        kappa = max(0.0, 1 - DOUBTFUL_GAP * gap.variance / gap.value**2) if gap.value else 0.0
        low, high = case.from_weights(exact, self.name).interval(0.05)
        point = float(np.clip(case.projection.value + kappa * gap.value, low, high))
        return case.from_weights(replace(exact, value=point), self.name, checked=exact, why=why)


class Ppi(Estimator):
    """Own labels alone."""

    name = EstimatorName.PPI

    def __call__(self, case: Case) -> Estimate:
        if case.own is None:
            return projected(case)
        return case.from_labels(case.own, self.name, counted(case.own.labels, "own label"))


class Direct(Estimator):
    """The calibrated judge's mean."""

    name = EstimatorName.DIRECT

    def __call__(self, case: Case) -> Estimate:
        if case.projection is None:
            return projected(case)
        return uncorrected(case, case.projection, self.name)


class Weighted(Estimator):
    """A weighted mean of the logs' rewards and residuals; `exact`: under exact weights unbiased."""

    exact = True

    def __call__(self, case: Case) -> Estimate:
        draws = None if case.policy == case.samples.base else case.draws
        if case.choice is WeightChoice.MARGINAL and draws is not None:
            weight = learned_weights(case.samples.logs, draws).weight
            kind = WeightKind.MARGINAL
            scored = np.ones(len(weight), dtype=bool)
        elif case.sequence is not None:
            weight, scored, kind = case.sequence.weight, case.sequence.scored, WeightKind.SEQUENCE
        else:  # stated: in `method`, and by what the guard rails find
            return Direct()(case)
        influence = self.mean(case, weight, scored)
        if self.exact and kind is WeightKind.SEQUENCE and case.checking is None:
            return case.from_weights(influence, self.name)
        found = replace(uncorrected(case, influence, self.name), kind=kind, weight=weight)
        if kind is WeightKind.MARGINAL or not self.exact or case.reach is Reach.NONE:
            return found
        return replace(found, evidence=Evidence.BOTH)

    @abstractmethod
    def mean(self, case: Case, weight: Array, scored: Mask) -> Influence:
        """The weighted mean."""


class Snips(Weighted):
    """Normalised weights."""

    name = EstimatorName.SNIPS

    def mean(self, case: Case, weight: Array, scored: Mask) -> Influence:
        return correction.weighted_logs(case.samples.logs, weight, scored)


class Ips(Weighted):
    """The weights as they are."""

    name = EstimatorName.IPS

    def mean(self, case: Case, weight: Array, scored: Mask) -> Influence:
        exact = case.sequence
        if exact is None or weight is not exact.weight:
            return correction.weighted_logs(case.samples.logs, weight, scored)
        return correction.weighted_logs(case.samples.logs, exact.ratio, scored, normalised=False)


class CalibratedIps(Weighted):
    """Weights made monotone in the judge score, which lose whatever fools the judge."""

    name = EstimatorName.CALIBRATED_IPS
    exact = False

    def mean(self, case: Case, weight: Array, scored: Mask) -> Influence:
        return correction.calibrated_ips(case.samples.logs, weight, scored)


ESTIMATORS: Mapping[str, Estimator] = {
    estimator.name: estimator
    for estimator in (DrCpo(), Ppi(), Direct(), Ips(), Snips(), CalibratedIps())
}


def estimator_named(name: str) -> Estimator:
    """The estimator of that name, of the project or of an installed package; raises KeyError where
    there is none."""
    if name in ESTIMATORS:
        return ESTIMATORS[name]
    found = plugins.load_plugin(plugins.ESTIMATORS, name)
    if not isinstance(found, Estimator):
        raise CJEError(f"{plugins.ESTIMATORS}: {name}: {found!r} is no Estimator")
    return found


def label_dispersion(estimates: Iterable[Estimate]) -> float:
    """The `inference.dispersion` of the estimates that own labels alone carry."""
    return dispersion(
        (found.value, found.se, found.labels)
        for found in estimates
        if found.evidence is Evidence.LABELS
    )


def kish(weight: Array) -> float:
    """Kish's effective number of weighted labels (m,); 0 where none has a weight."""
    return effective_sample_share(weight) * len(weight)


def tuned_factor(labels: int) -> float:
    """What tuning adds to a standard error: sqrt(m / (m - 3)) with m labels, for the two powers and
    the share of the logs (HC1; MacKinnon and White 1985)."""
    return float(np.sqrt(labels / max(labels - 3, 1)))


def agree(one: Influence, other: Influence) -> bool:
    """Whether two estimates differ by no more than three standard errors of their difference."""
    gap = one - other
    return abs(gap.value) <= DIFFERENT * gap.se or abs(gap.value) <= 1e-9


def weighted_name(case: Case, name: str) -> str:
    """The method's true name: without draws there is no direct part, and it is snips."""
    return EstimatorName.SNIPS if case.draws is None else name


def learned_weights(logs: Logs, draws: Draws) -> MarginalWeights:
    """Weights of the logs learned from the draws, with what they balance."""
    return marginal_weights(
        marginal_features(logs.score),
        marginal_features(draws.score),
        draws.share,
    )


def uncorrected(case: Case, influence: Influence, name: str) -> Estimate:
    """An estimate that takes nothing from the evidence: its interval is widened to hold that of
    the evidence, where there is any."""
    if (own := case.checking) is not None:
        return case.estimate(
            influence, name, evidence=Evidence.LABELS, labels=own.effective, checked=own.influence
        )
    if (exact := case.reached) is not None:
        return case.estimate(influence, name, evidence=Evidence.WEIGHTS, checked=exact)
    return case.estimate(influence, name)


def projected(case: Case) -> Estimate:
    """A number that nothing checks: the calibrated judge's mean, with learned weights where they
    are asked for; of a policy without draws the logs under exact weights."""
    if case.draws is None or case.projection is None:  # both, or neither
        if case.own is not None:
            return case.from_labels(
                case.own, EstimatorName.PPI, counted(case.own.labels, "own label")
            )
        if case.policy == case.samples.base:
            nothing = np.zeros(case.samples.logs.prompts)
            unknown = Influence(NO_LABELS, nothing, case.samples.cluster)
            return case.estimate(unknown, EstimatorName.DIRECT, why="nothing is known of it")
        if case.exact is None:
            raise CJEError(
                f"policy {case.policy!r} has neither scored draws nor log-probabilities: nothing "
                "is known of it.\nDraw and score answers of it, or leave it out"
            )
        return case.from_weights(case.exact, EstimatorName.SNIPS, evidence=Evidence.NONE)
    if case.choice is WeightChoice.MARGINAL:
        logs, weights = case.samples.logs, learned_weights(case.samples.logs, case.draws)
        part = correction.marginal_correction(logs, case.draws, weights)
        return case.estimate(
            correction.direct(logs, case.draws) + part, EstimatorName.DR_CPO,
            kind=WeightKind.MARGINAL, weight=weights.weight, why="asked for",
        )  # fmt: skip
    return case.estimate(case.projection, EstimatorName.DIRECT, why="nothing else is known")
