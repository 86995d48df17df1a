"""How far raters agree, and what that leaves for a judge to reach."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FEWEST = 5  # answers with several raters that are needed to report agreement


@dataclass(frozen=True)
class Agreement:
    """Of `answers` labelled by several raters: Krippendorff's `alpha` for an interval scale; the
    standard deviation `noise` of a rater's labels of one answer, on the oracle's scale; the
    `reliability` of the labels that are used, the share of their variance that is not the raters'
    noise; and `ceiling`, its root, the highest correlation with the labels that a judge can reach
    which knows the raters' average. None where the labels do not vary."""

    answers: int
    alpha: float | None
    noise: float
    reliability: float | None
    ceiling: float | None


def agreement(ratings: Sequence[Sequence[float]]) -> Agreement | None:
    """The agreement of raters on answers, each with its ratings, one or more; None where fewer than
    FEWEST have several.

    The noise is pooled over the answers with several ratings, as in a one-way analysis of variance
    (Shrout and Fleiss 1979); a label that is the mean of k ratings has its variance over k. A
    judge's correlation with labels of reliability R is at most the root of R (Spearman 1904).
    """
    several = [np.asarray(given, dtype=float) for given in ratings if len(given) > 1]
    if len(several) < FEWEST:
        return None
    within = sum(((given - given.mean()) ** 2).sum() for given in several)
    noise = float(within / sum(len(given) - 1 for given in several))
    labels = np.array([np.mean(given) for given in ratings])
    spread = float(labels.var(ddof=1))
    reliability = None
    if spread > 0:
        lost = noise * float(np.mean([1 / len(given) for given in ratings]))
        reliability = float(np.clip(1 - lost / spread, 0, 1))
    ceiling = None if reliability is None else reliability**0.5
    return Agreement(len(several), _alpha(several), noise**0.5, reliability, ceiling)


def _alpha(several: Sequence[np.ndarray]) -> float | None:
    """Krippendorff's alpha, interval metric: 1 - D_o / D_e, the mean squared difference of pairs of
    ratings of one answer over that of all pairs (Krippendorff 2004, Content Analysis, chapter 11);
    None where all ratings are the same. Written out, since the package of that name needs memory
    that grows with the square of the number of different ratings."""
    ratings = np.concatenate(several)
    whole = float(((ratings - ratings.mean()) ** 2).sum()) / (len(ratings) - 1)
    if whole == 0:
        return None
    own = sum(len(given) * given.var(ddof=1) for given in several) / len(ratings)
    return float(1 - own / whole)
