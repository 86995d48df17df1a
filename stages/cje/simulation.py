"""A world with known truth: a language of 63 words in which every probability is exact.

A simulated policy is a distribution over the next token, given the prompt, the tokens so far, the
policy's model and its system prompt; it is sampled with temperature and nucleus truncation as real
models are. The logit of token v at position t, after token u, in answer to prompt x is

    bigrams[u, v] + topics[v] . features(x) + tilt[v] + [v ends, after a sentence] ending(t)

where the tilt belongs to the model and the system prompt. An answer has a latent utility; the
oracle reports it with a little noise, the judge is noisier and fooled by style and length.

Random numbers are hashes of what they stand for (seed, prompt, policy, draw, position), so an
answer depends on nothing else: not on the batch, not on the order of the rows. All arithmetic is
sums, products, quotients and sorting, which every machine rounds alike: the same settings give
the same bytes everywhere.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from cje.errors import CJEError

WORDS = {
    "opener": "Sure Well Here First Overall Honestly",
    "determiner": "the a this your each our",
    "adjective": "precise clear correct useful simple common "
    "amazing wonderful brilliant vague random wrong",
    "noun": "answer example step reason method detail source number "
    "idea journey magic vibe guess thing",
    "verb": "explains shows solves checks compares means feels celebrates ignores forgets",
    "adverb": "exactly carefully simply truly maybe",
    "connector": "because so and but then while",
    "stop": ". ! ?",
    "comma": ",",
}
END = "<end>"
VOCABULARY = tuple(" ".join(WORDS.values()).split()) + (END,)
TOKEN_ID = {token: i for i, token in enumerate(VOCABULARY)}
SIZE = len(VOCABULARY)
END_ID = SIZE - 1  # as the token before, it is the start of an answer
UNKNOWN = -1  # a word that the vocabulary lacks

# How many words of each kind are likely after a word of the kind named first. Sets of so few words
# have no long tail for top_p to cut through, as in a model that is sure of its grammar.
FOLLOWERS = {
    "start": {"opener": 3, "determiner": 2},
    "opener": {"determiner": 3, "comma": 1},
    "determiner": {"adjective": 3, "noun": 2},
    "adjective": {"noun": 5},
    "noun": {"verb": 3, "stop": 1, "connector": 1},
    "verb": {"determiner": 2, "adverb": 2, "stop": 1},
    "adverb": {"adjective": 3, "stop": 1},
    "connector": {"determiner": 3, "noun": 2},
    "stop": {"opener": 1, "determiner": 2},
    "comma": {"determiner": 3, "connector": 1},
}
GOOD = frozenset(
    "First precise clear correct useful answer example step reason method detail source number "
    "explains shows solves checks compares exactly carefully because then each".split()
)
BAD = frozenset("vague random wrong vibe guess thing feels ignores forgets maybe ? while".split())
STYLISH = frozenset(
    "Sure Honestly amazing wonderful brilliant journey magic celebrates truly ! your our so".split()
)

TOPICS = 4  # dimensions of a prompt's features
RARE = -5.5  # logit of a word that is not likely after the word before
EARLIEST_END = 14  # no answer is shorter
ENDING_START, ENDING_SLOPE = 0.5, 0.1  # logit of the end after a sentence, from EARLIEST_END on
NEVER = -1e6
FLOOR = -64.0  # no logit counts as further below the highest: such tokens are out of reach
CHUNK = 1024  # rows at a time: what fits a processor's cache

# Latent quality to utility and to the judge's score.
UTILITY_LOW, UTILITY_HIGH = 0.05, 0.95
SCORE_STEPS = {"oracle": 100, "judge": 20}  # a scale from 0 to 10 in tenths, and in halves


@dataclass(frozen=True)
class Model:
    """How a simulated model leans: what it adds to the logits, by the token's trait."""

    description: str
    quality: float = 0.0
    style: float = 0.0
    relevance: float = 0.0
    ending: float = 0.0


MODELS = {
    "base": Model("the reference: plain, mostly useful answers"),
    "better": Model("more substance, the same manner", quality=0.12, relevance=0.1),
    "flattering": Model("wins the judge over with style, at some cost", quality=-0.06, style=0.3),
    "terse": Model("stops earlier", quality=0.05, ending=0.5),
    "unhelpful": Model("adversarial: style without substance", quality=-1.2, style=0.8),
}
JUDGES = {
    "oracle": "the utility with a little noise, in tenths",
    "judge": "fooled by style and length, and noisy, in halves",
    "noisy-judge": "as judge, with twice the noise",
}
