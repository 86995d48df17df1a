"""The distribution that a token is really sampled from: tempered, cut to its nucleus, renormalised.

    p_t = exp(z_t / T) / sum_s exp(z_s / T)
    nucleus = the fewest likeliest tokens whose mass reaches top_p; ties by the token's number
    log-probability of a token = log p_t - log(mass of the nucleus), -inf outside the nucleus

At temperature 0 the likeliest token has log-probability 0, and every other -inf.

Nothing here sorts a vocabulary. The tokens above a share of the mass hold the nucleus as soon as
they weigh top_p together; they are few, and only they are sorted. They are looked for in the blocks
of the vocabulary whose largest is above that share, and logits are overwritten: new memory costs
more than the arithmetic.

**Doubt.** The nucleus is not a continuous function of the logits: a token at its border is in or
out, and with it goes its mass. The logits of one and the same text differ by some 1e-5 with the
shape of the batch, so about one position in some hundreds cannot be decided by one evaluation, and
deciding it twice, when sampling and when scoring, may give two answers. Every decision therefore
says whether logits within `LOGIT_NOISE` could have decided otherwise. To first order, logits that
move by at most e move a mass q by at most 2 q (1 - q) e / T, and the ratio of two probabilities by
2 e / T. Whoever asks evaluates a doubtful position again in a form that does not depend on the
batch, and takes what that says: sampling and scoring then agree, and so do all batch sizes.

Reference: Holtzman et al., The Curious Case of Neural Text Degeneration, ICLR 2020.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

LOGIT_NOISE = 4e-5  # how far a float32 logit may move with the shape of the batch
NEGLIGIBLE = 2e-5  # a share of the nucleus that may come or go, being below any tolerance here
BLOCK = 64  # tokens that are looked through together
SHARES = (64, 2048)  # the nucleus is looked for above (1 - top_p) / this, then further down


@dataclass(frozen=True)
class Choice:
    """Chosen tokens (rows,), their log-probabilities (rows,) float64, and whether float32 leaves
    a doubt (rows,)."""

    tokens: Tensor
    logprobs: Tensor
    doubtful: Tensor


@dataclass(frozen=True)
class Nuclei:
    """Nuclei of some rows, padded to the widest. `masses` (rows, width) float64 are probabilities
    in falling order, 0 where there is no token, `tokens` their numbers; the first `size` (rows,)
    are the nucleus. `mass` and `border` (rows,): its mass, and that of its last token."""

    tokens: Tensor
    masses: Tensor
    reach: Tensor
    size: Tensor

    @property
    def mass(self) -> Tensor:
        return _at(self.reach, self.size - 1)

    @property
    def border(self) -> Tensor:
        return _at(self.masses, self.size - 1)

    def rows(self, which: Tensor) -> "Nuclei":
        return Nuclei(self.tokens[which], self.masses[which], self.reach[which], self.size[which])


@dataclass(frozen=True)
class Sampling:
    """How a policy samples: temperature >= 0 and top_p in (0, 1]."""

    temperature: float = 1.0
    top_p: float = 1.0

    def score(self, logits: Tensor, tokens: Tensor) -> Choice:
        """Log-probabilities of given tokens (rows,) under float32 logits (rows, vocabulary), which
        are overwritten."""
        if self.temperature == 0:
            best, doubtful = _greedy(logits)
            logprobs = torch.where(best == tokens, 0.0, -torch.inf).double()
            return Choice(tokens, logprobs, doubtful)
        scaled = self._scaled(logits)
        own = _at(scaled, tokens).double()
        weights = scaled.exp_()
        total = weights.sum(-1, keepdim=True)
        logprobs = own - total[:, 0].double().log()
        doubtful = torch.zeros_like(tokens, dtype=torch.bool)
        if self.top_p < 1:
            shares = logprobs.exp()
            for rows, nuclei in self.nuclei(weights, total):
                inside, unsure = self._holds(nuclei, tokens[rows], shares[rows])
                cut = logprobs[rows] - nuclei.mass.log()
                logprobs[rows] = torch.where(inside, cut.clamp(max=0.0), -torch.inf)
                doubtful[rows] = unsure | self._unsure_mass(nuclei)
        return Choice(tokens, logprobs, doubtful)

    def draw(self, logits: Tensor, uniforms: Tensor) -> Choice:
        """One token a row, by inversion: `uniforms` (rows,) float64 in [0, 1) are where the
        cumulative distribution is cut. It runs over the nucleus from the likeliest token on, or,
        without a nucleus (top_p = 1), over the vocabulary by number. Overwrites the logits."""
        if self.temperature == 0:
            best, doubtful = _greedy(logits)
            return Choice(best, torch.zeros_like(uniforms), doubtful)
        weights = self._scaled(logits).exp_()
        if self.top_p == 1:
            return self._draw_from_all(weights, uniforms)
        tokens = torch.zeros(len(weights), dtype=torch.long, device=weights.device)
        logprobs = torch.zeros_like(uniforms)
        doubtful = torch.zeros_like(tokens, dtype=torch.bool)
        for rows, nuclei in self.nuclei(weights, weights.sum(-1, keepdim=True)):
            place, unsure = self._cut(nuclei, uniforms[rows])
            drawn, masses = _at(nuclei.tokens, place), _at(nuclei.masses, place)
            tokens[rows] = drawn
            logprobs[rows] = (masses.log() - nuclei.mass.log()).clamp(max=0.0)
            unsure |= self._holds(nuclei, drawn, masses)[1]
            doubtful[rows] = unsure | self._unsure_mass(nuclei)
        return Choice(tokens, logprobs, doubtful)

    def nuclei(self, weights: Tensor, total: Tensor) -> Iterator[tuple[Tensor, Nuclei]]:
        """The nuclei of rows of weights (rows, vocabulary) with sums `total` (rows, 1), in groups:
        the numbers of the rows, and their nuclei."""
        left = torch.arange(len(weights), device=weights.device)
        vocabulary = weights.shape[1]
        for parts in (*SHARES, 2 * vocabulary, torch.inf):
            found, whole = self._candidates(weights, total, (1 - self.top_p) / parts)
            done = whole | (found.reach[:, -1] >= self.top_p)
            if done.all():
                yield left, found
                return
            if done.any():
                yield left[done], found.rows(done)
                left, weights, total = left[~done], weights[~done], total[~done]

    def _candidates(self, weights: Tensor, total: Tensor, share: float) -> tuple[Nuclei, Tensor]:
        """The tokens with at least that share of their row's mass, as nuclei, which they are where
        they reach top_p; and which rows hold the whole vocabulary."""
        block = math.gcd(weights.shape[1], BLOCK)
        blocks = weights.reshape(len(weights), -1, block)
        least = share * total
        rows, which = (blocks.amax(-1) >= least).nonzero(as_tuple=True)
        some = blocks[rows, which]
        hits, offset = (some >= least[rows]).nonzero(as_tuple=True)
        rows, tokens = rows[hits], which[hits] * block + offset
        counts = torch.bincount(rows, minlength=len(weights))
        place = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
        shape = (len(weights), max(1, int(counts.max())))
        masses = torch.zeros(shape, dtype=torch.float64, device=rows.device)
        masses[rows, place] = some[hits, offset].double() / total[rows, 0].double()
        numbers = torch.full(shape, -1, device=rows.device)
        numbers[rows, place] = tokens
        masses, order = masses.sort(dim=-1, descending=True, stable=True)
        reach = masses.cumsum(-1)
        size = (reach < self.top_p).sum(-1) + 1
        found = Nuclei(numbers.gather(1, order), masses, reach, torch.minimum(size, counts))
        return found, counts == weights.shape[1]

    def _scaled(self, logits: Tensor) -> Tensor:
        """Logits less their largest, over the temperature, in place."""
        scaled = logits.sub_(logits.amax(-1, keepdim=True))
        return scaled if self.temperature == 1 else scaled.div_(self.temperature)

    @property
    def _ratio_noise(self) -> float:
        return 2 * LOGIT_NOISE / self.temperature

    @property
    def _mass_noise(self) -> float:
        return self.top_p * (1 - self.top_p) * self._ratio_noise

    def _unsure_mass(self, nuclei: Nuclei) -> Tensor:
        """Whether noise could take the last token out of the nucleus or put one more in."""
        mass, border = nuclei.mass, nuclei.border
        near = mass - self.top_p < self._mass_noise
        near |= self.top_p - (mass - border) < self._mass_noise
        return near & (border > NEGLIGIBLE * mass)

    def _holds(self, nuclei: Nuclei, tokens: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
        """Whether each nucleus holds a token with that share of the mass, and whether that is
        unsure: whether the tokens that may stand before it could, or could not, reach top_p."""
        places = torch.arange(nuclei.tokens.shape[1], device=tokens.device)
        kept = places < nuclei.size[:, None]
        same = nuclei.tokens == tokens[:, None]
        others = torch.where(same, 0.0, nuclei.masses)
        ratio = nuclei.masses / shares[:, None]
        least = torch.where(ratio > 1 + self._ratio_noise, others, 0.0).sum(-1)
        most = torch.where(ratio >= 1 - self._ratio_noise, others, 0.0).sum(-1)
        unsure = (least < self.top_p + self._mass_noise) & (most >= self.top_p - self._mass_noise)
        return (same & kept).any(-1), unsure

    def _cut(self, nuclei: Nuclei, uniforms: Tensor) -> tuple[Tensor, Tensor]:
        """The place of the token that each uniform cuts, and whether noise could move the cut to
        another, or change places with a neighbour of nearly the same mass."""
        target = uniforms * nuclei.mass
        place = torch.searchsorted(nuclei.reach, target[:, None], right=True)[:, 0]
        place = torch.minimum(place, nuclei.size - 1)
        noise = uniforms * (1 - uniforms) * self._ratio_noise
        near = (nuclei.reach - target[:, None]).abs().amin(-1) < noise
        own = _at(nuclei.masses, place)
        after = _at(nuclei.masses, (place + 1).clamp(max=nuclei.masses.shape[1] - 1))
        before = _at(nuclei.masses, (place - 1).clamp(min=0))
        last = place + 1 == nuclei.masses.shape[1]
        tied = (after > own * (1 - self._ratio_noise)) & ~last
        tied |= (before * (1 - self._ratio_noise) < own) & (place > 0)
        return place, near | tied

    def _draw_from_all(self, weights: Tensor, uniforms: Tensor) -> Choice:
        reach = weights.cumsum(-1, dtype=torch.float64)
        total = reach[:, -1]
        target = uniforms * total
        tokens = torch.searchsorted(reach, target[:, None], right=True)[:, 0]
        tokens = tokens.clamp(max=weights.shape[1] - 1)
        own, end = _at(weights, tokens).double(), _at(reach, tokens)
        noise = uniforms * (1 - uniforms) * self._ratio_noise * total
        doubtful = (end - target < noise) | (target - (end - own) < noise)
        return Choice(tokens, (own / total).log(), doubtful)


def _greedy(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The likeliest token of each row, the first of equals, and whether noise could change it."""
    best = logits.argmax(-1)
    near = logits >= _at(logits, best)[:, None] - 2 * LOGIT_NOISE
    return best, near.sum(-1) > 1


def _at(values: Tensor, places: Tensor) -> Tensor:
    """values[i, places[i]] of each row i."""
    return values.gather(1, places[:, None])[:, 0]
