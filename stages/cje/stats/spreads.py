"""How well a sample knows the variances of several policies, and what they say of each other."""

from dataclasses import dataclass

import numpy as np

from cje.stats.arrays import Array, Mask

FEWEST_POOLED = 3  # policies whose variances can be drawn together
FARTHEST = 0.5  # of its own standard errors, by which a variance is moved at most
WIDER = 1.2**2  # times the noise of squares: what fits and their powers add, which change as well


@dataclass(frozen=True)
class Doubt:
    """Covariances (P, P) between policies of the logarithms of variances: `known`, of those of a
    sample about the true ones; `one`, of those that one more label would have about the true ones,
    so that n labels have `one` / n."""

    known: Array
    one: Array

    def after(self, labels: int) -> Array:
        """Of those that so many new labels will have about the ones that are known, (P, P)."""
        return self.known + self.one / labels

    @classmethod
    def of_normal(cls, correlation: Array) -> "Doubt":
        """Of variances that are taken to be known, of normal values with this correlation
        (P, P)."""
        return cls(np.zeros_like(correlation), 2 * correlation**2)


def doubt(values: Array, labelled: Mask, wider: float = 1.0) -> Doubt:
    """Of the mean squares of values (N, P) over those labelled (N, P).

    The logarithm of a mean square of m values of kurtosis k has about the variance (k - 1) / m. A
    policy's own labels know k least of all, and too small where its variance is too small: it is
    taken to be the mean over policies of the sample kurtosis, corrected for m (G2 of Joanes and
    Gill 1998). `WIDER` was chosen so that the ranges of `Planner.likely` held nine widths of ten.
    """
    count = np.maximum(labelled.sum(axis=0), 1)
    square = values**2 * labelled
    mean = square.sum(axis=0) / count
    unlike = np.where(labelled & (mean > 0), square / np.where(mean > 0, mean, 1.0) - 1, 0.0)
    both = labelled.T.astype(float) @ labelled
    found = np.divide(unlike.T @ unlike, both, out=np.zeros_like(both), where=both > 0)
    own = np.diag(found)
    varies = own > 0
    if not varies.any():
        return Doubt(np.zeros_like(found), np.zeros_like(found))
    m = np.maximum(count, 4)
    corrected = (m - 1) / ((m - 2) * (m - 3)) * ((m + 1) * (own - 2) + 6) + 2
    root = np.sqrt(np.divide(1.0, own, out=np.zeros_like(own), where=varies))
    one = wider * max(corrected[varies].mean(), 0.0) * found * np.outer(root, root)
    return Doubt(one / np.sqrt(np.outer(count, count)), one)


def steadied(variance: Array, noise: Array) -> tuple[Array, Array]:
    """Variances (P,) of policies drawn toward their geometric mean, as far as their logarithms'
    covariance `noise` (P, P) explains how far they lie apart (Smyth 2004); and the covariance of
    the logarithms' errors then.

    None is moved by more than `FARTHEST` of its own standard errors (limited translation; Efron
    and Morris 1972): the policy that is unlike all others is often the one with the widest
    interval, which decides how many labels a plan has.
    """
    fine = (variance > 0) & (np.diag(noise) > 0)
    policies = int(fine.sum())
    if policies < FEWEST_POOLED:
        return variance, noise
    inside = np.ix_(fine, fine)
    own = np.diag(noise)[fine].mean()
    level = np.log(variance[fine]).mean()
    distance = np.log(variance[fine]) - level
    spread = max(distance.var(ddof=1) - own, 0.0)
    kept = spread / (spread + own)
    farthest = FARTHEST * np.sqrt(own)
    moved = np.clip((kept - 1) * distance, -farthest, farthest)
    result, error = variance.copy(), noise.copy()
    result[fine] = variance[fine] * np.exp(moved)
    shares = kept * np.eye(policies) + (1 - kept) / policies
    error[inside] = shares @ noise[inside] @ shares.T + (1 - kept) ** 2 * spread * np.eye(policies)
    return result, error
