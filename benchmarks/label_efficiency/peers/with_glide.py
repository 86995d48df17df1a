"""Prediction-powered inference as GLIDE does it, with power tuning, in the two forms that apply.

glide: the policy's own judge scores. glide_two: these and the mean judge score of all policies on
the prompt. Where GLIDE refuses (labels or scores all equal) there is no answer. Its stratified form
is not here: it needs scores that vary within every stratum, which those of a coarse judge do not.
"""

import numpy as np
from glide.estimators import MultiPPIMeanEstimator, PPIMeanEstimator

from label_efficiency.exchange import Answers, Redraw, interval_answer, serve


def answer(redraw: Redraw) -> Answers:
    scores = redraw.whole_judge
    shared = scores.mean(axis=1)
    found: dict[str, list[tuple[float, ...]]] = {"glide": [], "glide_two": []}
    for column in range(1, scores.shape[1]):
        judge, oracle = scores[:, column], redraw.oracle[:, column]
        found["glide"].append(numbers(PPIMeanEstimator(), oracle, judge))
        both = np.column_stack([judge, shared])
        found["glide_two"].append(numbers(MultiPPIMeanEstimator(), oracle, both))
    return {method: interval_answer(*np.array(rows).T) for method, rows in found.items()}


def numbers(estimator, *data: np.ndarray) -> tuple[float, ...]:
    """Estimate, standard error and interval; NaN where GLIDE refuses."""
    try:
        interval = estimator.estimate(*data).confidence_interval
    except ValueError:
        return (np.nan,) * 4
    return interval.mean, interval.var**0.5, interval.lower_bound, interval.upper_bound


if __name__ == "__main__":
    serve(answer)
