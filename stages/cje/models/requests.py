"""Requests and replies: all that is asked of a model, and what comes back.

A request is everything that a reply depends on, so its key, a hash of its canonical JSON, names the
reply wherever it is kept. What it does not hold (retries, time-outs, limits, keys, the route that
the environment sets) cannot change what is asked.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from numbers import Integral
from typing import Any, Literal, TypeVar, overload

from cje.data.schemas import LOGP_ROUNDING, LOGPROB_KINDS
from cje.vocabulary import FINISH_REASONS, FinishReason

T = TypeVar("T")
Kind = Literal["answer", "judgement", "score"]
FORMAT = 1  # of the canonical request; another format is another key


@dataclass(frozen=True, slots=True)
class Request:
    """One question to one model.

    kind: `answer` samples a text, `judgement` asks for a structured verdict, `score` for the
    log-probabilities of a given text. model: provider/name. messages: (role, content), system
    first. None leaves a setting out of the call. `uid`, `seed` and `draw` name the random draw of
    an answer. `schema` is the JSON schema of a judgement. `answer`, `tokens`, `token_ids` and
    `ended` (whether its end token counts) are the text to score. `attempt` counts the repetitions
    of a judgement or an empty answer, None for the first. `options` are settings that only one
    provider knows, as sorted pairs.
    """

    kind: Kind
    model: str
    messages: tuple[tuple[str, str], ...]
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    base_url: str | None = None
    uid: str | None = None
    seed: int | None = None
    draw: int | None = None
    schema: str | None = None
    answer: str | None = None
    tokens: tuple[str, ...] | None = None
    token_ids: tuple[int, ...] | None = None
    ended: bool | None = None
    attempt: int | None = None
    options: tuple[tuple[str, str], ...] | None = None
    _key: str | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def canonical(self) -> str:
        """The request as JSON: keys sorted, what is None left out."""
        given = {name: v for name in REQUEST_FIELDS if (v := getattr(self, name)) is not None}
        return _json({"format": FORMAT, **given})

    @property
    def key(self) -> str:
        """32 hex digits: the 16-byte blake2b of the canonical request."""
        key = self._key
        if key is None:
            key = request_key(self.canonical)
            object.__setattr__(self, "_key", key)
        return key

    @classmethod
    def from_json(cls, text: str) -> "Request":
        """The request of a canonical JSON."""
        given = json.loads(text)
        del given["format"]
        return cls(**{name: _tuples(value) for name, value in given.items()})

    def again(self) -> "Request":
        """The same request, asked once more."""
        return replace(self, attempt=(self.attempt or 0) + 1)

    def option(self, name: str) -> str | None:
        """The value of an option; None where it has none of that name."""
        return dict(self.options or ()).get(name)

    def with_options(self, **more: str) -> "Request":
        """The request with these options beside its own."""
        return replace(self, options=tuple(sorted({**dict(self.options or ()), **more}.items())))

    @property
    def extra_body(self) -> dict[str, Any]:
        """What the settings add to the body of the call."""
        body: dict[str, Any] = json.loads(self.option("extra_body") or "{}")
        return body


def required(value: T | None) -> T:
    """A field that every request of its kind has: the `max_tokens` of an answer, the `schema` of a
    judgement, the `answer` of a score. Raises ValueError where it is None."""
    if value is None:
        raise ValueError("the request lacks a field that one of its kind has")
    return value


REQUEST_FIELDS = tuple(f.name for f in fields(Request) if f.init)


class Requests(Sequence[Request]):
    """`count` requests, each made from its place by `make` when it is wanted, and never held: many
    of them take no memory."""

    def __init__(self, count: int, make: Callable[[int], Request]):
        self._count, self._make = count, make

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> Request: ...
    @overload
    def __getitem__(self, place: slice) -> "Requests": ...
    def __getitem__(self, place: int | slice) -> "Request | Requests":
        if isinstance(place, slice):
            places = range(self._count)[place]
            return Requests(len(places), lambda row: self._make(places[row]))
        if not 0 <= place < self._count:
            raise IndexError(place)
        return self._make(place)


@dataclass(frozen=True)
class Reply:
    """What a model gave back.

    `text` is None where there is none: the model refused, called a tool, spent `max_tokens` on
    thought, or said nothing. `reasoning` is what it thought before the answer. Lists run over the
    answer's tokens: their strings, the provider's numbers for them (where it reports them), and
    log-probabilities of kind `logprob_kind` (None where nobody has stated it). For a `score`,
    `token_logprobs` are those of the given text and may be -inf. `model` is the one that answered.
    `finish_reason_given` is the provider's own word for how the reply ended. `note` says what the
    reply lacks and why.

    A reply contains only what tables can: a fact of another form, such as a usage of -1, counts as
    not given. Raises ValueError for a `text` that is not text and for an unknown `finish_reason`.
    """

    text: str | None = None
    finish_reason: FinishReason | None = None
    tokens: list[str] | None = None
    token_ids: list[int] | None = None
    token_logprobs: list[float] | None = None
    logprob_kind: Literal["sampling", "raw"] | None = None
    model: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning: str | None = None
    finish_reason_given: str | None = None
    note: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.text, str | None):
            raise ValueError(f"text: {type(self.text).__name__} is not text")
        if self.finish_reason not in (None, *FINISH_REASONS):
            raise ValueError(f"finish_reason: {self.finish_reason!r:.60} is not known")
        for name in ("text", "model", "reasoning", "finish_reason_given", "note"):
            self._set(name, _text(getattr(self, name)))
        for name in ("prompt_tokens", "completion_tokens"):
            self._set(name, _count(getattr(self, name)))
        self._set("tokens", _strings(self.tokens))
        self._set("token_ids", _numbers(self.token_ids))
        self._set("token_logprobs", _logprobs(self.token_logprobs))
        if self.logprob_kind not in LOGPROB_KINDS:
            self._set("logprob_kind", None)

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    @property
    def is_empty(self) -> bool:
        """Whether the model ended by itself and had said nothing."""
        return self.text is None and self.finish_reason == "stop"

    @property
    def as_json(self) -> str:
        """The reply as JSON; -inf is "-inf", what is None is left out."""
        fields: dict[str, Any] = {k: v for k, v in vars(self).items() if v is not None}
        if self.token_logprobs is not None:
            fields["token_logprobs"] = [
                "-inf" if v == float("-inf") else v for v in self.token_logprobs
            ]
        return _json(fields)

    @classmethod
    def from_json(cls, text: str) -> "Reply":
        """The reply that `as_json` wrote; raises ValueError, in words, for another text."""
        try:
            given = json.loads(text)
        except RecursionError:
            raise ValueError("nested too deep") from None
        if not isinstance(given, dict):
            raise ValueError("no JSON object")
        if unknown := sorted(given.keys() - REPLY_FIELDS):
            raise ValueError(f"unknown field {', '.join(unknown)!r:.60}")
        logprobs = given.get("token_logprobs")
        if isinstance(logprobs, list):
            given["token_logprobs"] = [-math.inf if v == "-inf" else v for v in logprobs]
        return cls(**given)


REPLY_FIELDS = frozenset(f.name for f in fields(Reply))


class CallFailed(Exception):
    """A call gave no usable reply.

    again: asking again may help. fatal: no other call of this model would succeed either (a wrong
    key, an unknown model, a setting that it refuses). doubtful: it may be fatal, or concern this
    one prompt; several in a row from a model that has not answered yet are fatal. retried: the SDK
    has tried several times already. billed: there was a reply, or may have been one, which was paid
    for, with `prompt_tokens` and `completion_tokens` where they are known.
    """

    doubtful = False

    def __init__(
        self,
        reason: str,
        *,
        again: bool = False,
        fatal: bool = False,
        retried: bool = False,
        billed: bool = False,
    ):
        reason = _whole(reason)
        super().__init__(reason)
        self.reason, self.again, self.fatal, self.retried = reason, again, fatal, retried
        self.billed = billed
        self.prompt_tokens: int | None = None
        self.completion_tokens: int | None = None


Outcome = Reply | CallFailed


@contextmanager
def billed(prompt_tokens: Any, completion_tokens: Any) -> Iterator[None]:
    """A CallFailed raised inside is marked as billed: it concerns a reply that came."""
    try:
        yield
    except CallFailed as failed:
        failed.billed = True
        if _is_count(prompt_tokens) and _is_count(completion_tokens):
            failed.prompt_tokens, failed.completion_tokens = prompt_tokens, completion_tokens
        raise


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def request_key(canonical: str) -> str:
    """The key of a canonical request."""
    return hashlib.blake2b(canonical.encode("utf-8"), digest_size=16).hexdigest()


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _whole(text: str) -> str:
    """The text with a mark in place of half a surrogate pair, which JSON can spell but UTF-8
    cannot."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _text(value: Any) -> str | None:
    return _whole(value) if isinstance(value, str) else None


def _count(value: Any) -> int | None:
    return int(value) if _is_whole(value) else None


def _strings(values: Any) -> list[str] | None:
    if not isinstance(values, list | tuple) or not all(isinstance(v, str) for v in values):
        return None
    return list(values) if "".join(values).isascii() else [_whole(v) for v in values]


def _numbers(values: Any) -> list[int] | None:
    whole = isinstance(values, list | tuple) and all(map(_is_whole, values))
    return [int(v) for v in values] if whole else None


def _logprobs(values: Any) -> list[float] | None:
    if not isinstance(values, list | tuple):
        return None
    real = all(isinstance(v, float | int) and v <= LOGP_ROUNDING for v in values)  # NaN is not
    try:
        return [float(v) for v in values] if real else None
    except OverflowError:
        return None


def _is_whole(value: Any) -> bool:
    """Whether it is a whole number that a column of 64 bits can hold, 0 or more."""
    whole = type(value) is int or (isinstance(value, Integral) and not isinstance(value, bool))
    return whole and 0 <= value < 2**63


def _json(value: Any) -> str:
    return json.dumps(
        value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
    )
