"""Whether a server samples from the distribution whose log-probabilities it reports.

Importance weights are exact where it does. A server may sample otherwise by its own defaults: with
a penalty on repetition, only from the likeliest tokens, or at another temperature. Known settings
of that kind are switched off by name; whether any other is at work shows in what the server draws.
It answers one prompt again and again, and reports the likeliest tokens of every step:

- at temperature 0 it must give the likeliest token at every step: with a penalty it does not;
- at temperature 1 it must give the likeliest token, those that it does not report, and those that
  it has given already, as often as their probabilities say;
- at temperature 2 most tokens of a large vocabulary are unlikely ones, which truncation (top_k,
  min_p, ...) never draws. Of the n likeliest of k that are left at least n/k are drawn. Where that
  does not settle it, `top_k: 1` must: a server that obeys the name has obeyed it before;
- the first step's values at temperatures 1 and 2 tell whether they are those before temperature.
"""

import json
import math
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeGuard

from cje.data.schemas import VERY_UNLIKELY
from cje.models.completions import first_choice, mapping
from cje.models.requests import CallFailed, Reply
from cje.vocabulary import counted

PROMPT = (
    "Write a long poem about the rain. Put the line 'Rain, rain, go away' after every verse, and "
    "do not stop before the twentieth verse."
)
TOKENS = 64  # of one draw, at most
DRAWS = 24  # at one temperature, at most
WARM, HOT = 192, 96  # tokens wanted at temperatures 1 and 2
TOP_COUNTS = (20, 5)  # of the likeliest tokens: as many as a server reports
SAME = 1e-3  # nats: two log-probabilities of one token
SURE = 4.0  # standard errors: what chance does not do
PROOF = 7.0  # nats: a thousand to one
LEAST_STEPS, LEAST_REPEATS = 16, 8  # at temperature 0; or so many more repeats due at 1
LEAST_DUE = 15
LEAST_DRAWN = 64
LEAST_KEPT = 200  # tokens: truncation to more of them does not count
NEGLIGIBLE = 1e-3  # of probability left to the tokens that are not listed, at most: negligible

Reported = Literal["raw", "processed", "unknown"]


class Draw(Protocol):
    """Has the server draw an answer; returns the JSON of the reply."""

    def __call__(
        self, *, temperature: float, seed: int, count: int, top_k: int | None = None
    ) -> Awaitable[Any]:
        """`count`: how many of the likeliest tokens are wanted; `top_k`: from how many of them is
        drawn, None for all."""


class Steps(Protocol):
    """As `Draw`; returns the steps of the reply that list `least` tokens or more."""

    def __call__(
        self,
        count: int,
        least: int = 2,
        *,
        temperature: float,
        seed: int,
        top_k: int | None = None,
    ) -> Awaitable[list["Step"]]: ...


