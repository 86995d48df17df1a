"""Estimates on parts of the prompts, from what each prompt contributed to the estimate of all.

An estimate is the mean over prompts of contributions V + psi, so that their mean over a part of the
prompts estimates the policy's utility there: predicted utilities of all its prompts, corrected by
the labels that fall into it. Few do, so the interval allows for no more labels than those.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from cje.stats.arrays import Array, Codes, Mask
from cje.stats.estimators import FEWEST_LABELS
from cje.stats.inference import Influence, bounded_interval, dispersion


@dataclass(frozen=True)
class Part:
    """An estimate on some prompts: how many there are, how many clusters of them have a label that
    counts for the policy; value and interval are None where those are fewer than FEWEST_LABELS."""

    prompts: int
    labels: int
    value: float | None = None
    low: float | None = None
    high: float | None = None


def part_estimate(
    contribution: Array,
    labelled: Mask,
    cluster: Codes,
    inside: Mask,
    *,
    alpha: float,
    widening: float = 1.0,
    means: Iterable[tuple[float, float]] = (),
) -> Part:
    """The estimate on the prompts `inside` (N,), and its interval of level 1 - alpha.

    `contribution` (N,): V + psi; `labelled` (N,): whether a label counts for the policy; `cluster`
    (N,): numbers. `widening`: the standard error of all by that of the contributions alone.
    `means`: of every policy on all prompts the mean, and the standard error that it would have with
    one label; they say how much labels near an end of the scale vary (`inference.dispersion`).
    """
    prompts = int(inside.sum())
    labels = len(np.unique(cluster[inside & labelled]))
    if labels < FEWEST_LABELS:
        return Part(prompts, labels)
    value = float(contribution[inside].mean())
    _, codes = np.unique(cluster[inside], return_inverse=True)
    part = Influence(value, contribution[inside] - value, codes)
    freedom = min(labels - 1.0, part.degrees_of_freedom)
    spread = dispersion((mean, se / labels**0.5, labels) for mean, se in means)
    low, high = bounded_interval(
        value,
        max(widening, 1.0) * part.se,
        labels,
        freedom,
        alpha,
        steps=False,
        common_dispersion=spread,
    )
    return Part(prompts, labels, min(max(value, 0.0), 1.0), low, high)
