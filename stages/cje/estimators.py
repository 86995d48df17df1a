"""Estimators of a target policy's utility, each a function from samples to an `Influence`.

The samples are arrays. For log i: s_i its judge score, f_i its calibrated reward by a fit without
its prompt, y_i its oracle utility (NaN where unlabelled), omega_i = delta_i / p_i scaled to mean 1,
w_i its importance weight, mean 1. For draw j of the target: f_j its calibrated reward.

    direct          V = mean_j f_j
    dr-cpo          V = mean_j f_j + mean_i w_i (m_i + omega_i (y_i - f_i - m_i))
    snips           V = mean_i w_i q_i,   q_i = f_i + omega_i (y_i - f_i)
    ips             the same with the weights as they are, not normalised
    calibrated-ips  the same with weights made monotone in the judge score

dr-cpo's correction takes the residual of the *oracle*, so it undoes what the calibrator gets wrong
about the target. m_i is a cross-fitted guess of the residual y_i - f_i from what is known of every
log, labelled or not: any guess leaves the correction unbiased, and a good one removes the noise of
which logs happened to be labelled (Robins, Rotnitzky and Zhao 1994, for label sampling).
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtrit

from cje.calibration import CrossFit, index_basis, ridge_fit
from cje.inference import Influence, mean_influence
from cje.samples import Draws, Logs
from cje.weights import (
    MarginalWeights,
    SequenceWeights,
    effective_sample_share,
    filled,
    marginal_features,
    marginal_weights,
    project_monotone,
    weight_summary,
)

RESIDUAL_RIDGE = 0.1
LABELS_A_TERM = 5  # training labels that each term of the residual's guess needs
GUESS_ERRORS = 1.0  # standard errors by which the guess must be of use
RATIO_CLIP = 4.0  # standard deviations of the log-ratio that the guess may use
STANDS_ESS = 0.2  # sequence weights above this share of n, and with a tail
STANDS_TAIL = 0.7  # index below this, carry an estimate by themselves
FALLS_ESS = 0.05  # below this share they carry nothing
MEAN_SLACK, MEAN_Z = 0.1, 3.0  # a mean weight further from 1, in both measures, is wrong


@dataclass(frozen=True)
class Correction:
    """What the logs add to the direct estimate, and the weights that it took.

    `kind` is sequence, marginal, combination or none; `weight` (n,) the mean-one weights;
    `sequence_share` the part of the sequence correction in it; `why` a sentence.
    """

    kind: str
    weight: np.ndarray | None
    influence: Influence
    sequence_share: float
    why: str


def direct(logs: Logs, draws: Draws, calibration: CrossFit | None = None) -> Influence:
    """The calibrated judge's mean on the target's draws.

    With `calibration`, widened by its uncertainty: the delete-one-fold jackknife of the mean
    (Efron and Stein 1981), (K - 1) / K sum_k (V_(-k) - mean)^2. Nothing here corrects a judge that
    the target fools: calibration on the base policy leaves that bias in.
    """
    estimate = mean_influence(draws.reward, draws.prompt, logs.prompts, draws.share)
    if calibration is None:
        return estimate
    folds = calibration.by_fold
    means = np.array([draws.share @ c.predict(draws.score, draws.covariates) for c in folds])
    jackknife = (len(folds) - 1) / len(folds) * ((means - means.mean()) ** 2).sum()
    return estimate.widened(variance=float(jackknife))


def weighted_mean(
    logs: Logs, values: np.ndarray, weight: np.ndarray, used: np.ndarray
) -> Influence:
    """The Hajek mean sum w v / sum w over the `used` rows (n,), with each row's influence.

    Rows are jackknifed: leaving out row i moves the mean by w_i (v_i - V) / (sum w - w_i), so a
    row of much weight counts for more than its linear influence.
    """
    total = weight.sum()
    if total <= 0:  # nothing is known of the mean of a policy that no log could be of
        return Influence(0.0, np.zeros(logs.prompts), bias=1.0)
    value = float(weight @ values / total)
    alone = np.where(used, weight, 0.0) >= total * (1 - 1e-9)
    left = np.where(alone, total, total - weight)
    influence = weight * (values - value) / left
    return Influence(value, logs.prompts * np.bincount(logs.prompt, influence, logs.prompts))


def sequence_correction(logs: Logs, weights: SequenceWeights, log_ratio: np.ndarray) -> Influence:
    """mean_i w_i (m_i + omega_i (y_i - f_i - m_i)) under exact weights."""
    finite = np.isfinite(log_ratio)
    signal = None
    if finite.any() and np.ptp(log_ratio[finite]) > 1e-9:
        spread, centre = log_ratio[finite].std(), log_ratio[finite].mean()
        unit = np.where(finite, (np.where(finite, log_ratio, 0) - centre) / spread, -RATIO_CLIP)
        signal = np.clip(unit, -RATIO_CLIP, RATIO_CLIP)
    residual, terms = augmented_residual(logs, weights.weight, signal)
    mean = weighted_mean(logs, residual, weights.weight, weights.scored)
    return fitted_terms_widened(mean, logs, weights.weight, terms)


def marginal_correction(logs: Logs, draws: Draws, weights: MarginalWeights) -> Influence:
    """mean_i w_i (m_i + omega_i (y_i - f_i - m_i)) under learned weights.

    The influence function holds what learning them adds: by the tilt's first-order condition,
    replacing the weights moves the mean as the regression of the residual on the balanced
    features says (Hainmueller's weights as a calibration estimator; Deville and Sarndal 1992).
    """
    residual, terms = augmented_residual(logs, weights.weight, None)
    everything = np.ones(len(residual), dtype=bool)
    mean = weighted_mean(logs, residual, weights.weight, everything)
    weighted = weights.logs * weights.weight[:, None]
    gram = weighted.T @ weights.logs / len(residual)
    gram[np.diag_indices_from(gram)] += 1e-6
    slope = np.linalg.solve(gram, weighted.T @ (residual - mean.value) / len(residual))
    balance = (weights.logs @ slope) * weights.weight / len(residual)
    target = draws.share * (weights.draws @ slope)
    psi = np.bincount(draws.prompt, target, logs.prompts)
    psi -= np.bincount(logs.prompt, balance, logs.prompts)
    whole = replace(mean, psi=mean.psi + logs.prompts * psi)
    return fitted_terms_widened(whole, logs, weights.weight, terms + weights.logs.shape[1])


def fitted_terms_widened(
    influence: Influence, logs: Logs, weight: np.ndarray, terms: int
) -> Influence:
    """The correction with the variance times m / (m - terms), m its effective number of labels.

    The degrees-of-freedom correction of regression (HC1; MacKinnon and White 1985), with Kish's
    size of the weighted labels: what was fitted to them makes their errors depend on each other.
    Counted are `terms` here, and half of the calibration's: measured, all of them widen too much.
    """
    labels = (weight * logs.label_weight)[logs.labelled]
    size = effective_sample_share(labels) * len(labels)
    used = terms + logs.fitted_terms / 2
    extra = used / max(size - used, 1.0)
    return influence.widened(variance=extra * influence.sampling_error**2)


def augmented_residual(
    logs: Logs, weight: np.ndarray, signal: np.ndarray | None
) -> tuple[np.ndarray, int]:
    """m_i + omega_i (y_i - f_i - m_i), (n,), of expectation E[y - f | log i]; and m's terms.

    m is a ridge regression of the labelled residuals on [1, s, s^2, covariates, signal], weighted
    as the target weighs them and cross-fitted by fold; scaled by tau in [0, 1], which minimises
    the variance over label draws, so that a guess without merit is not used.
    """
    basis = index_basis(filled(logs.score), logs.covariates)
    if signal is not None:
        basis = np.column_stack([basis, signal])
    residual, labelled = logs.residual, logs.labelled
    guess = np.zeros(len(residual))
    importance = weight * logs.label_weight
    for k in range(logs.folds):
        train = labelled & (logs.fold != k) & (weight > 0)
        if train.sum() < LABELS_A_TERM * basis.shape[1]:
            continue
        held = logs.fold == k
        fit = ridge_fit(basis[train], residual[train], importance[train], RESIDUAL_RIDGE)
        guess[held] = basis[held] @ fit
    loss = (weight * logs.label_weight) ** 2
    merit = loss @ guess**2
    if merit == 0:
        return logs.label_weight * residual, 1
    best = loss @ (residual * guess) / merit
    error = np.linalg.norm(loss * guess * (residual - best * guess)) / merit
    guess *= np.clip(best - GUESS_ERRORS * error, 0, 1)
    return guess + logs.label_weight * (residual - guess), basis.shape[1]


def mean_weight_off(mean: float, z: float) -> int:
    """-1 where the mean weight is below 1 beyond chance, 1 where it is above, else 0.

    Below: the base policy cannot give part of the target's answers. Above: no ratio of two
    distributions has a mean above 1, so the log-probabilities cannot be right.
    """
    return int(np.sign(z)) if abs(mean - 1) > MEAN_SLACK and abs(z) > MEAN_Z else 0


def sequence_stands(summary: dict[str, float]) -> bool:
    """Whether sequence weights of this summary carry an estimate by themselves."""
    off = mean_weight_off(summary["mean_weight"], summary["mean_weight_z"])
    return summary["ess"] >= STANDS_ESS and summary["tail_index"] <= STANDS_TAIL and not off


def correction(
    logs: Logs, draws: Draws | None, log_ratio: np.ndarray | None, kind: str
) -> Correction:
    """The correction of the direct estimate under `kind` of weights: sequence, marginal, auto.

    `log_ratio` (n,) is None where this policy cannot score text. `auto` takes the exact weights
    where they carry an estimate (`sequence_stands`), the learned ones where there are none or
    they have collapsed or cannot be right, and between the two the combination of `combined`.
    Learned weights that the collapsed ones contradict are widened by as much.
    """
    sequence = None if log_ratio is None else SequenceWeights.from_log_ratio(log_ratio)
    if kind == "sequence" or draws is None:
        if sequence is None:
            nothing = Influence(0.0, np.zeros(logs.prompts))
            return Correction("none", None, nothing, 0.0, "there are no log-probabilities")
        influence = sequence_correction(logs, sequence, log_ratio)
        return Correction("sequence", sequence.weight, influence, 1.0, "asked for")
    if kind == "auto" and sequence is not None:
        summary = weight_summary(sequence.weight, sequence.ratio[sequence.scored])
        if sequence_stands(summary):
            influence = sequence_correction(logs, sequence, log_ratio)
            why = f"exact weights reach {100 * summary['ess']:.3g} % of the logs"
            return Correction("sequence", sequence.weight, influence, 1.0, why)
    marginal = marginal_weights(
        marginal_features(logs.score, logs.covariates),
        marginal_features(draws.score, draws.covariates),
        draws.share,
    )
    learned = marginal_correction(logs, draws, marginal)
    if kind == "marginal" or sequence is None:
        why = "asked for" if kind == "marginal" else "there are no log-probabilities"
        return Correction("marginal", marginal.weight, learned, 0.0, why)
    mean = summary["mean_weight"]
    wrong = mean_weight_off(mean, summary["mean_weight_z"]) > 0
    if wrong or summary["ess"] < FALLS_ESS:
        why = f"exact weights reach only {100 * summary['ess']:.2g} % of the logs"
        if wrong:
            return Correction(
                "marginal", marginal.weight, learned, 0.0,
                f"exact weights have mean {mean:.2f}, which no true ratio has",
            )  # fmt: skip
        gap = learned - sequence_correction(logs, sequence, log_ratio)
        learned = learned.widened(bias=excess(gap))
        return Correction("marginal", marginal.weight, learned, 0.0, why)
    exact = sequence_correction(logs, sequence, log_ratio)
    influence, share = combined(exact, learned)
    weight = share * sequence.weight + (1 - share) * marginal.weight
    why = f"exact weights reach {100 * summary['ess']:.2g} % of the logs, tail index "
    why += f"{summary['tail_index']:.2f}, mean {mean:.2f}"
    return Correction("combination", weight, influence, share, why)


def excess(gap: Influence) -> float:
    """What of a gap sampling does not explain: sqrt(max(0, D^2 - var D))."""
    return max(0.0, gap.value**2 - gap.sampling_error**2) ** 0.5


def combined(exact: Influence, learned: Influence) -> tuple[Influence, float]:
    """learned + kappa (exact - learned), with the kappa of least estimated mean squared error.

    The learned correction may be biased by b; D = learned - exact estimates it, so that
    b^2 ~ max(0, D^2 - var D). kappa in [0, 1] minimises var(kappa) + (1 - kappa)^2 b^2, a
    quadratic; the bias that it leaves, (1 - kappa) b, goes into the width.
    """
    gap = learned - exact
    bias = excess(gap)
    n = len(gap.psi)
    spread = gap.psi @ gap.psi / (n * max(n - 1, 1)) + bias**2
    shared = learned.psi @ gap.psi / (n * max(n - 1, 1)) + bias**2
    kappa = float(np.clip(shared / spread, 0, 1)) if spread > 0 else 1.0
    mixed = learned - kappa * gap
    return mixed.widened(bias=(1 - kappa) * bias), kappa


def dr_cpo(logs: Logs, draws: Draws, part: Correction) -> Influence:
    """Direct estimate plus the weighted oracle residual of the logs."""
    return direct(logs, draws) + part.influence


def weighted_logs(
    logs: Logs, weight: np.ndarray, scored: np.ndarray, *, normalised: bool = True
) -> Influence:
    """mean_i w_i q_i with q_i = f_i + omega_i (y_i - f_i): ips, or snips where `normalised`."""
    outcome = logs.reward + logs.label_weight * logs.residual
    if normalised:
        return weighted_mean(logs, outcome, weight, scored)
    return mean_influence((weight * outcome)[scored], logs.prompt[scored], logs.prompts)


def calibrated_ips(logs: Logs, weight: np.ndarray, scored: np.ndarray) -> Influence:
    """snips under weights made monotone in the judge score.

    The projected weights average within blocks of scores, so the estimate's influence is that of
    the projected weights within blocks and of the weights as they were between them.
    """
    projected = np.zeros(len(weight))
    projected[scored] = project_monotone(weight[scored], filled(logs.score)[scored])
    outcome = logs.reward + logs.label_weight * logs.residual
    estimate = weighted_mean(logs, outcome, projected, scored)
    _, block = np.unique(projected, return_inverse=True)
    mass = np.bincount(block, scored)
    level = (np.bincount(block, np.where(scored, outcome, 0)) / np.maximum(mass, 1))[block]
    between = np.where(scored, (weight - projected) * (level - estimate.value), 0) / scored.sum()
    psi = logs.prompts * np.bincount(logs.prompt, between, logs.prompts)
    return replace(estimate, psi=estimate.psi + psi)


def audited(logs: Logs, draws: Draws, alpha: float) -> tuple[float, float, float, float] | None:
    """Estimate, standard error and interval from oracle labels on the target's own draws.

    Prediction-powered (Angelopoulos, Duchi and Zrnic 2023), power-tuned: the labels' mean plus
    lambda times (mean of f over all draws - its mean over the labelled), lambda = Cov(f, y) /
    Var(f). Unbiased whatever the judge and the weights do; where the judge does not help, it is
    the labels' own mean and t interval. None with fewer than two labelled prompts.
    """
    labelled = draws.label_weight > 0
    prompts = np.unique(draws.prompt[labelled])
    m, total = len(prompts), len(np.unique(draws.prompt))
    if m < 2:
        return None
    own = per_prompt(draws.utility, draws, labelled)[prompts]
    seen = per_prompt(draws.reward, draws, labelled)[prompts]
    weight = np.bincount(draws.prompt[labelled], draws.label_weight[labelled])[prompts]
    weight = weight / weight.sum()
    mean = weight @ own
    residual = own - mean
    correction_ = m / (m - 1)
    variance = correction_ * (weight**2 @ residual**2)
    half = stdtrit(m - 1, 1 - alpha / 2)
    best = (float(mean), float(variance**0.5), half * variance**0.5)
    centred = seen - weight @ seen
    spread = weight @ centred**2
    if spread > 0 and m > 3 and total > m:
        power = float(weight @ (centred * residual) / spread)
        everything = per_prompt(draws.reward, draws, np.ones(len(labelled), dtype=bool))
        present = np.bincount(draws.prompt, minlength=len(everything)) > 0
        everything = everything[present]
        left = residual - power * centred
        tuned = (m - 1) / (m - 2) * correction_ * (weight**2 @ left**2)
        tuned += power**2 * everything.var(ddof=1) / total
        if stdtrit(m - 2, 1 - alpha / 2) * tuned**0.5 < best[2]:
            value = mean + power * (everything.mean() - weight @ seen)
            best = (float(value), float(tuned**0.5), stdtrit(m - 2, 1 - alpha / 2) * tuned**0.5)
    value, se, half = best
    return value, se, float(value - half), float(value + half)


def per_prompt(values: np.ndarray, draws: Draws, rows: np.ndarray) -> np.ndarray:
    """Mean of `values` over a prompt's `rows`, (highest prompt index + 1,); 0 where it has none."""
    size = int(draws.prompt.max()) + 1
    count = np.bincount(draws.prompt[rows], minlength=size)
    return np.bincount(draws.prompt[rows], values[rows], size) / np.maximum(count, 1)
