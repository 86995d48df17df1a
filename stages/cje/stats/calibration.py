"""Calibration: what a judge's score is worth in oracle utility, cross-fitted by prompt.

A calibrator is fitted on the labelled logs and never sees the prompt that it is applied to: prompt
i belongs to fold k(i), and its answers, logged or fresh, are scored by the fit without that fold.
So the residuals of the log are honest, which is what the estimators' unbiasedness rests on.

The curve is the weighted least-squares non-decreasing one of utility on score [1]. No covariate
enters: whatever differs from prompt to prompt, such as an answer's length, would be read as a
difference between policies; and what an answer is relative to other policies' answers to its prompt
has another meaning in the logs than in the draws.

[1] Barlow, Bartholomew, Bremner and Brunk, Statistical Inference under Order Restrictions (1972).
"""

from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import pandas as pd
from scipy.optimize import isotonic_regression

from cje.stats.arrays import Array, Codes, Hashes, Names

FEWEST_APART = 5  # labels without a score by which those are distinguished from the others
NO_LABELS = 0.5  # what an answer is worth to a fit that saw no label: the middle of the scale


def prompt_folds(uids: Names, folds: int, seed: int) -> Codes:
    """The fold 0..folds-1 of each prompt: a hash of (uid, seed), so the same in every table."""
    return (prompt_hashes(uids, seed) % np.uint64(folds)).astype(np.int64)


def prompt_hashes(uids: Names, seed: int) -> Hashes:
    """64-bit hashes of (uid, seed), (n,) uint64: an order and a fold that rows cannot influence."""
    salt = np.uint64((seed * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) % 2**64)
    hashed: Hashes = pd.util.hash_array(np.asarray(uids, dtype=object), categorize=False) ^ salt
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # splitmix64
        hashed = (hashed ^ (hashed >> np.uint64(shift))) * np.uint64(factor)
    return hashed ^ (hashed >> np.uint64(31))


@dataclass(frozen=True)
class Calibrator:
    """A fitted curve from scores to utilities; `default` is for a missing score: the mean label of
    the answers that have none, or of all where those are few."""

    knots: Array
    values: Array
    default: float

    @classmethod
    def fit(cls, score: Array, utility: Array, weight: Array) -> "Calibrator":
        """Fit on labelled rows: score, utility, weight (n,).

        Rows whose score is NaN count for the default alone: answers that the judge has no score for
        are a stratum of their own.
        """
        if not len(utility):
            return cls(np.zeros(1), np.full(1, NO_LABELS), NO_LABELS)
        default = float(np.average(utility, weights=weight))
        seen = np.isfinite(score)
        if not seen.any():
            return cls(np.zeros(1), np.full(1, default), default)
        if (~seen).sum() >= FEWEST_APART:
            default = float(np.average(utility[~seen], weights=weight[~seen]))
        score, utility, weight = score[seen], utility[seen], weight[seen]
        knots, place = np.unique(score, return_inverse=True)
        mass = np.bincount(place, weight)
        means = np.bincount(place, weight * utility) / mass
        values = isotonic_regression(means, weights=mass).x
        return cls(knots, np.clip(values, utility.min(), utility.max()), default)

    @property
    def terms(self) -> int:
        """What was fitted: the levels of the curve (Meyer and Woodroofe 2000)."""
        return len(np.unique(self.values))

    def predict(self, score: Array) -> Array:
        """Utilities (m,) at the scores, linear between knots and level beyond them."""
        scale = self.knots[-1] - self.knots[0]
        if scale > 0:  # by whole numbers of it: gaps between the smallest scores overflow else
            knots = (self.knots - self.knots[0]) / scale
            score = (score - self.knots[0]) / scale
        else:
            knots = self.knots
        with np.errstate(over="ignore", invalid="ignore"):
            fitted = np.interp(score, knots, self.values)
        lost = ~np.isfinite(fitted)
        if lost.any():
            place = np.searchsorted(knots, score[lost], "right") - 1
            fitted[lost] = self.values[np.clip(place, 0, len(knots) - 1)]
        return np.where(np.isfinite(score), fitted, self.default)


@dataclass(frozen=True)
class CrossFit:
    """One calibrator a fold, fitted on the labels of the other folds, and one on all of them."""

    by_fold: tuple[Calibrator, ...]
    overall: Calibrator

    def predict(self, score: Array, fold: Codes) -> Array:
        """Utilities (m,) at the scores, each by the calibrator that never saw its fold."""
        utility = np.empty(len(score))
        for k, calibrator in enumerate(self.by_fold):
            rows = fold == k
            utility[rows] = calibrator.predict(score[rows])
        return utility


