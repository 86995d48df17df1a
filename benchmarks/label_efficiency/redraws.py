"""Which prompts a redraw has, and which of their answers are labelled."""

import numpy as np

from label_efficiency.exchange import Task
from label_efficiency.sets import LabelSet

DESIGNS = ("redrawn", "fixed")
LOGGED_SHARE = 0.25


def task(
    of: LabelSet, labels: int, redraws: int, design: str, *, useless_judge: bool = False
) -> Task:
    """The redraws of a set with so many labels a target.

    redrawn: N of the set's N prompts, with replacement, each a prompt of its own. fixed: the set's
    prompts as they are, the labels drawn again. A redraw's number is its seed, so that other
    numbers of labels have the same prompts and take labels in the same order: the first quarter of
    a random order is labelled in the logs, the first `labels` of it for every target.
    """
    n = len(of.judge)
    rows, order = np.empty((2, redraws, n), dtype=int)
    for number in range(redraws):
        rng = np.random.default_rng(number)
        rows[number] = rng.integers(n, size=n) if design == "redrawn" else np.arange(n)
        order[number] = rng.permutation(n)
    place = np.argsort(order, axis=1)
    return Task(
        policies=np.array(of.policies),
        judge=of.judge,
        oracle=of.oracle,
        rows=rows,
        logged_labels=place < round(LOGGED_SHARE * n),
        own_labels=place < labels,
        useless_judge=useless_judge,
        lengths=of.lengths,
        logged_logp=of.logged_logp,
        target_logps=of.target_logps,
    )
