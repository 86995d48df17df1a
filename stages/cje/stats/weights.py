"""Importance weights: the logs of one policy made to stand for another's answers.

Two kinds, both with mean 1 over the logs. Sequence weights are the exact likelihood ratio
w_i = exp(logp_target(a_i | x_i) - logp_base(a_i | x_i)). Marginal weights are the density ratio on
a few features, learned from the target's own fresh draws: they need no log-probabilities and do
not explode with the length of an answer; what they miss is a shift that no feature shows.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression

from cje.stats.arrays import Array, Mask
from cje.stats.calibration import filled

HIGHEST = 1e12  # a ratio above this counts as this much; its policy is refused anyway
EXTREME_LOW, EXTREME_HIGH = 1e-3, 1e3  # mean-one weights beyond these are extreme
TILT_RIDGE = 1e-3  # keeps the tilt finite where the draws lie outside the logs
ROWS_A_FEATURE = 10  # logs, and draws, that each feature of the tilt needs
MEAN_SLACK, MEAN_Z = 0.1, 3.0  # a mean weight further from 1, in both measures, is wrong
NEWTON_STEPS, NEWTON_TOLERANCE = 60, 1e-12


@dataclass(frozen=True)
class SequenceWeights:
    """`weight` (n,), mean 1 over the scored logs and 0 elsewhere; `ratio` (n,) as it was."""

    weight: Array
    ratio: Array
    scored: Mask

    @classmethod
    def from_log_ratio(cls, log_ratio: Array) -> "SequenceWeights":
        """From logp_target - logp_base (n,): NaN where unscored, -inf outside the support."""
        scored = ~np.isnan(log_ratio)
        filled = np.where(scored, log_ratio, -np.inf)
        ratio = np.exp(np.minimum(filled, np.log(HIGHEST)))
        highest = filled.max(initial=-np.inf)
        if highest == -np.inf:
            return cls(np.zeros(len(filled)), ratio, scored)
        scaled = np.exp(filled - highest)
        return cls(scaled * scored.sum() / scaled.sum(), ratio, scored)


@dataclass(frozen=True)
class MarginalWeights:
    """`weight` (n,), mean 1; features of the logs (n, d) and draws (m, d) about the draws' mean.

    The features are what the weights balance, and what their uncertainty is made of.
    """

    weight: Array
    logs: Array
    draws: Array


def marginal_features(score: Array) -> Array:
    """[s, s^2], (n, 2), the more telling first."""
    score = filled(score)
    return np.column_stack([score, score**2])


def marginal_weights(logs: Array, draws: Array, draw_share: Array) -> MarginalWeights:
    """The exponential tilt of the logs whose feature means are those of the draws.

    logs (n, d), draws (m, d): features; draw_share (m,): weights of the draws, sum 1. Entropy
    balancing (Hainmueller 2012, equation 8), which for a logistic density ratio is the calibrated
    classifier: weights exp(b'x), with b minimising log mean exp(b'x_i) - b'mean(x_draw). Only the
    first features are balanced where there are too few rows for all.
    """
    keep = max(1, min(len(logs), len(draws)) // ROWS_A_FEATURE)
    logs, draws = logs[:, :keep], draws[:, :keep]
    centre, scale = logs.mean(axis=0), logs.std(axis=0)
    varied = scale > 1e-9
    scale = np.where(varied, scale, 1.0)
    logs, draws = ((x - centre)[:, varied] / scale[varied] for x in (logs, draws))
    target = draw_share @ draws
    tilt = np.zeros(logs.shape[1])
    value, weight = _tilt_objective(tilt, logs, target)
    for _ in range(NEWTON_STEPS):
        mean = weight @ logs / len(logs)
        slope = mean - target + TILT_RIDGE * tilt
        centred = logs - mean
        curve = (centred * weight[:, None]).T @ centred / len(logs)
        curve[np.diag_indices_from(curve)] += TILT_RIDGE
        step = np.linalg.solve(curve, slope)
        gain = slope @ step
        if gain < NEWTON_TOLERANCE:
            break
        size = 1.0
        while size > 1e-8:
            trial, trial_weight = _tilt_objective(tilt - size * step, logs, target)
            if trial <= value - 1e-4 * size * gain:
                break
            size /= 2
        else:
            break
        tilt, value, weight = tilt - size * step, trial, trial_weight
    return MarginalWeights(weight, logs - target, draws - target)


def _tilt_objective(tilt: Array, logs: Array, target: Array) -> tuple[float, Array]:
    exponent = logs @ tilt
    highest = exponent.max()
    weight = np.exp(exponent - highest)
    mean = weight.mean()
    value = highest + np.log(mean) - tilt @ target + TILT_RIDGE / 2 * tilt @ tilt
    return value, weight / mean


def effective_sample_share(weight: Array) -> float:
    """Kish's effective sample size (sum w)^2 / sum w^2, as a share of n; 0 where all are 0."""
    highest = weight.max(initial=0.0)
    if not highest > 0:
        return 0.0
    relative = weight / highest  # the squares of tiny weights would all be 0
    return float(relative.sum() ** 2 / (relative**2).sum() / len(weight))


