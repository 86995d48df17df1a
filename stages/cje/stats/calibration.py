"""Calibration: what a judge's score is worth in oracle utility, cross-fitted by prompt.

A calibrator is fitted on the labelled logs and never sees the prompt that it is applied to: prompt
i belongs to fold k(i), and its answers, logged or fresh, are scored by the fit without that fold.
So the residuals of the log are honest, which is what the estimators' unbiasedness rests on.

Isotonic: the weighted least-squares non-decreasing curve of utility on score [1]. Two-stage: a
ridge regression of utility on [s, s^2, covariates] gives an index, and the curve is fitted on that
index. The covariates are relative to the prompt, how much longer an answer is than the others to
it: whatever differs from prompt to prompt would be read as a difference between policies.

[1] Barlow, Bartholomew, Bremner and Brunk, Statistical Inference under Order Restrictions (1972).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import isotonic_regression

TRUST_COVARIATES = 50  # training labels below which no index is fitted
INDEX_RIDGE = 1e-3  # of the mean diagonal: it only keeps collinear covariates apart
NO_LABELS = 0.5  # what an answer is worth to a fit that saw no label: the middle of the scale


def prompt_folds(uids: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The fold 0..folds-1 of each prompt: a hash of (uid, seed), so the same in every table."""
    return (prompt_hashes(uids, seed) % np.uint64(folds)).astype(np.int64)


def prompt_hashes(uids: np.ndarray, seed: int) -> np.ndarray:
    """64-bit hashes of (uid, seed), (n,) uint64: an order and a fold that rows cannot influence."""
    salt = np.uint64((seed * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) % 2**64)
    hashed = pd.util.hash_array(np.asarray(uids, dtype=object), categorize=False) ^ salt
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # splitmix64
        hashed = (hashed ^ (hashed >> np.uint64(shift))) * np.uint64(factor)
    return hashed ^ (hashed >> np.uint64(31))


@dataclass(frozen=True)
class Calibrator:
    """A fitted curve: scores (and covariates) to utilities; `default` is for a missing score."""

    knots: np.ndarray
    values: np.ndarray
    default: float
    index: np.ndarray | None = None

    @classmethod
    def fit(
        cls,
        score: np.ndarray,
        utility: np.ndarray,
        weight: np.ndarray,
        covariates: np.ndarray | None = None,
    ) -> "Calibrator":
        """Fit on labelled rows: score, utility, weight (n,); covariates (n, d) for two stages.

        Rows whose score is NaN count for the default alone.
        """
        if not len(utility):
            return cls(np.zeros(1), np.full(1, NO_LABELS), NO_LABELS)
        default = float(np.average(utility, weights=weight))
        seen = np.isfinite(score)
        if not seen.any():
            return cls(np.zeros(1), np.full(1, default), default)
        score, utility, weight = score[seen], utility[seen], weight[seen]
        index = None
        if covariates is not None and len(score) >= TRUST_COVARIATES:
            basis = index_basis(score, covariates[seen])
            index = ridge_fit(basis, utility, weight, INDEX_RIDGE)
            score = basis @ index
        knots, place = np.unique(score, return_inverse=True)
        mass = np.bincount(place, weight)
        means = np.bincount(place, weight * utility) / mass
        values = isotonic_regression(means, weights=mass).x
        low, high = utility.min(), utility.max()
        return cls(knots, np.clip(values, low, high), default, index)

    @property
    def terms(self) -> int:
        """What was fitted: the levels of the curve (Meyer and Woodroofe 2000), and the index."""
        levels = len(np.unique(self.values))
        return levels + (0 if self.index is None else len(self.index) - 1)

    def predict(self, score: np.ndarray, covariates: np.ndarray | None = None) -> np.ndarray:
        """Utilities (m,) at the scores, linear between knots and level beyond them."""
        if self.index is not None:
            score = index_basis(score, covariates) @ self.index
        fitted = np.interp(score, self.knots, self.values)
        return np.where(np.isfinite(score), fitted, self.default)

    def curve(self, score: np.ndarray) -> np.ndarray:
        """Utilities (m,) at the scores of answers whose covariates are the mean ones, 0."""
        of_score = index_basis(np.zeros(1), None).shape[1]
        extra = 0 if self.index is None else len(self.index) - of_score
        return self.predict(score, np.zeros((len(score), extra)) if extra else None)


@dataclass(frozen=True)
class CrossFit:
    """One calibrator a fold, fitted on the labels of the other folds, and one on all of them.

    `form` is isotonic or two-stage; `cv_risk` the held-out mean squared error of each form tried.
    """

    form: str
    by_fold: tuple[Calibrator, ...]
    overall: Calibrator
    cv_risk: dict[str, float]

    def predict(
        self, score: np.ndarray, fold: np.ndarray, covariates: np.ndarray | None = None
    ) -> np.ndarray:
        """Utilities (m,) at the scores, each by the calibrator that never saw its fold."""
        utility = np.empty(len(score))
        for k, calibrator in enumerate(self.by_fold):
            rows = fold == k
            part = None if covariates is None else covariates[rows]
            utility[rows] = calibrator.predict(score[rows], part)
        return utility


