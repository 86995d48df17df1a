"""Which prompts to label: designs of fixed size whose inclusion probabilities are known exactly.

A design is one seeded order of the prompts. Its first k are a sample of k prompts for every k, so
that more labels contain the fewer, and all policies are labelled on the same prompts.

`uniform` is a random order. `active` takes prompts with probability proportional to the size of the
residual that is expected there (Neyman's allocation; Zrnic and Candes 2024, Active statistical
inference), spread evenly over the prompts as the judge orders them:

    first = the most prompts that can be chosen in proportion to size with no chance above 3/4
    pi_i(k) = p_i k / first                                for k <= first, p_i = first size_i / sum
    pi_i(k) = p_i + (1 - p_i) (k - first) / (N - first)    beyond: uniform among those left

The first ones are drawn by ordered pivotal sampling (Deville and Tille 1998; Chauvet 2012), which
gives every prompt exactly its p_i, fixes the number, and lets neighbours in the order exclude each
other, as strata of one prompt do. Within them the order is a shifted van der Corput sequence of
their places, so that each is equally likely among the first k, and these are spread as well.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

LEAST_CHANCE = 0.2  # of the average: no prompt is less likely than that to be labelled
MOST_CHANCE = 0.75  # while chances are in proportion to size: some are left to check estimates
MOST_SIZE = 3.0  # of the average


@dataclass(frozen=True)
class Design:
    """`order` (N,): the prompts by place, in the order in which they are labelled; of the first
    `first` of them, `chance` (N,) is the probability of each prompt to be among them."""

    order: np.ndarray
    first: int
    chance: np.ndarray

    @classmethod
    def uniform(cls, order: np.ndarray) -> "Design":
        """The design of a random order (N,)."""
        order = np.asarray(order, dtype=int)
        return cls(order, 0, np.zeros(len(order)))

    def chosen(self, count: int) -> np.ndarray:
        """Whether each prompt is among the first `count`, (N,)."""
        mask = np.zeros(len(self.order), dtype=bool)
        mask[self.order[:count]] = True
        return mask

    def probability(self, count: int) -> np.ndarray:
        """The probability of each prompt to be among the first `count`, (N,); their sum is
        `count`, or N where that is less."""
        prompts = len(self.order)
        count = min(count, prompts)
        if count <= self.first:
            return self.chance * (count / max(self.first, 1))
        if count == prompts:
            return np.ones(prompts)
        return self.chance + (1 - self.chance) * (count - self.first) / (prompts - self.first)


def active_design(size: np.ndarray, place: np.ndarray, seed: int) -> Design:
    """The design that prefers prompts of large `size` (N,), positive, spread over `place` (N,),
    which orders the prompts."""
    rng = np.random.default_rng(seed)
    prompts = len(size)
    size = tempered(size)
    first = min(int(MOST_CHANCE / size.max() * prompts), prompts)
    chance = size * (first / prompts)
    # Prompts of equal place are in random order: no order of rows decides anything.
    along = np.lexsort((rng.random(prompts), place))
    taken = pivotal(chance[along], rng)
    inside, rest = along[taken], along[~taken]
    order = np.concatenate([part[spread_order(len(part), rng)] for part in (inside, rest)])
    return Design(order, first, chance)


def expected_sizes(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What judge scores (N, P) of P policies' answers to N prompts, on [0, 1] and NaN where there
    is none, say before any label: `size` (N,), of the residual to expect on each prompt, and
    `place` (N,), by which the prompts are ordered.

    size^2 = 1 + D / mean D + B / mean B. D is the variance between policies of the ranks of their
    answers to the prompt, each about its policy's mean: where policies differ, so will their
    labels. B = s (1 - s), s the mean score: the variance of a label that is 0 or 1 and has the mean
    s, within policies and between them together. 1 is for what the judge does not know: where its
    scores say nothing of the residuals, a third of each size is spent evenly, and a label is worth
    little less than under uniform sampling. place is the mean rank.
    """
    seen = np.isfinite(scores)
    size = np.ones(len(scores))
    if not seen.any():
        return size, np.zeros(len(scores))
    ranks = pd.Series(scores.ravel()).rank(pct=True).to_numpy().reshape(scores.shape)
    ranks, levels = _about_columns(ranks, seen), _about_columns(scores, seen)
    place = ranks.mean(axis=1)
    mean = np.clip(levels.mean(axis=1) + scores[seen].mean(), 0, 1)
    for part in (ranks.var(axis=1), mean * (1 - mean)):
        if part.mean() > 1e-12:
            size = size + part / part.mean()
    return np.sqrt(size), place


def _about_columns(values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """The values (N, P) about the mean of their column, 0 where there is none."""
    known = np.where(seen, values, 0.0)
    return np.where(seen, known - known.sum(axis=0) / np.maximum(seen.sum(axis=0), 1), 0.0)


def tempered(size: np.ndarray) -> np.ndarray:
    """Sizes (N,) with mean 1, held to at most `MOST_SIZE` and, by mixing with 1, to at least
    `LEAST_CHANCE`."""
    size = size / size.mean()
    for _ in range(50):  # holding the largest lowers the mean: repeated until it is 1 again
        size = np.minimum(size, MOST_SIZE)
        size = size / size.mean()
    size = np.minimum(size, MOST_SIZE)
    lowest = size.min()
    if lowest < LEAST_CHANCE:
        size = size + (LEAST_CHANCE - lowest) / (1 - lowest) * (1 - size)
    return size / size.mean()


def pivotal(chance: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A sample (N,) bool with these inclusion probabilities (N,), whose sum is a whole number: the
    ordered pivotal method (Deville and Tille 1998).

    One prompt after the other meets the one that is not decided yet. Their chances are put
    together: below 1 one of the two is out and the other has their sum; from 1 on one is in and the
    other has the rest.
    """
    taken = np.zeros(len(chance), dtype=bool)
    draws = rng.random(len(chance))
    held, left = 0, float(chance[0])
    for new in range(1, len(chance)):
        own, both = float(chance[new]), left + float(chance[new])
        if both < 1:
            if both > 0 and draws[new] * both < own:
                held = new
            left = both
        else:
            stays = draws[new] * (2 - both) < 1 - own  # the held one is taken, the new one goes on
            taken[held if stays else new] = True
            held, left = (new if stays else held), both - 1
    taken[held] |= left > 0.5  # the sum is whole but for rounding
    return taken


def spread_order(count: int, rng: np.random.Generator) -> np.ndarray:
    """The places 0..count-1 in the order of a van der Corput sequence, rotated at random: each is
    equally likely at every place of the order."""
    if count == 0:
        return np.zeros(0, dtype=int)
    bits = max(int(count - 1).bit_length(), 1)
    index = np.arange(2**bits)
    mirrored = np.zeros(2**bits, dtype=int)
    for bit in range(bits):
        mirrored |= ((index >> bit) & 1) << (bits - 1 - bit)
    places, first = np.unique(mirrored * count >> bits, return_index=True)
    return (places[np.argsort(first)] + rng.integers(count)) % count
