"""Claims that one policy is better than another, all pairs tested together by Holm's method."""

import numpy as np

LEVEL = 0.05


def pair_indices(targets: int) -> tuple[np.ndarray, np.ndarray]:
    """First and second of every pair, each (pairs,)."""
    return np.triu_indices(targets, 1)


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's (1979) step-down correction of p-values (k,); NaN: not tested, and not counted."""
    corrected = np.full(len(p_values), np.nan)
    order = np.argsort(p_values, kind="stable")[: int((~np.isnan(p_values)).sum())]
    steps = np.arange(len(order), 0, -1) * p_values[order]
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected


def claims(difference: np.ndarray, p_values: np.ndarray, targets: int) -> np.ndarray:
    """Signs (T, T) of the significant differences: 1 where the row policy is called better."""
    signs = np.where(holm(p_values) < LEVEL, np.sign(difference), 0).astype(np.int8)
    first, second = pair_indices(targets)
    found = np.zeros((targets, targets), dtype=np.int8)
    found[first, second], found[second, first] = signs, -signs
    return found