@dataclass(frozen=True)
class Exactness:
    """What a probe found. `reported`: whether log-probabilities are those before temperature
    (`raw`) or after it (`processed`), or whether that is `unknown`. `doubt`: why they may be of
    another distribution than the one that is sampled; None where nothing suggests it."""

    reported: Reported
    doubt: str | None

    @property
    def as_json(self) -> str:
        return json.dumps({"told": self.reported, "doubt": self.doubt}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Exactness":
        given = json.loads(text)
        return cls(given["told"], given["doubt"])

    def kind(self, temperature: float | None, top_p: float | None, *, scored: bool) -> str:
        """Of log-probabilities at these settings: `sampling` or `raw`. Those of given texts
        (`scored`) are before temperature whatever the sampled ones are."""
        if self.doubt is not None or top_p != 1 or not temperature:
            return "raw"
        after = self.reported == "processed" and not scored
        return "sampling" if temperature == 1 or after else "raw"

    @property
    def words(self) -> str:
        """What it means, in a few words."""
        if self.doubt is not None:
            return f"its log-probabilities count as raw: {self.doubt}"
        if self.reported == "processed":
            return "its log-probabilities are those it samples by, at any temperature"
        return "its log-probabilities are those it samples by, at temperature 1 and top_p 1"


@dataclass(frozen=True)
class Step:
    """One token: its log-probability, and those of the likeliest at its place, falling. `repeat`:
    whether the answer has it already, and the chance of a token, of the likeliest, that it has."""

    token: str
    logp: float
    top: tuple[float, ...]
    repeat: tuple[bool, float]

    @property
    def is_top(self) -> bool:
        return self.logp >= self.top[0] - SAME

    @property
    def is_listed(self) -> bool:
        """Whether it is among the likeliest."""
        return self.logp >= self.top[-1] - SAME

    def odds(self, power: float) -> tuple[list[float], float, float]:
        """Shares of the listed tokens, which come to 1, at probabilities to the power; the sum
        before that; and what the tokens that are not listed have at least, on the same scale."""
        weights = [math.exp(power * logp) for logp in self.top]
        mass = max(1 - sum(map(math.exp, self.top)), 0.0)
        least = math.exp(self.top[-1])
        # The sum of p**power over tokens of p <= least and mass in all is lowest (power < 1) where
        # as few of them as can be hold it.
        rest = mass * least ** (power - 1)
        total = sum(weights)
        return [weight / total for weight in weights], total, rest


async def find_exactness(draw: Draw) -> tuple[Exactness, list[Any]]:
    """What the server's draws show, and the JSON of all its replies."""
    bodies: list[Any] = []

    async def steps(
        count: int,
        least: int = 2,
        *,
        temperature: float,
        seed: int,
        top_k: int | None = None,
    ) -> list[Step]:
        body = await draw(temperature=temperature, seed=seed, count=count, top_k=top_k)
        bodies.append(body)
        return parse_steps(body, count, least)

    count, cold = await _cold(steps)
    if not cold:
        words = "it does not report the likeliest tokens, so nothing shows how it samples"
        return Exactness("unknown", words), bodies

    async def drawn(wanted: int, temperature: float) -> list[Step]:
        found: list[Step] = []
        for seed in range(DRAWS):
            found += await steps(count, temperature=temperature, seed=seed)
            if len(found) >= wanted:
                break
        return found

    warm = await drawn(WARM, 1.0)
    try:
        hot = await drawn(HOT, 2.0)
    except CallFailed as failed:
        if failed.again:
            raise
        hot = []
    reported = _reported(warm, hot)
    hot_power = 1.0 if reported == "processed" else 0.5
    doubt = _cold_doubt(cold) or _warm_doubt(warm, cold) or _hot_doubt(hot, hot_power)
    if doubt is None and not _is_whole(warm, hot, count):
        free, power = (hot, hot_power) if hot else (warm, 1.0)
        due = PROOF / max(_surprise(free, power), 0.01)
        only: list[Step] = []
        for seed in range(DRAWS):
            try:
                free_at = 2.0 if hot else 1.0
                only += await steps(count, least=1, temperature=free_at, seed=seed, top_k=1)
            except CallFailed as failed:
                if failed.again:
                    raise
                break
            if len(only) >= due or not all(step.is_top for step in only):
                break
        if len(only) < due or not all(step.is_top for step in only):
            doubt = (
                "it cannot be shown that it draws from all tokens: it ignores top_k, and may apply "
                "one of its own"
            )
    return Exactness(reported, doubt), bodies


async def _cold(steps: Steps) -> tuple[int, list[Step]]:
    """How many of the likeliest tokens the server reports, and its steps at temperature 0."""
    for count in TOP_COUNTS:
        try:
            return count, await steps(count, temperature=0.0, seed=0)
        except CallFailed as failed:
            if failed.again or count == TOP_COUNTS[-1]:
                raise
    raise AssertionError


def parse_steps(body: Any, count: int, least: int = 2) -> list[Step]:
    """The steps of a reply's JSON, chat or completion, as far as `least` of the likeliest tokens
    are listed."""
    given = mapping(first_choice(body).get("logprobs"))
    rows = given.get("content")
    if isinstance(rows, list):
        names = ("token", "logprob", "top_logprobs")
        found = [tuple(map(mapping(row).get, names)) for row in rows]
    else:
        lists = [given.get(name) for name in ("tokens", "token_logprobs", "top_logprobs")]
        if not all(isinstance(values, list) for values in lists):
            return []
        found = list(zip(*lists, strict=False))
    steps: list[Step] = []
    seen: set[str] = set()
    for token, logp, top in found:
        if isinstance(top, Mapping):
            pairs = list(top.items())
        elif isinstance(top, list):
            pairs = [(mapping(e).get("token"), mapping(e).get("logprob")) for e in top]
        else:
            continue
        pairs = [(name, p) for name, p in pairs if _is_number(p) and p > VERY_UNLIKELY]
        # Where the drawn one is none of the likeliest, servers list it beside them, or in the place
        # of the last, as vLLM does: all but one are the likeliest whatever was drawn.
        pairs = sorted(pairs, key=lambda pair: -pair[1])[: count - 1]
        if len(pairs) < least or not _is_number(logp) or not isinstance(token, str):
            continue
        values = tuple(p for _, p in pairs)
        again = min(sum(math.exp(p) for name, p in pairs if name in seen), 1.0)
        is_listed = logp >= values[-1] - SAME
        steps.append(Step(token, logp, values, (is_listed and token in seen, again)))
        seen.add(token)
    return steps


def _reported(warm: list[Step], hot: list[Step]) -> Reported:
    """Whether the first step's log-probabilities change with temperature."""
    if not warm or not hot:
        return "unknown"
    gaps = [[step.top[0] - value for value in step.top[1:5]] for step in (warm[0], hot[0])]
    if (size := sum(gaps[0])) < SAME:
        return "unknown"
    ratio = sum(gaps[1]) / size
    return "raw" if abs(ratio - 1) < 0.05 else "processed" if abs(ratio - 0.5) < 0.05 else "unknown"


def _cold_doubt(cold: list[Step]) -> str | None:
    passed = sum(not step.is_top for step in cold)
    if passed:
        return (
            f"at temperature 0 it skips its likeliest token {passed} times in {len(cold)}: a "
            "penalty on repetition, or another bias, is at work"
        )
    return None


def _warm_doubt(warm: list[Step], cold: list[Step]) -> str | None:
    if len(warm) < LEAST_DRAWN:
        found = counted(len(warm), "token")
        return f"its answers to the probe are too short to show how it samples: {found}"
    chances = [(step.is_top, math.exp(step.top[0])) for step in warm]
    rest = [(not step.is_listed, step.odds(1.0)[2]) for step in warm]
    again = [step.repeat for step in warm]
    for rows, what in (
        (chances, "its likeliest token"),
        (rest, "a token beyond the likeliest"),
        (again, "a token that it has given before"),
    ):
        if abs(_score(rows)) > SURE:
            came, due = sum(hit for hit, _ in rows), sum(chance for _, chance in rows)
            return (
                f"at temperature 1 it draws {what} {came} times in {len(rows)}, where its "
                f"log-probabilities say {due:.0f}"
            )
    repeated = len(cold) - len({step.token for step in cold})
    shown = len(cold) >= LEAST_STEPS and repeated >= LEAST_REPEATS
    if not shown and sum(chance for _, chance in again) < LEAST_DUE:
        return "it repeats too little in the probe to show whether it penalises that"
    return None


def _hot_doubt(hot: list[Step], power: float) -> str | None:
    """Steps at temperature 2, whose listed probabilities are drawn at this power of theirs."""
    ranks, rest = [], []
    for step in hot:
        shares, total, beyond = step.odds(power)
        rest.append((not step.is_listed, beyond / (total + beyond)))
        if step.is_listed:
            ranks.append((step.is_top, shares[0]))
    if abs(_score(ranks)) > SURE or _score(rest) < -SURE:
        return "at temperature 2 it draws unlikely tokens less often than it should: they are cut"
    return None


def _is_whole(warm: list[Step], hot: list[Step], count: int) -> bool:
    """Whether what was drawn shows that all tokens are drawn from."""
    if warm and sum(step.odds(1.0)[2] for step in warm) / len(warm) < NEGLIGIBLE:
        return len(hot) >= LEAST_DRAWN
    beyond = sum(not step.is_listed for step in hot) / max(len(hot), 1)
    return len(hot) >= LEAST_DRAWN and count >= LEAST_KEPT * (1 - beyond)


def _surprise(steps: list[Step], power: float) -> float:
    """Of the likeliest token, drawn where any may be: nats a step, on average."""
    odds = [step.odds(power) for step in steps]
    chances = [shares[0] * total / (total + beyond) for shares, total, beyond in odds]
    return -sum(math.log(chance) for chance in chances) / len(chances)


def _score(rows: list[tuple[bool, float]]) -> float:
    """How far the hits are from their chances, in standard errors, of which one hit is the least
    that counts."""
    gap = sum(hit - chance for hit, chance in rows)
    spread = math.sqrt(sum(chance * (1 - chance) for _, chance in rows))
    return gap / max(spread, 1.0) if rows else 0.0


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def exactness_reply(found: Exactness, bodies: list[Any]) -> Reply:
    """The reply to a probe: what it found, and the tokens that it took."""
    usage = [mapping(mapping(body).get("usage")) for body in bodies]

    def spent(name: str) -> int:
        return sum(u[name] for u in usage if isinstance(u.get(name), int))

    return Reply(
        text=found.as_json,
        finish_reason="stop",
        model=mapping(bodies[0]).get("model") if bodies else None,
        prompt_tokens=spent("prompt_tokens"),
        completion_tokens=spent("completion_tokens"),
    )
