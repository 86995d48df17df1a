"""Prediction-powered inference as GLIDE does it, with power tuning, in the forms that apply.

glide: the policy's own judge scores. glide_two: these and the mean judge score of all policies on
the prompt. glide_active, glide_cost: its active and its cost-optimal sampler choose the labels, for
each policy by itself, by the uncertainty sqrt(s (1 - s)) of a label whose mean is the judge's score
s (at least 0.1), with its estimator for them. The cost-optimal one spends a fifth of the labels on
the burn-in that it asks for, to whose mean squared error uncertainties are scaled. A judge's score
costs a twentieth of a label, and it has the money of these labels and of all scores. Where GLIDE
refuses (labels or scores all equal) there is no answer. Its stratified form is not
here: it needs scores that vary within every stratum, which those of a coarse judge do not.
"""

import numpy as np
from glide.estimators import ASIMeanEstimator, MultiPPIMeanEstimator, PPIMeanEstimator
from glide.samplers import ActiveSampler, CostOptimalSampler

from label_efficiency.exchange import Answers, Redraw, interval_answer, serve

SCORE_COST = 0.05  # of a judge's score, in labels


def answer(redraw: Redraw) -> Answers:
    scores = redraw.whole_judge
    shared = scores.mean(axis=1)
    names = ("glide", "glide_two", "glide_active", "glide_cost")
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in names}
    for column in range(1, scores.shape[1]):
        judge, oracle = scores[:, column], redraw.oracle[:, column]
        found["glide"].append(numbers(PPIMeanEstimator(), oracle, judge))
        both = np.column_stack([judge, shared])
        found["glide_two"].append(numbers(MultiPPIMeanEstimator(), oracle, both))
        for method, sampled in (("glide_active", active), ("glide_cost", cost_optimal)):
            found[method].append(sampled(redraw, column))
    return {method: interval_answer(*np.array(rows).T) for method, rows in found.items()}


def active(redraw: Redraw, column: int) -> tuple[float, ...]:
    """With labels where the active sampler wants them."""
    budget = int((~np.isnan(redraw.oracle[:, column])).sum())
    size, seed = uncertainty(redraw.whole_judge[:, column]), redraw.number * 1000 + column
    return weighted(redraw, column, *ActiveSampler().sample(size, budget, random_seed=seed))


def cost_optimal(redraw: Redraw, column: int) -> tuple[float, ...]:
    """With labels where the cost-optimal sampler wants them, after a burn-in."""
    labelled = np.flatnonzero(~np.isnan(redraw.oracle[:, column]))
    burn_in = max(len(labelled) // 5, 2)
    judge, seed = redraw.whole_judge[:, column], redraw.number * 1000 + column
    first = labelled[:burn_in]
    error = redraw.all_labels[first, column] - judge[first]
    size = uncertainty(judge)
    size *= np.sqrt((error**2).mean() / (size**2).mean())
    try:
        sampler = CostOptimalSampler().fit(redraw.all_labels[first, column])
        budget = len(labelled) - burn_in + SCORE_COST * len(size)
        drawn = sampler.sample(size, 1.0, SCORE_COST, budget, random_seed=seed)
    except ValueError:
        return (np.nan,) * 4
    return weighted(redraw, column, *drawn)


def uncertainty(score: np.ndarray) -> np.ndarray:
    """The standard deviation of a label, 0 or 1, whose mean is the score; at least 0.1."""
    return np.maximum(np.sqrt(score * (1 - score)), 0.1)


def weighted(redraw: Redraw, column: int, pi: np.ndarray, xi: np.ndarray) -> tuple[float, ...]:
    """GLIDE's estimate from labels where `xi` (n,) is 1, drawn with probabilities `pi` (n,)."""
    oracle = np.where(xi == 1, redraw.all_labels[:, column], np.nan)
    return numbers(ASIMeanEstimator(), oracle, redraw.whole_judge[:, column], pi)


def numbers(estimator, *data: np.ndarray) -> tuple[float, ...]:
    """Estimate, standard error and interval; NaN where GLIDE refuses."""
    try:
        interval = estimator.estimate(*data).confidence_interval
    except ValueError:
        return (np.nan,) * 4
    return interval.mean, interval.var**0.5, interval.lower_bound, interval.upper_bound


if __name__ == "__main__":
    serve(answer)
