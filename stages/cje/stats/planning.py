"""How many prompts and labels an aim takes, from a pilot or from guesses, and what they reach.

An estimate from own labels (`own_labels`) is a sum of three means: of what is predicted of every
answer, over n prompts; of what the base policy's label on the prompt adds, over the n1 prompts that
have one; and of what is left, over the m prompts with the policy's own. The prompts are nested, so
that with F, H and R the covariances (P, P) of the three between policies

    cov(V_a, V_b) = F_ab / n + H_ab / n1 + R_ab / m,   m <= n1 <= n

(three-phase sampling; Cochran 1977, section 12.9). The base policy's residual belongs to H, as its
labels are those on the n1 prompts, and R is 0 there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.special import ndtri, stdtrit

from cje.errors import CJEError
from cje.stats.arrays import Array
from cje.stats.checking import check_frames
from cje.stats.inference import anytime_level, bounded_interval, dispersion
from cje.stats.own_labels import OwnLabels, own_label_estimate
from cje.stats.predictor import predict
from cje.stats.rewards import calibrate
from cje.stats.samples import Samples, build_samples
from cje.stats.sampling import residual_sizes, tempered
from cje.stats.spreads import WIDER, Doubt, doubt, steadied

FEWEST_PILOT = 10  # labels of a policy that tell its spread
FEWEST_PLANNED = 30  # labels on each policy: fewer are not believed (`min_target_labels`)
GRID = 32  # numbers of prompts, and of labels on the logs, that are tried
ALIKE = 1.01  # times the least price: as good as the least
HALVINGS = 30  # of a bisection
LIKELY = 0.9  # of the widths lie in the range that is given beside a planned one
DRAWS = 2000  # of what the range is taken from


@dataclass(frozen=True)
class Pilot:
    """What is known, or guessed, before: policies, the base first; their mean utilities, (P,);
    `steps` (P,), whether labels take two values at most; and the covariances `everywhere` (F),
    `beyond` (H) and `left` (R), (P, P). `doubts` of the variances of the three, in that order.
    `active`: the variance R that `sampling: active` would leave, as a share of R; None where
    nothing tells."""

    policies: tuple[str, ...]
    mean: Array
    steps: Array
    everywhere: Array
    beyond: Array
    left: Array
    doubts: tuple[Doubt, Doubt, Doubt]
    active: float | None = None

    @property
    def pairs(self) -> int:
        """How many pairs of policies are compared."""
        return len(self.policies) * (len(self.policies) - 1) // 2

    def actively_labelled(self) -> "Pilot":
        """The same under `sampling: active`."""
        share = 1.0 if self.active is None else self.active
        return replace(self, left=self.left * share, active=None)


def guessed(policies: int, mean: float, spread: float, judge: float, between: float) -> Pilot:
    """From guesses: P policies with the base, the utility's mean and standard deviation, the
    judge's correlation with it, and the correlation of two policies' residuals, given the judge, on
    one prompt."""
    known, rest = (judge * spread) ** 2, (1 - judge**2) * spread**2
    alike = np.full((policies, policies), between)
    np.fill_diagonal(alike, 1.0)
    slope = np.full(policies, between)  # of a residual on the base policy's
    slope[0] = 1.0
    beyond = np.outer(slope, slope) * rest
    left = alike * rest - beyond
    names = ("base", *(f"policy {i}" for i in range(1, policies)))
    return Pilot(
        names, np.full(policies, mean), np.zeros(policies, dtype=bool), known * alike, beyond, left,
        (Doubt.of_normal(alike),) * 3,
    )  # fmt: skip


def pilot(
    logs: pd.DataFrame,
    draws: pd.DataFrame,
    *,
    base: str = "base",
    judge_range: tuple[float, float] = (0, 1),
    oracle_range: tuple[float, float] = (0, 1),
    folds: int = 5,
    seed: int = 42,
) -> Pilot:
    """The pilot that labelled frames are, which are as those of `analyze`."""
    logs, logps, draws = check_frames(logs, None, draws, judge_range, oracle_range)
    found = calibrate(logs, draws, folds=folds, seed=seed)
    samples = build_samples(found.logs, logps, found.draws, base=base, folds=folds, seed=seed)
    predictions = predict(samples)
    own = {p: own_label_estimate(samples, p, known) for p, known in predictions.items()}
    return learned(samples, own)


def learned(samples: Samples, own: Mapping[str, OwnLabels | None]) -> Pilot:
    """From labels: samples, and the estimate from its own labels of every policy that has any.

    Policies without `FEWEST_PILOT` labels are left out. Variances of what is left are drawn
    together as far as they differ by noise (`spreads.steadied`).
    Raises CJEError where the base policy or all others are left out.
    """
    base = samples.base
    enough = {p: o for p, o in own.items() if o is not None and o.labels >= FEWEST_PILOT}
    targets = [p for p in enough if p != base and not samples.answers[p].logged]
    if base not in enough or not targets:
        raise CJEError(
            f"the pilot has too few labels: {FEWEST_PILOT} are needed on the logged answers, and "
            "on answers of at least one target.\nLabel so many, or state guesses (--spread)"
        )
    names = (base, *targets)
    present = np.column_stack([samples.answers[p].present for p in names])
    weight = np.column_stack([samples.answers[p].label_weight for p in names])
    logged = np.broadcast_to(weight[:, :1], weight.shape)
    residual = np.column_stack([enough[p].left for p in names])
    peer = np.column_stack([enough[p].peer for p in names])
    peer[:, 0], residual[:, 0] = residual[:, 0], 0.0
    predicted = np.column_stack([enough[p].predicted for p in names])
    left = _covariance(residual, weight)
    rest = doubt(residual, weight > 0, WIDER)
    variance, error = steadied(np.diag(left)[1:], rest.known[1:, 1:])
    known = rest.known.copy()
    known[1:, 1:] = error
    return Pilot(
        policies=names,
        mean=np.array([np.clip(enough[p].influence.value, 0, 1) for p in names]),
        steps=np.array([enough[p].values <= 2 for p in names]),
        everywhere=_covariance(predicted, present.astype(float)),
        beyond=_covariance(peer, logged),
        left=_with_variances(left, np.append(0.0, variance)),
        doubts=(doubt(predicted, present), doubt(peer, logged > 0), replace(rest, known=known)),
        active=_active_share(samples, residual[:, 1:], weight[:, 1:], names),
    )


def _covariance(values: Array, weight: Array) -> Array:
    """Covariances (P, P) of values (N, P) about 0, over the prompts that both have, by the root of
    the product of their weights (N, P)."""
    root = np.sqrt(weight)
    weighted = values * root
    mass = root.T @ root
    found: Array = np.divide(weighted.T @ weighted, mass, out=np.zeros_like(mass), where=mass > 0)
    return found


def _with_variances(covariance: Array, variance: Array) -> Array:
    """A covariance (P, P) of the same correlations, with these variances (P,)."""
    before = np.diag(covariance)
    scale = np.sqrt(np.divide(variance, before, out=np.ones_like(before), where=before > 0))
    scaled: Array = covariance * np.outer(scale, scale)
    return scaled


def _active_share(
    samples: Samples, residual: Array, weight: Array, names: tuple[str, ...]
) -> float:
    """What active sampling would leave of the variance of the residuals (N, T), over the prompts
    on which the logs are labelled."""
    answers = samples.answers
    utility = answers[samples.base].utility
    size = residual_sizes(np.column_stack([answers[p].score for p in names]), utility)
    known = np.isfinite(utility)
    share = weight[known] / np.maximum(weight[known].sum(axis=0), 1e-300)
    before = (share * residual[known] ** 2).sum(axis=0)
    after = (share * residual[known] ** 2 / tempered(size[known])[:, None]).sum(axis=0)
    fine = before > 0
    return float((after[fine] / before[fine]).mean()) if fine.any() else 1.0


@dataclass(frozen=True)
class Size:
    """n prompts, labels on so many of the logged answers (n1), and on so many of each target."""

    prompts: int
    logged: int
    own: int

    def labels(self, policies: int) -> int:
        """In all."""
        return self.logged + (policies - 1) * self.own


@dataclass(frozen=True)
class Prices:
    """US dollars: of a label, and of a prompt, which is an answer and a judgement of every
    policy."""

    label: float
    prompt: float

    def dollars(self, size: Size, policies: int) -> float:
        """Of the whole."""
        return self.label * size.labels(policies) + self.prompt * size.prompts


@dataclass(frozen=True)
class Aim:
    """`within`: the half width of the interval of every policy, or None; `apart`: the difference
    of two policies to be detected with this `power`, Holm's correction over all pairs, or None.
    `anytime`: with intervals and p-values valid at any number of labels."""

    within: float | None = None
    apart: float | None = None
    power: float = 0.8
    alpha: float = 0.05
    anytime: bool = False


@dataclass(frozen=True)
class Reached:
    """What a size reaches: half widths by policy (P,), and the smallest difference that is detected
    with the aim's power between the two policies where that is hardest."""

    half_widths: Array
    detectable: float


