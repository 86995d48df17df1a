"""The language model behind the loopback server.

It is small and exact: the next token's distribution depends on the text so far alone, so a
text that it sampled is scored with the very log-probabilities that it was sampled with. A token is
one of forty words with a leading space, a special token, or one character.
"""

import hashlib
import json
import math
import random
import re
from bisect import bisect_right
from functools import cache
from itertools import accumulate
from typing import Any
from zlib import crc32

Body = dict[str, Any]
BOS, START, END = 1, 2, 3
WORDS = tuple(
    f" {a}{b}" for a in "ba ke li mo nu ra sa ti".split() for b in "da fen go por zu".split()
)
FIRST_WORD, FIRST_CHARACTER = 10, 1000
SPECIAL = {"<|begin|>": BOS, "<|im_start|>": START, "<|im_end|>": END}
IDS = SPECIAL | {word: FIRST_WORD + i for i, word in enumerate(WORDS)}
STRINGS = {i: text for text, i in IDS.items()}
PIECE = re.compile(r"<\|[a-z_]+\|>| [a-z]+|.", re.DOTALL)
STATES = 61
SPARE = 1e-6  # the share of all tokens that the model never draws
UNSEEN = math.log(SPARE / 0x110000)
CREATED = 1_790_000_000


class Refused(Exception):
    """The request is answered with an error status."""

    def __init__(
        self, status: int, message: str, param: str | None = None, code: str | None = None
    ):
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code


def body_hash(path: str, body: Body) -> str:
    """16 hex digits that name a call: its path and body, the order of keys aside."""
    text = path + json.dumps(body, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class Distribution:
    """The next token's. `logps` runs over the tokens that can be drawn."""

    def __init__(self, model: str, state: int, after_word: bool):
        dice = random.Random(f"{model}/{state}/{after_word}")
        weights = {FIRST_WORD + i: math.exp(dice.gauss(0, 1)) for i in range(len(WORDS))}
        if after_word:
            weights[END] = 0.1 * sum(weights.values())
        total = sum(weights.values())
        self.logps = {i: math.log(w / total) + math.log1p(-SPARE) for i, w in weights.items()}
        self.top = sorted(self.logps, key=self.logps.__getitem__, reverse=True)
        self.ladders: dict[tuple[float, ...], tuple[list[int], list[float]]] = {}

    def draw(self, unit: float, temperature: float, top_p: float, top_k: int, min_p: float) -> int:
        """The token at the quantile `unit` in [0, 1)."""
        if temperature == 0:
            return self.top[0]
        setting = (temperature, top_p, top_k, min_p)
        if setting not in self.ladders:
            powers = [math.exp(self.logps[i] / temperature) for i in self.top]
            sums = list(accumulate(powers))
            kept = 1 + next(k for k, s in enumerate(sums) if s >= sums[-1] * min(top_p, 1 - 1e-12))
            kept = min(kept, top_k, sum(power >= min_p * powers[0] for power in powers))
            self.ladders[setting] = self.top[:kept], sums[:kept]
        tokens, sums = self.ladders[setting]
        return tokens[min(bisect_right(sums, unit * sums[-1]), len(tokens) - 1)]

    def penalised(self, seen: set[int], penalty: float) -> "Distribution":
        """The same with the logits of the tokens seen divided by the penalty."""
        made = object.__new__(Distribution)
        made.logps = {i: p * penalty if i in seen else p for i, p in self.logps.items()}
        made.top = sorted(made.logps, key=made.logps.__getitem__, reverse=True)
        made.ladders = {}
        return made


distribution = cache(Distribution)


def encode(text: str) -> list[int]:
    """The token ids of a text."""
    ids = []
    for piece in PIECE.findall(text):
        if piece in IDS:
            ids.append(IDS[piece])
        else:
            ids.extend(FIRST_CHARACTER + ord(c) for c in piece)
    return ids


def string(token: int) -> str:
    """The text of a token id; raises Refused for an id that there is not."""
    if token in STRINGS:
        return STRINGS[token]
    if not FIRST_CHARACTER <= token < FIRST_CHARACTER + 0x110000:
        raise Refused(400, f"Token id {token} is out of vocabulary", "prompt")
    return chr(token - FIRST_CHARACTER)


def sample(model: str, text: str, seed: str, limit: int, body: Body) -> list[int]:
    """Token ids drawn after a text, the end token last where the answer ended by itself."""
    temperature, top_p = (
        1.0 if (v := body.get(n)) is None else v for n in ("temperature", "top_p")
    )
    cut = body.get("top_k") or FIRST_CHARACTER, body.get("min_p") or 0.0
    penalty = body.get("repeat_penalty") or 1.0
    dice, state, after_word = random.Random(seed), crc32(text.encode()), text.endswith(WORDS)
    ids: list[int] = []
    while len(ids) < limit:
        there = distribution(model, state % STATES, after_word)
        if penalty != 1.0:
            there = there.penalised(set(ids), penalty)
        token = there.draw(dice.random(), temperature, top_p, *cut)
        ids.append(token)
        if token == END:
            break
        state, after_word = crc32(STRINGS[token].encode(), state), True
    return ids


def steps(model: str, text: str, ids: list[int]) -> list[tuple[int, float, Distribution]]:
    """(token, log-probability, distribution) of each id, given the text before them."""
    state, rows = crc32(text.encode()), []
    for token in ids:
        there = distribution(model, state % STATES, text.endswith(WORDS))
        rows.append((token, there.logps.get(token, UNSEEN), there))
        piece = string(token)
        state, text = crc32(piece.encode(), state), text[-8:] + piece
    return rows
