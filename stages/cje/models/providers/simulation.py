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
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
VOCABULARY = (*" ".join(WORDS.values()).split(), END)
TOKEN_ID = {token: i for i, token in enumerate(VOCABULARY)}
SIZE = len(VOCABULARY)
END_ID = SIZE - 1  # as the token before, it is the start of an answer
UNKNOWN = -1  # a word that the vocabulary lacks
KIND = {word: kind for kind, words in WORDS.items() for word in words.split()} | {END: "start"}

# What kinds of words follow a word of the kind named first: five words of them are likely, all
# others rare. Sets of so few have no long tail for top_p to cut, as in a model sure of its grammar.
FOLLOWERS = {
    "start": "opener opener determiner determiner opener",
    "opener": "determiner determiner determiner comma determiner",
    "determiner": "adjective adjective adjective noun noun",
    "adjective": "noun noun noun noun noun",
    "noun": "verb verb stop stop connector",
    "verb": "determiner determiner adverb stop adverb",
    "adverb": "adjective adjective adjective adjective stop",
    "connector": "determiner determiner noun determiner noun",
    "stop": "determiner determiner opener opener determiner",
    "comma": "determiner determiner determiner connector connector",
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
JITTER, TOPIC_PULL, PROMPT_TILT = 0.2, 0.12, 0.2  # largest logit of each random part
RARE = -5.5  # logit of a word that is not likely after the word before
EARLIEST_END = 14  # no answer is shorter
ENDING_START, ENDING_SLOPE = 0.8, 0.12  # logit of the end after a sentence, from EARLIEST_END on
NEVER = -64.0  # the lowest logit, below any that a nucleus holds
CHUNK = 1024  # rows at a time: what fits a processor's cache

# An answer's latent utility, and what the judge makes of it.
SUBSTANCE, DIFFICULTY, CENTRE = 2.6, 0.45, -0.05
JUDGE_STYLE, JUDGE_LENGTH, USUAL_STYLE = 1.1, 0.10, 0.22
NOISE = {"oracle": 0.05, "judge": 0.12, "noisy-judge": 0.24}  # standard deviations
SCORE_STEPS = {"oracle": 100, "judge": 20, "noisy-judge": 20}  # steps of a scale from 0 to 1


@dataclass(frozen=True)
class Model:
    """How a simulated model leans: what it adds to the logits, by the token's trait."""

    description: str
    quality: float = 0.0
    style: float = 0.0
    ending: float = 0.0


MODELS = {
    "base": Model("the reference: plain, mostly useful answers"),
    "better": Model("more substance, the same manner", quality=0.12),
    "flattering": Model("wins the judge over with style, at some cost", quality=-0.06, style=0.25),
    "terse": Model("stops earlier", quality=0.05, ending=0.5),
    "unhelpful": Model("adversarial: style without substance", quality=-1.2, style=2.0),
}
JUDGES = {
    "oracle": "the utility with a little noise, in hundredths of its scale",
    "judge": "fooled by style and length, and noisy, in twentieths of its scale",
    "noisy-judge": "as judge, with twice the noise",
}


@dataclass(frozen=True)
class Answers:
    """n sampled answers: `tokens` (n, max_tokens) ids, UNKNOWN after the last; `logps` alike with
    0; `lengths` (n,), end token included; `finished` (n,): ended by itself, not cut."""

    tokens: np.ndarray
    logps: np.ndarray
    lengths: np.ndarray
    finished: np.ndarray


@dataclass(frozen=True)
class Speaker:
    """A simulated policy: a model under a system prompt, and how it is sampled."""

    model: str
    system_prompt: str | None = None
    temperature: float = 1.0
    top_p: float = 1.0

    def tilt(self) -> np.ndarray:
        """What model and system prompt add to the logits, (SIZE,)."""
        lean = MODELS[self.model]
        substance, style = _trait(GOOD) - _trait(BAD), _trait(STYLISH)
        tilt: np.ndarray = lean.quality * substance + lean.style * style
        if self.system_prompt:
            tilt = tilt + PROMPT_TILT * _signed(_hash(self.system_prompt, "system"), SIZE)
        tilt[END_ID] += lean.ending
        return tilt

    def sample(self, prompts: Sequence[str], keys: np.ndarray, max_tokens: int) -> Answers:
        """One answer to each prompt (n); `keys` (n,) uint64 name the random numbers."""
        n = len(prompts)
        tokens = np.full((n, max_tokens), UNKNOWN, dtype=np.int16)
        logps = np.zeros((n, max_tokens))
        lengths = np.full(n, max_tokens)
        finished = np.zeros(n, dtype=bool)
        tilt = self.tilt()
        for start in range(0, n, CHUNK):
            rows = np.arange(start, min(start + CHUNK, n))
            pull = topic_pull(prompts[start : start + CHUNK]) + tilt
            last = np.full(len(rows), END_ID)
            for t in range(max_tokens):
                mass, total, order, logits = self._nucleus(pull, last, t)
                spot = uniforms(keys[rows], t) * total
                place = ((mass <= spot[:, None]) & (mass < total[:, None])).sum(axis=1)
                last = order[np.arange(len(rows)), place]
                tokens[rows, t] = last
                logps[rows, t] = logits[np.arange(len(rows)), last] - exact_log(total)
                ended = last == END_ID
                lengths[rows[ended]] = t + 1
                finished[rows[ended]] = True
                rows, pull, last = rows[~ended], pull[~ended], last[~ended]
                if not len(rows):
                    break
        return Answers(tokens, logps, lengths, finished)

    def score(self, prompts: Sequence[str], tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Log-probabilities (n, max length) of given tokens, bitwise as `sample` gave them.

        -inf for a token outside the nucleus or the vocabulary; 0 after the last.
        """
        logps = np.zeros(tokens.shape)
        tilt = self.tilt()
        for start in range(0, len(prompts), CHUNK):
            rows = np.arange(start, min(start + CHUNK, len(prompts)))
            pull = topic_pull(prompts[start : start + CHUNK]) + tilt
            last = np.full(len(rows), END_ID)
            for t in range(tokens.shape[1]):
                going = lengths[rows] > t
                rows, pull, last = rows[going], pull[going], last[going]
                if not len(rows):
                    break
                mass, total, order, logits = self._nucleus(pull, last, t)
                given = tokens[rows, t].astype(int)
                rank = (order == given[:, None]).argmax(axis=1)
                inside = (given >= 0) & (mass[np.arange(len(rows)), rank] <= total)
                exact = logits[np.arange(len(rows)), given] - exact_log(total)
                logps[rows, t] = np.where(inside, exact, -np.inf)
                last = np.where(given >= 0, given, END_ID)
        return logps

    def _nucleus(
        self, pull: np.ndarray, last: np.ndarray, position: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """What may come next, rows by tokens: cumulative mass by rank, the nucleus's mass, the
        tokens by rank, and the tempered logits whose exponentials the mass is made of."""
        logits = BIGRAMS[last] + pull
        if position < EARLIEST_END:
            logits[:, END_ID] = NEVER
        else:
            late = ENDING_START + ENDING_SLOPE * (position - EARLIEST_END)
            logits[:, END_ID] += np.where(SENTENCE_ENDS[last], late, NEVER)
        highest = logits.max(axis=1, keepdims=True)
        greedy = self.temperature == 0
        logits = np.maximum((logits - highest) / (1.0 if greedy else self.temperature), NEVER)
        order = np.argsort(-logits, axis=1, kind="stable")
        mass = exact_exp(np.take_along_axis(logits, order, axis=1)).cumsum(axis=1)
        reached = mass >= (0.0 if greedy else self.top_p) * mass[:, -1:]
        total = mass[np.arange(len(mass)), reached.argmax(axis=1)]
        return mass, total, order, logits


def topic_pull(prompts: Sequence[str]) -> np.ndarray:
    """What the prompts add to the logits, (n, SIZE)."""
    features = prompt_features(prompts)
    pull = np.zeros((len(features), SIZE))
    for k in range(TOPICS):  # no matrix product: libraries differ in how they round it
        pull += features[:, k : k + 1] * TOPIC_WORDS[k]
    return pull


def prompt_features(prompts: Sequence[str]) -> np.ndarray:
    """Features in [-1, 1] of each prompt's text, (n, TOPICS)."""
    keys = np.array([_hash(text, "prompt") for text in prompts], dtype=np.uint64)
    return np.column_stack([2 * uniforms(keys, k) - 1 for k in range(TOPICS)])


def sampling_keys(seed: int, uids: Sequence[str], policy: str, draw: int) -> np.ndarray:
    """The random numbers' names, (n,) uint64: of the seed, the prompt, the policy, the draw."""
    keys = [_hash(uid, f"{seed}/{policy}/{draw}") for uid in uids]
    return np.array(keys, dtype=np.uint64)


def utilities(prompts: Sequence[str], tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The latent utility of each answer on (0, 1): substance of its words, ease of its prompt."""
    substance = _share(tokens, lengths, _trait(GOOD) - _trait(BAD))
    ease = DIFFICULTY * prompt_features(prompts)[:, 0]
    latent = SUBSTANCE * substance + ease + CENTRE
    utility: np.ndarray = 0.5 + 0.45 * latent / (1 + np.abs(latent)) * (1 + 1 / 4)
    return utility


def judged(judge: str, prompts: Sequence[str], answers: Sequence[str], seed: int) -> np.ndarray:
    """Scores on [0, 1] that `judge` (a key of JUDGES) gives to texts; the same text, the same."""
    tokens, lengths = encode(answers)
    score = utilities(prompts, tokens, lengths)
    if judge != "oracle":
        style = _share(tokens, lengths, _trait(STYLISH))
        score = score + JUDGE_STYLE * (style - USUAL_STYLE) + JUDGE_LENGTH * (lengths / 28 - 1)
    texts = zip(prompts, answers, strict=True)
    keys = [_hash(f"{prompt}\0{answer}", f"{seed}/{judge}") for prompt, answer in texts]
    score = score + NOISE[judge] * normals(np.array(keys, dtype=np.uint64))
    steps = SCORE_STEPS[judge]
    rounded: np.ndarray = np.round(np.clip(score, 0, 1) * steps) / steps
    return rounded


def true_utility(
    speaker: Speaker, prompts: Sequence[str], max_tokens: int, *, tolerance: float = 1e-3
) -> tuple[float, float]:
    """Expected oracle utility of a policy on these prompts, by sampling: (value, standard error).

    Draws every prompt again and again, with random numbers that no stage uses, until the standard
    error over fresh answers is at most `tolerance`.
    """
    means: list[np.ndarray] = []
    while True:
        keys = sampling_keys(len(means), prompts, "truth", 0)
        drawn = speaker.sample(prompts, keys, max_tokens)
        scores = judged("oracle", prompts, decode(drawn), len(means))
        means.append(scores)
        if len(means) > 1:
            values = np.array(means)
            spread = values.var(axis=0, ddof=1).mean()
            error = float(np.sqrt(spread / values.size))
            if error <= tolerance:
                return float(values.mean()), error


def token_strings(answers: Answers) -> list[list[str]]:
    """The tokens of each answer, end token included where it ended by itself."""
    rows = zip(answers.tokens.tolist(), answers.lengths.tolist(), strict=True)
    return [[VOCABULARY[i] for i in tokens[:length]] for tokens, length in rows]


def decode(answers: Answers) -> list[str]:
    """The texts: words with spaces, stops and commas without one before."""
    return [join(tokens) for tokens in token_strings(answers)]


def join(tokens: Sequence[str]) -> str:
    """The text of tokens, without the end."""
    return re.sub(r" ([.!?,])", r"\1", " ".join(t for t in tokens if t != END))


def encode(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Token ids (n, longest) and lengths (n,) of any texts; words unknown here are UNKNOWN."""
    words = [re.findall(r"[.!?,]|[^\s.!?,]+", text) for text in texts]
    return pad([[TOKEN_ID.get(word, UNKNOWN) for word in row] for row in words])


def pad(rows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Rows of ids as an array (n, longest), UNKNOWN after the last, and their lengths."""
    lengths = np.array([len(row) for row in rows], dtype=int)
    tokens = np.full((len(rows), max(lengths.max(initial=0), 1)), UNKNOWN, dtype=np.int16)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = row
    return tokens, lengths


def check_known(name: str, known: Mapping[str, object], role: str) -> None:
    """Raise CJEError unless a simulated model or judge has this name."""
    if name not in known:
        allowed = ", ".join(f"sim/{k}" for k in known)
        raise CJEError(f"sim/{name} is not a simulated {role}; choose one of {allowed}")


def _share(tokens: np.ndarray, lengths: np.ndarray, trait: np.ndarray) -> np.ndarray:
    """Mean trait of an answer's tokens, (n,); unknown words and the end count 0."""
    padded = np.append(trait, 0.0)  # UNKNOWN, -1, reads the last
    share: np.ndarray = padded[tokens].cumsum(axis=1)[:, -1] / np.maximum(lengths, 1)
    return share


def _trait(words: frozenset[str]) -> np.ndarray:
    return np.array([float(token in words) for token in VOCABULARY])


def _hash(text: str, salt: str) -> int:
    key = f"{salt}\0{text}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little")


def uniforms(keys: np.ndarray, counter: int) -> np.ndarray:
    """Uniform numbers in [0, 1), (n,), by the counter-based generator splitmix64."""
    with np.errstate(over="ignore"):
        x = keys + np.uint64((counter + 1) * 0x9E3779B97F4A7C15 % 2**64)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    return (x >> np.uint64(11)).astype(float) / 2.0**53


def normals(keys: np.ndarray) -> np.ndarray:
    """Nearly normal numbers, (n,): twelve uniforms, less six."""
    total = np.zeros(len(keys))
    for counter in range(12):
        total += uniforms(keys, counter)
    return total - 6


def _signed(key: int, size: int) -> np.ndarray:
    """Numbers in [-1, 1), (size,)."""
    one = np.array([key], dtype=np.uint64)
    return np.array([2 * uniforms(one, k)[0] - 1 for k in range(size)])


def exact_exp(x: np.ndarray) -> np.ndarray:
    """exp of x in [-64, 0] by 2^k and a Taylor sum, so that all machines give the same bits."""
    k = np.rint(x * 1.4426950408889634)
    r = (x - k * 0.693147180369123816490) - k * 1.90821492927058770002e-10
    total = np.ones_like(r)
    for n in range(13, 0, -1):
        total = 1 + r * total / n
    return np.ldexp(total, k.astype(np.int32))


def exact_log(x: np.ndarray) -> np.ndarray:
    """log of x > 0 by its exponent and an atanh series, so that all machines give the same bits."""
    mantissa, exponent = np.frexp(x)
    low = mantissa < 0.7071067811865476
    mantissa, exponent = np.where(low, 2 * mantissa, mantissa), exponent - low
    z = (mantissa - 1) / (mantissa + 1)
    square = z * z
    total = np.zeros_like(z)
    for n in range(23, 0, -2):
        total = 1 / n + square * total
    log: np.ndarray = 2 * z * total + exponent * 0.6931471805599453
    return log


def _bigrams() -> np.ndarray:
    """The grammar's logits, (SIZE before, SIZE next): five likely words after each word."""
    table = np.full((SIZE, SIZE), RARE)
    for u, word in enumerate(VOCABULARY):
        kinds = FOLLOWERS[KIND[word]].split()
        chosen: list[int] = []
        for place, kind in enumerate(kinds):
            free = [TOKEN_ID[w] for w in WORDS[kind].split() if TOKEN_ID[w] not in chosen]
            key = np.array([_hash(f"{word}{place}", "follower")], dtype=np.uint64)
            if not free:
                continue
            chosen.append(free[int(uniforms(key, 0)[0] * len(free))])
            table[u, chosen[-1]] = JITTER * (2 * uniforms(key, 1)[0] - 1)
    table[:, END_ID] = 0.0  # as likely as they, where it is allowed
    return table


BIGRAMS = _bigrams()
TOPIC_WORDS = np.array([TOPIC_PULL * _signed(_hash(str(k), "topic"), SIZE) for k in range(TOPICS)])
SENTENCE_ENDS = np.array([KIND[word] == "stop" for word in VOCABULARY])