def cross_fit(
    score: np.ndarray,
    utility: np.ndarray,
    weight: np.ndarray,
    fold: np.ndarray,
    folds: int,
    covariates: np.ndarray | None = None,
    form: str = "auto",
) -> CrossFit:
    """Cross-fit the calibrator on labelled rows.

    score, utility, weight (1 / inclusion probability), fold: (n,); covariates: (n, d) or None.
    form: isotonic, two-stage, or auto, which takes two stages where their held-out squared error
    is lower by more than one standard error of the difference.
    """
    tried = {"isotonic": None, "two-stage": covariates}
    if covariates is None:
        tried.pop("two-stage")
    if form != "auto":
        tried = {form: tried[form]}
    fits, losses = {}, {}
    for name, columns in tried.items():
        by_fold = []
        losses[name] = np.empty(len(score))
        for k in range(folds):
            train, held = fold != k, fold == k
            rows = [None if columns is None else columns[part] for part in (train, held)]
            fit = Calibrator.fit(score[train], utility[train], weight[train], rows[0])
            losses[name][held] = (utility[held] - fit.predict(score[held], rows[1])) ** 2
            by_fold.append(fit)
        fits[name] = by_fold
    best = "isotonic" if "isotonic" in fits else form
    if len(fits) == 2 and len(score) > 1:
        gain = weight * (losses["isotonic"] - losses["two-stage"])
        if gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)):
            best = "two-stage"
    overall = Calibrator.fit(score, utility, weight, tried[best])
    risk = {name: float(np.average(loss, weights=weight)) for name, loss in losses.items()}
    return CrossFit(best, tuple(fits[best]), overall, risk)


def calibration_report(
    score: np.ndarray, utility: np.ndarray, fitted: np.ndarray, weight: np.ndarray
) -> dict[str, float | None]:
    """How good the calibration is on the labelled rows; `fitted` (n,) is cross-fitted.

    `labels`; `spearman` of score and utility; `calibration_error`, the mean absolute gap between
    utility and prediction over tenths of the labels; `r2` and `rmse` of the cross-fitted
    prediction; the range of scores covered. What a constant score leaves undefined is None.
    """
    seen = np.isfinite(score)
    report: dict[str, float | None] = {"labels": len(utility)}
    report["spearman"] = spearman(score[seen], utility[seen])
    error = utility - fitted
    tenths = np.array_split(np.argsort(fitted, kind="stable"), min(10, len(error)))
    gaps = [abs(np.average(error[rows], weights=weight[rows])) for rows in tenths]
    shares = [weight[rows].sum() / weight.sum() for rows in tenths]
    report["calibration_error"] = float(np.dot(gaps, shares))
    centred = utility - np.average(utility, weights=weight)
    spread = float(np.average(centred**2, weights=weight))
    risk = float(np.average(error**2, weights=weight))
    report["r2"] = 1 - risk / spread if spread > 0 else None
    report["rmse"] = risk**0.5
    report["score_low"] = float(score[seen].min()) if seen.any() else None
    report["score_high"] = float(score[seen].max()) if seen.any() else None
    return report


def spearman(a: np.ndarray, b: np.ndarray) -> float | None:
    """Spearman's rank correlation, ties at their mean rank; None where either is constant."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    ranks = [pd.Series(values).rank().to_numpy() for values in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def filled(score: np.ndarray) -> np.ndarray:
    """The scores, with the mean of the others where one is missing."""
    seen = np.isfinite(score)
    return np.where(seen, score, score[seen].mean() if seen.any() else 0.0)


def index_basis(score: np.ndarray, covariates: np.ndarray | None) -> np.ndarray:
    """[1, s, s^2, covariates], (n, 3 + d)."""
    columns = [np.ones(len(score)), score, score**2]
    return np.column_stack(columns if covariates is None else [*columns, covariates])


def ridge_fit(
    basis: np.ndarray, target: np.ndarray, weight: np.ndarray, ridge: float
) -> np.ndarray:
    """Weighted least squares, with `ridge` times the mean diagonal added to the Gram matrix.

    basis (n, d), target (n,), weight (n,) -> coefficients (d,).
    """
    weighted = basis * weight[:, None]
    gram = weighted.T @ basis
    gram[np.diag_indices_from(gram)] += ridge * np.trace(gram) / len(gram)
    return np.linalg.solve(gram, weighted.T @ target)
