"""What logged labels add to the calibrated judge's mean: weighted oracle residuals.

    V_log = mean_j (f_j + v_j) + mean_i w_i (m_i - v_i + omega_i (y_i - f_i - m_i))

For log i: f_i its calibrated reward by a fit without its prompt, y_i its oracle utility, omega_i =
delta_i / p_i scaled to mean 1, w_i its importance weight, mean 1. For draw j of the target: f_j its
calibrated reward. The correction takes the residual of the *oracle*, so it undoes what the
calibrator gets wrong about the target. m_i is a cross-fitted guess of the residual y_i - f_i from
what is known of every log, labelled or not, v that part of it which shows in draws as well: any
guess leaves the estimate unbiased, and a good one removes the noise of which logs happened to be
labelled (Robins, Rotnitzky and Zhao 1994, for label sampling).
"""

from dataclasses import dataclass, replace

import numpy as np

from cje.stats.arrays import Array, Mask, totals
from cje.stats.calibration import CrossFit, filled, ridge_fit
from cje.stats.inference import Influence, mean_influence
from cje.stats.samples import Draws, Logs
from cje.stats.weights import (
    MarginalWeights,
    SequenceWeights,
    effective_sample_share,
    project_monotone,
)

RESIDUAL_RIDGE = 0.1
LABELS_A_TERM = 5  # training labels that each term of the residual's guess needs
GUESS_ERRORS = 1.0  # standard errors by which the guess must be of use
RATIO_CLIP = 4.0  # standard deviations of the log-ratio that the guess may use


def direct(logs: Logs, draws: Draws, calibration: CrossFit | None = None) -> Influence:
    """The calibrated judge's mean on the target's draws.

    With `calibration`, widened by its uncertainty: the delete-one-fold jackknife of the mean
    (Efron and Stein 1981), (K - 1) / K sum_k (V_(-k) - mean)^2. Nothing here corrects a judge that
    the target fools: calibration on the base policy leaves that bias in.
    """
    estimate = mean_influence(draws.reward, draws.prompt, logs.cluster, draws.share)
    if calibration is None:
        return estimate
    folds = calibration.by_fold
    means = np.array([draws.share @ c.predict(draws.score) for c in folds])
    return replace(estimate, fitted=np.sqrt((len(folds) - 1) / len(folds)) * (means - means.mean()))


def weighted_mean(logs: Logs, values: Array, weight: Array, used: Mask) -> Influence:
    """The Hajek mean sum w v / sum w over the `used` rows (n,), with each row's influence.

    Rows are jackknifed: leaving out row i moves the mean by w_i (v_i - V) / (sum w - w_i), so a
    row of much weight counts for more than its linear influence.
    """
    total = weight.sum()
    if total <= 0:  # nothing is known of the mean of a policy that no log could be of
        return Influence(0.0, np.zeros(logs.prompts), logs.cluster)
    value = float(weight @ values / total)
    alone = np.where(used, weight, 0.0) >= total * (1 - 1e-9)
    left = np.where(alone, total, total - weight)
    influence = weight * (values - value) / left
    psi = logs.prompts * totals(logs.prompt, influence, logs.prompts)
    return Influence(value, psi, logs.cluster)


def standard_ratio(log_ratio: Array) -> Array | None:
    """The log-ratios (n,) in standard units, clipped; the lowest for impossible answers. None where
    they do not vary."""
    finite = np.isfinite(log_ratio)
    if not finite.any() or np.ptp(log_ratio[finite]) <= 1e-9:
        return None
    spread, centre = log_ratio[finite].std(), log_ratio[finite].mean()
    unit = np.where(finite, (np.where(finite, log_ratio, 0) - centre) / spread, -RATIO_CLIP)
    return np.clip(unit, -RATIO_CLIP, RATIO_CLIP)


def residual_bend(logs: Logs, log_ratio: Array) -> float:
    """How many standard errors (HC0) the labelled residuals' regression on the standard log-ratio u
    bends: the coefficient of u^2. A residual that grows faster than u has a weighted mean which
    hangs on the heaviest logs, and those are few."""
    unit = standard_ratio(log_ratio)
    rows = logs.labelled & np.isfinite(log_ratio)
    if unit is None or rows.sum() < LABELS_A_TERM * 3:
        return 0.0
    basis = np.column_stack([np.ones(rows.sum()), unit[rows], unit[rows] ** 2])
    weight = logs.label_weight[rows]
    gram = basis.T @ (basis * weight[:, None])
    if np.linalg.cond(gram) > 1e10:
        return 0.0
    inverse = np.linalg.inv(gram)
    slope = inverse @ (basis.T @ (weight * logs.residual[rows]))
    left = logs.residual[rows] - basis @ slope
    meat = basis.T @ (basis * ((weight * left) ** 2)[:, None])
    error = float(np.sqrt((inverse @ meat @ inverse)[2, 2]))
    return float(slope[2] / error) if error > 1e-12 else 0.0


def sequence_correction(
    logs: Logs, draws: Draws, weights: SequenceWeights, log_ratio: Array
) -> Influence:
    """mean_j v_j + mean_i w_i (m_i - v_i + omega_i (y_i - f_i - m_i)) under exact weights."""
    unit = standard_ratio(log_ratio)
    signal = None if unit is None else np.column_stack([unit, unit**2])
    guess = guess_residual(logs, draws, weights.weight, signal)
    mean = weighted_mean(logs, guess.residual, weights.weight, weights.scored)
    mean = fitted_terms_widened(mean, logs, weights.weight, guess.terms)
    return mean + mean_influence(guess.drawn, draws.prompt, logs.cluster, draws.share)