class Planner:
    """Plans for one pilot and one aim."""

    def __init__(self, pilot: Pilot, aim: Aim):
        self.pilot, self.aim = pilot, aim
        self._bounds: dict[int, Array] = {}
        self._dispersions: dict[int, float] = {}
        self._quantiles: dict[int, float] = {}

    def reach(self, size: Size) -> Reached:
        """What that many prompts and labels reach."""
        half = [
            self._half_width(i, np.sqrt(v), size.logged if i == 0 else size.own)
            for i, v in enumerate(self._variances(size))
        ]
        return Reached(np.array(half), float(np.sqrt(self._gaps(size).max()) * self._steps(size)))

    def likely(self, size: Size) -> tuple[float, float]:
        """Between which ends the widest half width lies in `LIKELY` of runs of that size: what the
        pilot does not know of the variances, and what the run's own labels happen to be."""
        pilot, half = self.pilot, self.reach(size).half_widths
        rng, total = np.random.default_rng(0), np.zeros((DRAWS, len(half)))
        parts = (pilot.everywhere, pilot.beyond, pilot.left)
        counts = (size.prompts, size.logged, size.own)
        for part, count, unsure in zip(parts, counts, pilot.doubts, strict=True):
            scales, axes = np.linalg.eigh(unsure.after(count))
            moves = rng.standard_normal((DRAWS, len(half))) * np.sqrt(np.maximum(scales, 0.0))
            # Mean squares are right on average: their logarithms are low by half their variance.
            moves = moves @ axes.T - np.diag(unsure.one) / count / 2
            total += np.diag(part) / count * np.exp(moves)
        planned = self._variances(size)
        ratio = np.divide(total, planned, out=np.ones_like(total), where=planned > 0)
        widest = (half * np.sqrt(ratio)).max(axis=1)
        low, high = np.quantile(widest, [(1 - LIKELY) / 2, (1 + LIKELY) / 2])
        return float(low), float(high)

    def plan(self, prices: Prices, most_prompts: int) -> Size | None:
        """The least expensive size that reaches the aim: of those within a hundredth of the least
        price the one with the fewest prompts, then labels; None where `most_prompts` are too few
        for it."""
        policies = len(self.pilot.policies)
        found: list[tuple[float, int, int, Size]] = []
        for prompts in _steps_between(FEWEST_PLANNED, most_prompts):
            for logged in _steps_between(FEWEST_PLANNED, prompts):
                own = self._fewest(prompts, logged)
                if own is None:
                    continue
                size = Size(prompts, logged, own)
                labels = size.labels(policies)
                cost = prices.dollars(size, policies) if prices.label or prices.prompt else labels
                found.append((cost, prompts, labels, size))
        if not found:
            return None
        least = min(cost for cost, *_ in found) * ALIKE
        alike = [row[1:] for row in found if row[0] <= least]
        return min(alike, key=lambda row: row[:2])[-1]

    def _fewest(self, prompts: int, logged: int) -> int | None:
        """The fewest labels on each target that reach the aim; None where none do."""
        if not self._enough(Size(prompts, logged, logged)):
            return None
        low, high = FEWEST_PLANNED - 1, logged
        if high <= low or self._enough(Size(prompts, logged, low + 1)):
            return min(low + 1, high)
        while high - low > 1:
            middle = (low + high) // 2
            if self._enough(Size(prompts, logged, middle)):
                high = middle
            else:
                low = middle
        return high

    def _enough(self, size: Size) -> bool:
        if self.aim.within is not None:
            variances = self._variances(size)
            if variances[0] > self._most(size.logged, self.aim.within)[0]:
                return False
            if (variances[1:] > self._most(size.own, self.aim.within)[1:]).any():
                return False
        if self.aim.apart is None:
            return True
        return bool(np.sqrt(self._gaps(size).max()) * self._steps(size) <= self.aim.apart)

    def _variances(self, size: Size) -> Array:
        return np.diag(self._covariances(size))

    def _covariances(self, size: Size) -> Array:
        p = self.pilot
        return p.everywhere / size.prompts + p.beyond / size.logged + p.left / size.own

    def _gaps(self, size: Size) -> Array:
        """The variances of the differences of all pairs."""
        found = self._covariances(size)
        own = np.diag(found)
        first, second = np.triu_indices(len(found), 1)
        return np.maximum(own[first] + own[second] - 2 * found[first, second], 0.0)

    def _steps(self, size: Size) -> float:
        """How many standard errors a difference must be. Holm's first step is the hardest: the
        level is divided by the number of pairs."""
        if size.own not in self._quantiles:
            level = self._level(self.aim.alpha / max(self.pilot.pairs, 1), size.own)
            critical = stdtrit(max(size.own - 1, 1), 1 - level / 2)
            self._quantiles[size.own] = float(critical + ndtri(self.aim.power))
        return self._quantiles[size.own]

    def _half_width(self, policy: int, se: float, labels: int) -> float:
        pilot, aim = self.pilot, self.aim
        low, high = bounded_interval(
            pilot.mean[policy], float(se), labels, max(labels - 1, 1),
            self._level(aim.alpha, labels), bool(pilot.steps[policy]), self._dispersion(labels),
        )  # fmt: skip
        return (high - low) / 2

    def _dispersion(self, labels: int) -> float:
        """Of the targets' labels, where there are so many of each."""
        if labels not in self._dispersions:
            errors = np.sqrt(np.diag(self.pilot.left)[1:] / labels)
            means = zip(self.pilot.mean[1:].tolist(), errors.tolist(), strict=True)
            self._dispersions[labels] = dispersion((mean, se, labels) for mean, se in means)
        return self._dispersions[labels]

    def _level(self, alpha: float, labels: int) -> float:
        return anytime_level(alpha, labels) if self.aim.anytime else alpha

    def _most(self, labels: int, within: float) -> Array:
        """The largest variances (P,) with which the half widths are within the aim's."""
        if labels not in self._bounds:
            found = np.zeros(len(self.pilot.policies))
            for policy in range(len(found)):
                low, high = 0.0, 1.0
                for _ in range(HALVINGS):
                    middle = (low + high) / 2
                    if self._half_width(policy, middle, labels) <= within:
                        low = middle
                    else:
                        high = middle
                found[policy] = low**2
            self._bounds[labels] = found
        return self._bounds[labels]


def _steps_between(low: int, high: int) -> list[int]:
    """Whole numbers from low to high, each about as much larger than the last."""
    if high < low:
        return []
    return sorted(set(np.geomspace(low, high, GRID).round().astype(int).tolist()))
