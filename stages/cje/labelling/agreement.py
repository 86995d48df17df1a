"""How far raters agree, and what that leaves for a judge to reach."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FEWEST = 5  # answers with several raters that a word on agreement needs


@dataclass(frozen=True)
class Agreement:
    """Of `answers` labelled by several raters: Krippendorff's `alpha` for an interval scale; the
    standard deviation `noise` of a rater's labels of one answer, on the oracle's scale; the
    `reliability` of the labels that are used, the share of their variance that is not the raters'
    noise; and `ceiling`, its root, the highest correlation with the labels that a judge can reach
    who knows what raters would say on average. None where the labels do not vary."""

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
    """Krippendorff's alpha; None where all ratings are the same."""
    import krippendorff

    if len(np.unique(np.concatenate(several))) < 2:
        return None
    most = max(len(given) for given in several)
    table = np.full((most, len(several)), np.nan)  # which rater is which does not count
    for place, given in enumerate(several):
        table[: len(given), place] = given
    return float(krippendorff.alpha(table, level_of_measurement="interval"))
