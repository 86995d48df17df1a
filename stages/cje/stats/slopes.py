"""Least-squares slopes that are believed as far as they are not noise."""

from collections.abc import Iterable

import numpy as np

from cje.stats.arrays import Array, Codes, Mask

LEAST_SPREAD = 0.25  # of a feature's variance over all answers
RIDGE = 1e-3  # of the mean diagonal: it only keeps collinear features apart


def believed_slopes(
    parts: Iterable[tuple[Array, Array, Array, Codes, Array]], train: Mask, width: int
) -> Array:
    """The slopes (d,) of weighted least squares within policies, from the training prompts: times
    1 - d / W, at least 0, W their Wald statistic by prompt (the factor of James and Stein 1961).

    `parts`: by policy the features (m, d), outcomes, weights and places among the labelled prompts
    (m,), and the features' variances (d,) over all answers, labelled or not; `train`: whether each
    of these is used. A feature counts for no less than a quarter of its variance over all answers:
    a slope learned where it hardly varies would be drawn out to where it does."""
    least = np.zeros(width)
    gram, moment = np.zeros((width, width)), np.zeros(width)
    centred = []
    for x, y, weight, place, spread in parts:
        weight = np.where(train[place], weight, 0.0)
        if weight.sum() <= 0:
            continue
        x, y = x - np.average(x, axis=0, weights=weight), y - np.average(y, weights=weight)
        weighted = x * weight[:, None]
        gram += weighted.T @ x
        moment += weighted.T @ y
        least += weight.sum() * spread
        centred.append((weighted, x, y, place))
    seen = np.diag(gram)
    gram[np.diag_indices_from(gram)] = np.maximum(seen, LEAST_SPREAD * least)
    size = np.trace(gram) / width
    if size <= 0:
        return np.zeros(width)
    gram[np.diag_indices_from(gram)] += RIDGE * size + 1e-12
    slopes = np.asarray(np.linalg.solve(gram, moment), dtype=float)
    score = np.zeros((len(train), width))
    for weighted, x, y, place in centred:
        score[place] += weighted * (y - x @ slopes)[:, None]  # a policy has one row a prompt
    meat = score.T @ score
    meat[np.diag_indices_from(meat)] += 1e-12 * max(np.trace(meat), 1e-300)
    wald = float(moment @ np.linalg.solve(meat, moment))
    return slopes * max(0.0, 1 - width / wald) if wald > 0 else np.zeros(width)
