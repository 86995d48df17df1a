"""Which prompts to label: designs of fixed size whose inclusion probabilities are known exactly.

A design is one seeded order of the prompts. Its first k are a sample of k prompts for every k, so
that more labels contain the fewer, and all policies are labelled on the same prompts.

`uniform` is a random order. `active` has two phases (Neyman 1938; Sarndal, Swensson and Wretman
1992, Model Assisted Survey Sampling, chapter 9). First the logs are labelled, on n1 of the N
prompts, spread evenly over the prompts as the judge orders them, all equally likely. What these
labels tell of the residual to expect on each prompt (`residual_sizes`) decides where the targets
are labelled among the n1, in proportion to its size (Neyman's allocation; Zrnic and Candes 2024,
Active statistical inference):

    first = the most prompts that can be chosen in proportion to size with no chance above 1
    p_i(k) = p_i k / first                                  for k <= first, p_i = first size_i / sum
    p_i(k) = p_i + (1 - p_i) (k - first) / (n1 - first)     to k = n1: uniform among those left

A label's chance is the product n1 / N p_i(k) of both phases (their pi* estimator): given the first
phase, so the logs' labels, the second is unbiased for it, whatever the sizes are. Beyond n1 come
the prompts that are left, in the order of the first phase.

Both draw by ordered pivotal sampling (Deville and Tille 1998; Chauvet 2012), which gives every
prompt exactly its p_i, fixes the number, and lets neighbours in the order exclude each other, as
strata of one prompt do. Within the first ones the order is a shifted van der Corput sequence of
their places, so that each is equally likely among the first k, and these are spread as well.
"""

from dataclasses import dataclass, replace

import numpy as np

from cje.stats.arrays import Array, Codes, Mask, common_ranks
from cje.stats.slopes import believed_slopes

LEAST_CHANCE = 0.2  # of the average: no prompt is less likely than that to be labelled
MOST_SIZE = 3.0  # of the average
LEAST_EXPECTED = 0.1  # of the mean square: no residual is expected to be smaller
ALIKE = 0.3  # how far the square of the base policy's residual is that of others on the prompt


@dataclass(frozen=True)
class Design:
    """`order` (N,): the prompts by place, in the order in which they are labelled. Of the first
    `first` of them, `chance` (N,) is the probability of each prompt to be among them; beyond, the
    first `phase` are the sample of the phase before (or all), in which each is equally likely.

    Of a prompt that the phase before left out, whose size nobody knows, `chance` is the mean."""

    order: Codes
    first: int
    chance: Array
    phase: int

    @classmethod
    def uniform(cls, order: Codes) -> "Design":
        """The design of a random order (N,)."""
        order = np.asarray(order, dtype=int)
        return cls(order, 0, np.zeros(len(order)), len(order))

    def chosen(self, count: int) -> Mask:
        """Whether each prompt is among the first `count`, (N,)."""
        mask = np.zeros(len(self.order), dtype=bool)
        mask[self.order[:count]] = True
        return mask

    def probability(self, count: int) -> Array:
        """The probability of each prompt to be among the first `count`, (N,); their sum is
        `count`, or N where that is less."""
        prompts = len(self.order)
        count = min(count, prompts)
        if count <= self.first:
            return self.chance * (count / max(self.first, 1))
        if count >= self.phase:
            return np.full(prompts, count / prompts)
        left = self.phase / prompts - self.chance
        return self.chance + left * ((count - self.first) / (self.phase - self.first))

    def renumbered(self, prompts: Codes) -> "Design":
        """The same of prompts that have the numbers `prompts` (N,), of which this has the
        places."""
        chance = np.empty(len(prompts))
        chance[prompts] = self.chance
        return replace(self, order=prompts[self.order], chance=chance)


def spread_design(place: Array, seed: int) -> Design:
    """The first phase: all prompts equally likely, spread over `place` (N,), which orders them."""
    rng = np.random.default_rng(seed)
    order, first = _drawn(np.ones(len(place)), place, rng)
    return Design(order, first, np.full(len(place), first / len(place)), len(place))


