"""Requests and replies: what is asked of a model, in full, and what comes back.

A request is everything that a reply depends on, so its key, a hash of its canonical JSON, names the
reply wherever it is kept. What it does not hold (retries, time-outs, limits, keys, the route that
the environment sets) cannot change what is asked.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

Kind = Literal["answer", "judgement", "score"]
FORMAT = 1  # of the canonical request; another format is another key


@dataclass(frozen=True, slots=True)
class Request:
    """One question to one model.

    kind: `answer` samples a text, `judgement` asks for a structured verdict, `score` for the
    log-probabilities of a given text. model: provider/name. messages: (role, content), system
    first. None leaves a setting out of the call. `uid`, `seed` and `draw` name the random draw of
    an answer. `schema` is the JSON schema of a judgement. `answer`, `tokens`, `token_ids` and
    `ended` (whether its end token counts) are the text to score. `attempt` tells a judgement that
    is asked again from the first. `options` are what only one provider knows, as sorted pairs.
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
        given = {name: v for name in ASKED_FIELDS if (v := getattr(self, name)) is not None}
        return _json({"format": FORMAT, **given})

    @property
    def key(self) -> str:
        """32 hex digits: the 16-byte blake2b of the canonical request."""
        if self._key is None:
            object.__setattr__(self, "_key", request_key(self.canonical))
        return self._key

    @classmethod
    def from_json(cls, text: str) -> "Request":
        """The request of a canonical JSON."""
        given = json.loads(text)
        del given["format"]
        return cls(**{name: _tuples(value) for name, value in given.items()})

    def again(self) -> "Request":
        """The same judgement, asked once more."""
        return replace(self, attempt=(self.attempt or 0) + 1)


ASKED_FIELDS = tuple(f.name for f in fields(Request) if f.init)


class Requests(Sequence):
    """`count` requests, each made from its place by `make` when it is wanted, and never held: many
    of them take no memory."""

    def __init__(self, count: int, make: Callable[[int], Request]):
        self.count, self.make = count, make

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, place: int) -> Request:
        if not 0 <= place < self.count:
            raise IndexError(place)
        return self.make(place)


@dataclass(frozen=True)
class Reply:
    """What a model gave back.

    `text` is None where it gave none. Lists run over the answer's tokens: strings, the provider's
    own numbers (where it tells them), log-probabilities of kind `logprob_kind`. For a `score`,
    `token_logprobs` are those of the given text and may be -inf. `model` is the one that served.
    """

    text: str | None = None
    finish_reason: Literal["stop", "length", "refusal"] | None = None
    tokens: list[str] | None = None
    token_ids: list[int] | None = None
    token_logprobs: list[float] | None = None
    logprob_kind: Literal["sampling", "raw"] | None = None
    model: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    def __post_init__(self) -> None:
        # JSON can spell half a surrogate pair, which no file of text can hold.
        if self.text is not None and not self.text.isascii():
            object.__setattr__(self, "text", _whole(self.text))
        if self.tokens is not None:
            object.__setattr__(self, "tokens", [_whole(token) for token in self.tokens])

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
        """The reply that `as_json` wrote; raises ValueError or TypeError for another text."""
        fields = json.loads(text)
        if fields.get("token_logprobs") is not None:
            fields["token_logprobs"] = [float(v) for v in fields["token_logprobs"]]
        return cls(**fields)


class CallFailed(Exception):
    """A call gave no usable reply. `again`: asking anew may help; `fatal`: no other call of this
    model would fare better (a wrong key, an unknown model, a setting that it refuses);
    `retried`: the SDK has tried it several times already."""

    def __init__(
        self, reason: str, *, again: bool = False, fatal: bool = False, retried: bool = False
    ):
        super().__init__(reason)
        self.reason, self.again, self.fatal, self.retried = reason, again, fatal, retried


def request_key(canonical: str) -> str:
    """The key of a canonical request."""
    return hashlib.blake2b(canonical.encode("utf-8"), digest_size=16).hexdigest()


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _whole(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _json(value: Any) -> str:
    return json.dumps(
        value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
    )