def expected_sample_share(log_ratio: Array) -> float:
    """The effective sample, as a share of n, that the log-ratios (n,) promise: exp(-s^2), s^2 their
    mean squared distance from the median above it, plus its standard error.

    It is exact for log-ratios that are normal above their median. The effective sample seen is
    larger by chance, the more so the fewer of the largest weights happen to be there.
    """
    finite = log_ratio[np.isfinite(log_ratio)]
    if not len(finite):
        return 0.0
    above = finite - np.median(finite)
    above = above[above >= 0]
    return float(np.exp(-np.mean(above**2) * (1 + np.sqrt(2 / len(above)))))


def tail_index(weight: Array) -> float:
    """The Pareto shape k of the largest weights; above 0.7 their mean cannot be trusted.

    The tail is the largest min(n / 5, 3 sqrt(n)) weights (Vehtari et al. 2024, section 3.2), the
    fit that of Zhang and Stephens (2009) with the former's weak prior. -inf for equal weights.
    """
    size = int(min(0.2 * len(weight), 3 * np.sqrt(len(weight))))
    if size < 5:
        return -np.inf
    top = np.sort(np.partition(weight, len(weight) - size - 1)[-size - 1 :])
    tail = top[1:] - top[0]
    if tail[-1] <= 1e-12 * max(top[-1], 1e-300):
        return -np.inf
    if tail[0] <= 0:  # more than n - size logs weigh the same: the tail is what exceeds them
        tail = tail[tail > 0]
        size = len(tail)
        if size < 5:
            return np.inf
    quartile = tail[int(size / 4 + 0.5) - 1]
    grid = np.arange(1, 31 + int(np.sqrt(size)))
    theta = 1 / tail[-1] + (1 - np.sqrt(len(grid) / (grid - 0.5))) / (3 * quartile)
    shape = np.log1p(-theta[:, None] * tail).mean(axis=1)
    likelihood = size * (np.log(-theta / shape) - shape - 1)
    posterior = np.exp(likelihood - likelihood.max())
    theta_hat = (theta * posterior).sum() / posterior.sum()
    k = np.log1p(-theta_hat * tail).mean()
    return float((size * k + 10 * 0.5) / (size + 10))


@dataclass(frozen=True)
class WeightSummary:
    """What weights of mean 1 say of the overlap.

    `ess` (share of n), `max_share` (of all weight), `tail_index`, `zero_share`, `extreme_share`;
    `mean_weight` of the ratio before it was normalised (1 without one) and `mean_weight_z`, its
    distance from 1 in standard errors.
    """

    ess: float
    mean_weight: float
    mean_weight_z: float
    max_share: float
    tail_index: float
    zero_share: float
    extreme_share: float


def weight_summary(weight: Array, ratio: Array | None = None) -> WeightSummary:
    """The summary of weights (n,), mean 1, and of the `ratio` (n,) that they were made of."""
    positive = weight[weight > 0]
    extreme = ((positive < EXTREME_LOW) | (positive > EXTREME_HIGH)).sum() / len(weight)
    mean, z = 1.0, 0.0
    if ratio is not None:
        mean = float(ratio.mean())
        error = ratio.std(ddof=1) / np.sqrt(len(ratio)) if len(ratio) > 1 else 0.0
        if mean != 1:
            z = float((mean - 1) / error) if error > 0 else float(np.copysign(np.inf, mean - 1))
    return WeightSummary(
        ess=effective_sample_share(weight),
        mean_weight=mean,
        mean_weight_z=z,
        max_share=float(weight.max() / weight.sum()) if len(positive) else 0.0,
        tail_index=tail_index(weight),
        zero_share=float((weight == 0).mean()),
        extreme_share=float(extreme),
    )


def off_one(mean: float, z: float) -> int:
    """-1 where the mean weight is below 1 beyond chance, 1 where it is above, else 0.

    Below: the base policy cannot give part of the target's answers. Above: no ratio of two
    distributions has a mean above 1, so the log-probabilities cannot be right.
    """
    return int(np.sign(z)) if abs(mean - 1) > MEAN_SLACK and abs(z) > MEAN_Z else 0


def project_monotone(weight: Array, score: Array) -> Array:
    """Mean-one weights (n,) made monotone in the score: their isotonic regression on it.

    Rising or falling, whichever is closer; the projection keeps the mean and never lowers the
    effective sample size (van der Laan et al., stacked isotonic calibration of weights).
    """
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    means = np.bincount(place, weight) / count
    fits: list[Array] = [
        isotonic_regression(means, weights=count, increasing=up).x for up in (True, False)
    ]
    losses = [count @ (means - fit) ** 2 for fit in fits]
    return fits[int(losses[1] < losses[0])][place]