def sized_design(size: Array, place: Array, before: Design, phase: int, seed: int) -> Design:
    """The second phase, of the first `phase` prompts of the design `before`: prefers those of large
    `size` (N,), positive, and is spread over `place` (N,)."""
    rng = np.random.default_rng([seed, 1])
    prompts = len(size)
    inside = np.sort(before.order[:phase])
    size = tempered(size[inside])
    order, first = _drawn(size, place[inside], rng)
    chance = np.full(prompts, first / prompts)
    chance[inside] *= size
    return Design(np.concatenate([inside[order], before.order[phase:]]), first, chance, len(inside))


def _drawn(size: Array, place: Array, rng: np.random.Generator) -> tuple[Codes, int]:
    """An order of the prompts, sizes (N,) of mean 1, and of how many first ones the chances are in
    proportion to size."""
    prompts = len(size)
    first = int(prompts / size.max() * (1 + 1e-12))
    chance = np.minimum(size * (first / prompts), 1.0)
    # Prompts of equal place are in random order: no order of rows decides anything.
    along = np.lexsort((rng.random(prompts), place))
    taken = pivotal(chance[along], rng)
    parts = along[taken], along[~taken]
    return np.concatenate([part[spread_order(len(part), rng)] for part in parts]), first


def judged_places(scores: Array) -> Array:
    """By which the prompts are ordered, (N,): the mean rank of the policies' answers to each, about
    their policy's mean. `scores` (N, P): of P policies' answers, NaN where there is none."""
    found: Array = _about_columns(common_ranks(scores), np.isfinite(scores)).mean(axis=1)
    return found


def residual_sizes(scores: Array, utility: Array) -> Array:
    """The size (N,) of the residual to expect of the targets' labels on each prompt, from judge
    scores (N, P), the base policy's first, NaN where there is none, and the base policy's labels
    `utility` (N,), NaN where there is none.

    size^2 = .7 v / mean v + .3 r^2 / mean r^2. r is the residual of the base policy's label given
    its own rank and the mean rank on the prompt. v, the square to expect, is a regression of r^2 on
    what the judge says of the prompt: the mean rank and its square, the variance between policies
    of their ranks about their means, and the part of the answers without a score. Slopes are
    believed as far as they are not noise, so that sizes are alike where nothing is learned.
    """
    known = np.flatnonzero(np.isfinite(utility))
    seen = np.isfinite(scores)
    ranks = _about_columns(common_ranks(scores), seen)
    place, missing = ranks.mean(axis=1), 1 - seen.mean(axis=1)
    level = _fitted(np.column_stack([ranks[:, 0], place, missing]), utility, known)
    square = (utility - level)[known] ** 2
    if len(known) < 2 or square.mean() <= 1e-12:
        return np.ones(len(scores))
    whole = np.full(len(scores), np.nan)
    whole[known] = square
    signs = np.column_stack([place, place**2, ranks.var(axis=1), missing])
    expected = np.maximum(_fitted(signs, whole, known), LEAST_EXPECTED * square.mean())
    size: Array = expected / expected[known].mean()
    size[known] = (1 - ALIKE) * size[known] + ALIKE * square / square.mean()
    return np.sqrt(size)


def _fitted(features: Array, outcome: Array, known: Codes) -> Array:
    """What is expected everywhere (N,) given features (N, d), from the outcomes (N,) that are
    known, at the places (m,)."""
    if not len(known):
        return np.zeros(len(features))
    features = features[:, np.ptp(features, axis=0) > 1e-12]
    if not features.shape[1]:
        return np.full(len(features), outcome[known].mean())
    features = features / features.std(axis=0)
    x, y, ones = features[known], outcome[known], np.ones(len(known))
    parts = [(x, y, ones, np.arange(len(known)), features.var(axis=0))]
    slopes = believed_slopes(parts, ones.astype(bool), x.shape[1])
    fitted: Array = y.mean() + (features - x.mean(axis=0)) @ slopes
    return fitted


def _about_columns(values: Array, seen: Mask) -> Array:
    """The values (N, P) about the mean of their column, 0 where there is none."""
    known = np.where(seen, values, 0.0)
    return np.where(seen, known - known.sum(axis=0) / np.maximum(seen.sum(axis=0), 1), 0.0)


def tempered(size: Array) -> Array:
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
    held: Array = size / size.mean()
    return held


def pivotal(chance: Array, rng: np.random.Generator) -> Mask:
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


def spread_order(count: int, rng: np.random.Generator) -> Codes:
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
    order: Codes = (places[np.argsort(first)] + rng.integers(count)) % count
    return order
