"""The labels' mean: what a user has who asks nothing of a judge."""

import numpy as np
from scipy.special import stdtr, stdtrit

from label_efficiency.exchange import Answers, Redraw, interval_answer, serve
from label_efficiency.multiple import claims, pair_indices


def answer(redraw: Redraw) -> Answers:
    """Mean and t interval of each target's own labels; targets compared by paired t tests."""
    own = redraw.oracle[redraw.labelled, 1:]
    m = len(own)
    value, se = own.mean(axis=0), own.std(axis=0, ddof=1) / m**0.5
    half = stdtrit(m - 1, 0.975) * se
    first, second = pair_indices(own.shape[1])
    gap = own[:, first] - own[:, second]
    difference, error = gap.mean(axis=0), gap.std(axis=0, ddof=1) / m**0.5
    equal = np.where(difference == 0, 1.0, 0.0)
    scaled = np.divide(difference, error, out=np.zeros_like(error), where=error > 0)
    p_values = np.where(error > 0, 2 * stdtr(m - 1, -np.abs(scaled)), equal)
    found = claims(difference, p_values, own.shape[1])
    return {"labels": interval_answer(value, se, value - half, value + half, claims=found)}


if __name__ == "__main__":
    serve(answer)