def cross_fit(score: Array, utility: Array, weight: Array, fold: Codes, folds: int) -> CrossFit:
    """Cross-fit the calibrator on labelled rows: score, utility, weight (1 / inclusion
    probability), fold (n,)."""
    by_fold = []
    for k in range(folds):
        train = fold != k
        by_fold.append(Calibrator.fit(score[train], utility[train], weight[train]))
    return CrossFit(tuple(by_fold), Calibrator.fit(score, utility, weight))


class CalibrationReport(TypedDict):
    """What `calibration_report` says."""

    labels: int
    spearman: float | None
    calibration_error: float
    calibration_error_by_chance: float
    calibration_error_raw: float | None
    r2: float | None
    rmse: float
    score_low: float | None
    score_high: float | None


def calibration_report(
    score: Array, utility: Array, fitted: Array, weight: Array
) -> CalibrationReport:
    """How good the calibration is on the labelled rows; `fitted` (n,) is cross-fitted.

    `labels`; `spearman` of score and utility; `calibration_error`, the mean absolute gap between
    utility and prediction over tenths of the labels; `calibration_error_by_chance`, what a perfect
    curve would show at this number of labels (the mean absolute error of each tenth's mean, normal
    errors); `calibration_error_raw`, that of the score as it is; `r2` and `rmse` of the
    cross-fitted prediction; the range of scores covered. What a constant score leaves undefined is
    None.
    """
    seen = np.isfinite(score)
    error, raw = utility - fitted, (utility - score)[seen]
    gap, by_chance = _gaps(error, fitted, weight)
    centred = utility - np.average(utility, weights=weight)
    spread = float(np.average(centred**2, weights=weight))
    risk = float(np.average(error**2, weights=weight))
    return {
        "labels": len(utility),
        "spearman": spearman(score[seen], utility[seen]),
        "calibration_error": gap,
        "calibration_error_by_chance": by_chance,
        "calibration_error_raw": _gaps(raw, score[seen], weight[seen])[0] if seen.any() else None,
        "r2": 1 - risk / spread if spread > 0 else None,
        "rmse": risk**0.5,
        "score_low": float(score[seen].min()) if seen.any() else None,
        "score_high": float(score[seen].max()) if seen.any() else None,
    }


def score_bins(scores: Array, most: int, least: int) -> Codes:
    """The bin of each score, (n,) int, to draw a curve by: up to `most` bins of about as many
    scores, and of `least` or more. Equal scores share one; where there are no more different ones
    than `most`, each is a bin, however few it has."""
    scores = np.asarray(scores, dtype=float)
    different, place = np.unique(scores, return_inverse=True)
    if different.size <= most:
        return place
    count = int(np.clip(scores.size // least, 1, most))
    edges = np.unique(np.quantile(scores, np.linspace(0, 1, count + 1)))
    return np.searchsorted(edges[1:-1], scores, side="right")


def _gaps(error: Array, fitted: Array, weight: Array) -> tuple[float, float]:
    """The mean absolute gap over tenths of the rows ordered by `fitted`, and what chance alone
    would show: E|N(0, se)| = se sqrt(2 / pi) of each tenth's mean."""
    tenths = np.array_split(np.argsort(fitted, kind="stable"), min(10, len(error)))
    gaps, chance, shares = [], [], []
    for rows in tenths:
        share = weight[rows] / weight[rows].sum()
        mean = float(share @ error[rows])
        gaps.append(abs(mean))
        spread = share**2 @ (error[rows] - mean) ** 2 * len(rows) / max(len(rows) - 1, 1)
        chance.append(float(np.sqrt(2 / np.pi * spread)))
        shares.append(weight[rows].sum() / weight.sum())
    return float(np.dot(gaps, shares)), float(np.dot(chance, shares))


def spearman(a: Array, b: Array) -> float | None:
    """Spearman's rank correlation, ties at their mean rank; None where either is constant."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    ranks = [pd.Series(values).rank().to_numpy() for values in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def filled(score: Array) -> Array:
    """The scores, with the mean of the others where one is missing."""
    seen = np.isfinite(score)
    return np.where(seen, score, score[seen].mean() if seen.any() else 0.0)


def ridge_fit(basis: Array, target: Array, weight: Array, ridge: float) -> Array:
    """Weighted least squares, with `ridge` times the mean diagonal added to the Gram matrix.

    basis (n, d), target (n,), weight (n,) -> coefficients (d,).
    """
    weighted = basis * weight[:, None]
    gram = weighted.T @ basis
    gram[np.diag_indices_from(gram)] += ridge * np.trace(gram) / len(gram)
    return np.asarray(np.linalg.solve(gram, weighted.T @ target), dtype=float)
