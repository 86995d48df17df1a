"""What is expected of the oracle on every prompt, before it is asked: the predictions f and g.

    f   of a policy's answer, from judge scores: its own, its rank among all, the mean rank of all
        policies' answers to the prompt, and the base policy's rank
    g   f plus c (y_0 - f_0) where the base policy's answer to the prompt is labelled: how much
        harder, or easier, the prompt turned out to be than the judge thought

Both are fitted on the labels of all policies together, with common slopes and an intercept for
each policy, and cross-fitted by prompt; they predict differences between the prompts of one policy,
so their level is 0 on average. Labels of many policies on one prompt count for less than as many on
others: on prompts, not on labels, depends how much can be learned of what belongs to a prompt.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cje.stats.arrays import Array, Codes, common_ranks
from cje.stats.calibration import filled
from cje.stats.samples import Answers, Samples
from cje.stats.slopes import believed_slopes

ALIKE = 0.3  # the correlation of policies' labels on one prompt that weights assume
FEWEST = 5  # prompts with labels of both that a slope on the base policy's residual needs


@dataclass(frozen=True)
class Prediction:
    """Of one policy, over all N prompts: `whole` is f of its answers, `labelled` f of the labelled
    ones, `peer` g - f (0 where the base policy's answer is not labelled); `score` and
    `labelled_score` its judge scores, about their mean and in a common scale."""

    whole: Array
    labelled: Array
    peer: Array
    score: Array
    labelled_score: Array


def predict(samples: Samples) -> dict[str, Prediction]:
    """The predictions of every policy, the base included."""
    features = judge_features(samples.answers, samples.base)
    slopes = fit_slopes(samples, features, samples.logs.folds)
    f = {}
    for policy, found in features.items():
        labelled = np.zeros(len(samples.uids))
        labelled[found.rows] = _products(found.labelled, slopes[samples.fold[found.rows]])
        f[policy] = (_products(found.whole, slopes[samples.fold]), labelled)
    peer = peer_residuals(samples, {policy: labelled for policy, (_, labelled) in f.items()})
    predictions = {}
    for policy, found in features.items():
        score = np.zeros(len(samples.uids))
        score[found.rows] = found.labelled[:, 0]
        predictions[policy] = Prediction(*f[policy], peer[policy], found.whole[:, 0], score)
    return predictions


def _products(features: Array, slopes: Array) -> Array:
    """Row by row, features (n, d) times slopes (n, d): (n,)."""
    products: Array = np.einsum("ij,ij->i", features, slopes)
    return products


@dataclass(frozen=True)
class Features:
    """Of one policy: `whole` (N, d), of its answers to every prompt, about their mean and in a
    common scale; `rows` (m,), the labelled prompts, and `labelled` (m, d), of the labelled answers
    to them."""

    whole: Array
    rows: Codes
    labelled: Array


def judge_features(answers: Mapping[str, Answers], base: str) -> dict[str, Features]:
    """Own score, own rank among all, mean rank on the prompt, the base's rank (0 for the logged
    answers themselves), and, where any answer has no score, whether it has none.

    What is not known is the policy's mean, so it says nothing: answers without a score differ
    from the others in the last feature alone.
    """
    policies = list(answers)
    scores = {policy: answers[policy].score for policy in policies}
    ranks = dict(zip(policies, common_ranks(np.array([scores[p] for p in policies])), strict=True))
    once = [p for p in policies if p == base or not answers[p].logged]  # the same answers once
    total = sum(np.nan_to_num(ranks[p]) for p in once)
    count = sum(np.isfinite(ranks[p]) for p in once)
    prompt_rank = np.where(count, total / np.maximum(count, 1), np.nan)
    known = np.sort(np.concatenate([scores[p][np.isfinite(scores[p])] for p in policies]))
    gaps = any((answers[p].present & np.isnan(scores[p])).any() for p in policies)
    width = 5 if gaps else 4
    features, scale = {}, np.zeros(width)
    for policy, answer in answers.items():
        other = np.zeros(len(prompt_rank)) if answer.logged else ranks[base]
        columns = [scores[policy], ranks[policy], prompt_rank, other]
        columns = [filled(column) for column in columns]
        if gaps:
            columns.append(np.isnan(scores[policy]).astype(float))
        whole = np.column_stack(columns)
        rows = np.flatnonzero(answer.labelled)
        labelled = whole[rows]
        of_labelled = answer.labelled_score[rows]  # one of several answers to the prompt
        own = np.where(np.isnan(of_labelled), labelled[:, 0], of_labelled)
        places = np.searchsorted(known, own, "left") + np.searchsorted(known, own, "right")
        rank = (places + 1) / (2 * max(len(known), 1))
        labelled[:, 0] = own
        labelled[:, 1] = np.where(np.isnan(of_labelled), labelled[:, 1], rank)
        centre = whole[answer.present].mean(axis=0) if answer.present.any() else np.zeros(width)
        whole -= centre
        features[policy] = Features(whole, rows, labelled - centre)
        scale += (whole[answer.present] ** 2).mean(axis=0) if answer.present.any() else 0.0
    scale = np.sqrt(scale / len(policies))
    scale = np.where(scale > 1e-12, scale, np.inf)
    for found in features.values():
        np.divide(found.whole, scale, out=found.whole)
        np.divide(found.labelled, scale, out=found.labelled)
    return features


def fit_slopes(samples: Samples, features: Mapping[str, Features], folds: int) -> Array:
    """The slopes of utility on the features, (K, d): row k from the labels outside fold k.

    Weighted least squares within policies: a policy's own mean takes no part. A label's weight is
    1 / its inclusion probability, over 1 + 0.3 (k - 1) with k labels on its prompt, which are so
    much alike (Kish's design effect). Slopes are believed as far as they are not noise (`slopes`).
    """
    answers = {p: a for p, a in samples.answers.items() if p == samples.base or not a.logged}
    count = np.sum([a.labelled for a in answers.values()], axis=0)
    labelled = np.flatnonzero(count)
    width = next(iter(features.values())).whole.shape[1]
    parts = []
    for policy, answer in answers.items():
        rows = np.flatnonzero(answer.labelled)
        if len(rows) >= 2:
            weight = answer.label_weight[rows] / answer.label_weight[rows].mean()
            weight /= 1 + ALIKE * (count[rows] - 1)
            place = np.searchsorted(labelled, rows)
            spread = features[policy].whole[answer.present].var(axis=0)
            parts.append((features[policy].labelled, answer.utility[rows], weight, place, spread))
    of_fold = samples.fold[labelled]
    slopes = np.zeros((folds, width))
    for k in range(folds):
        slopes[k] = believed_slopes(parts, of_fold != k, width)
    return slopes


def peer_residuals(samples: Samples, predicted: Mapping[str, Array]) -> dict[str, Array]:
    """c (y_0 - f_0) over all prompts by policy, 0 where the base policy is not labelled and for the
    base itself.

    c is the regression of the policies' mean residual on a prompt on the base's, by fold, shrunk by
    what its own standard error leaves doubtful (1 - se^2 / c^2, at least 0).
    """
    base = samples.answers[samples.base]
    nothing = np.zeros(len(samples.uids))
    targets = [
        policy
        for policy, answer in samples.answers.items()
        if policy != samples.base and not answer.logged and answer.labelled.any()
    ]
    peer = dict.fromkeys(samples.answers, nothing)
    if not base.labelled.any() or not targets:
        return peer
    error = np.where(base.labelled, base.utility - predicted[samples.base], 0.0)
    mean = np.average(error[base.labelled], weights=base.label_weight[base.labelled])
    error = np.where(base.labelled, error - mean, 0.0)
    total, count = nothing.copy(), nothing.copy()
    for policy in targets:
        answer = samples.answers[policy]
        both = answer.labelled & base.labelled
        if both.any():
            own = answer.utility[both] - predicted[policy][both]
            total[both] += own - own.mean()
            count[both] += 1
    shared = count > 0
    residual = total[shared] / count[shared]
    x, fold = error[shared], samples.fold[shared]
    learned = nothing.copy()
    for k in range(samples.logs.folds):
        train = fold != k
        if train.sum() < FEWEST:
            continue
        rows = samples.fold == k
        learned[rows] = error[rows] * _doubted_slope(x[train], residual[train])
    return peer | dict.fromkeys(targets, learned)


def _doubted_slope(x: Array, y: Array) -> float:
    """The least-squares slope of y on x, times 1 - se^2 / slope^2 where that is above 0."""
    x, y = x - x.mean(), y - y.mean()
    spread = x @ x
    if spread <= 1e-12:
        return 0.0
    slope = x @ y / spread
    noise = ((y - slope * x) ** 2).sum() / (len(x) - 2) / spread
    return float(slope * max(0.0, 1 - noise / slope**2)) if slope else 0.0