def marginal_correction(logs: Logs, draws: Draws, weights: MarginalWeights) -> Influence:
    """mean_j v_j + mean_i w_i (m_i - v_i + omega_i (y_i - f_i - m_i)) under learned weights.

    The influence function holds what learning them adds: by the tilt's first-order condition,
    replacing the weights moves the mean as the regression of the residual on the balanced
    features says (Hainmueller's weights as a calibration estimator; Deville and Sarndal 1992).
    """
    guess = guess_residual(logs, draws, weights.weight, None)
    residual, terms = guess.residual, guess.terms
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
    whole = fitted_terms_widened(whole, logs, weights.weight, terms + weights.logs.shape[1])
    return whole + mean_influence(guess.drawn, draws.prompt, logs.cluster, draws.share)


def fitted_terms_widened(influence: Influence, logs: Logs, weight: Array, terms: int) -> Influence:
    """The correction with variance times 1 + terms / (m - terms), m its effective number of labels.

    The degrees-of-freedom correction of regression (HC1; MacKinnon and White 1985), with Kish's
    size of the weighted labels: what was fitted to them makes their errors depend on each other.
    Counted are `terms` here, and half of the calibration's: measured, all of them widen too much.
    """
    labels = (weight * logs.label_weight)[logs.labelled]
    size = effective_sample_share(labels) * len(labels)
    used = terms + logs.fitted_terms / 2
    extra = used / max(size - used, 1.0)
    return influence.inflated(float(np.sqrt(1 + extra)))


@dataclass(frozen=True)
class Guess:
    """The residual's guess m: `residual` (n,), m_i - v_i + omega_i (y_i - f_i - m_i) of the logs;
    `drawn` (k,), v_j of the draws, where v is the part of m that draws show as well; `terms`, what
    was fitted. Under exact weights the mean of the two is E[y - f], whatever m is."""

    residual: Array
    drawn: Array
    terms: int


def guess_residual(logs: Logs, draws: Draws, weight: Array, signal: Array | None) -> Guess:
    """m is a ridge regression of the labelled residuals on [1, s, s^2, whether there is no s,
    lengths, u, u^2], weighted as the target weighs them and cross-fitted by fold; scaled by tau in
    [0, 1], which minimises the variance over label draws, so that a guess without merit is not
    used."""
    shown, drawn = _shown(logs, draws)
    basis = shown if signal is None else np.column_stack([shown, signal])
    width = shown.shape[1]
    residual, labelled = logs.residual, logs.labelled
    guess, seen, fresh = np.zeros(len(residual)), np.zeros(len(residual)), np.zeros(len(drawn))
    importance = weight * logs.label_weight
    for k in range(logs.folds):
        train = labelled & (logs.fold != k) & (weight > 0)
        if train.sum() < LABELS_A_TERM * basis.shape[1]:
            continue
        fit = ridge_fit(basis[train], residual[train], importance[train], RESIDUAL_RIDGE)
        guess[logs.fold == k] = basis[logs.fold == k] @ fit
        seen[logs.fold == k] = shown[logs.fold == k] @ fit[:width]
        fresh[draws.fold == k] = drawn[draws.fold == k] @ fit[:width]
    loss = importance**2
    merit = loss @ guess**2
    if merit == 0:
        return Guess(logs.label_weight * residual, fresh, 1)
    best = loss @ (residual * guess) / merit
    error = np.linalg.norm(loss * guess * (residual - best * guess)) / merit
    tau = float(np.clip(best - GUESS_ERRORS * error, 0, 1))
    left = tau * (guess - seen) + logs.label_weight * (residual - tau * guess)
    return Guess(left, tau * fresh, basis.shape[1])


def _shown(logs: Logs, draws: Draws) -> tuple[Array, Array]:
    """[1, s, s^2, lengths] of logs and draws, (n, d) and (m, d), with one more column, whether
    there is no s, where some have none: the same function of an answer in both."""
    missing = [np.isnan(rows.score) for rows in (logs, draws)]
    gaps = any(rows.any() for rows in missing)
    known = logs.score[~missing[0]]
    fill = known.mean() if len(known) else 0.0
    found = []
    both: tuple[Logs | Draws, ...] = (logs, draws)
    for rows, lacking in zip(both, missing, strict=True):
        score = np.where(lacking, fill, rows.score)
        columns = [np.ones(len(score)), score, score**2]
        columns += [lacking.astype(float)] if gaps else []
        found.append(np.column_stack(columns if rows.lengths is None else [*columns, rows.lengths]))
    return found[0], found[1]


def weighted_logs(logs: Logs, weight: Array, scored: Mask, *, normalised: bool = True) -> Influence:
    """mean_i w_i q_i with q_i = f_i + omega_i (y_i - f_i): ips, or snips where `normalised`."""
    outcome = logs.reward + logs.label_weight * logs.residual
    if normalised:
        return weighted_mean(logs, outcome, weight, scored)
    return mean_influence((weight * outcome)[scored], logs.prompt[scored], logs.cluster)


def calibrated_ips(logs: Logs, weight: Array, scored: Mask) -> Influence:
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
