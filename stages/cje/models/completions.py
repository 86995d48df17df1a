"""Replies of the OpenAI kind, JSON in and replies out, for every server that speaks it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from cje.models.requests import CallFailed, Reply, Request
from cje.schemas import COMPLETION_ENDS, VERY_UNLIKELY

ROUNDING = 1e-3  # what a log-probability may be above 0 by rounding

Kind = Literal["sampling", "raw"]


def logprob_kind(request: Request) -> Kind:
    """Of log-probabilities that a model gives before temperature and top_p; None is 1."""
    plain = request.temperature in (None, 1) and request.top_p in (None, 1)
    return "sampling" if plain else "raw"


def chat_reply(body: Any, kind: Kind | None) -> Reply:
    """The reply in the JSON of a chat completion; raises CallFailed where it is of no use.

    `kind` is that of the log-probabilities, None where none are wanted. They are None in the reply
    where the body has none, or has `VERY_UNLIKELY` among them.
    """
    choice = first_choice(body)
    message = choice.get("message")
    if not isinstance(message, Mapping):
        raise CallFailed("the reply has no message", again=True)
    text, refusal = message.get("content"), message.get("refusal")
    return made_reply(body, choice, text, refusal, kind)


def text_reply(body: Any, kind: Kind | None) -> Reply:
    """The same of a completion on a prompt as text."""
    choice = first_choice(body)
    return made_reply(body, choice, choice.get("text"), None, kind)


def first_choice(body: Any) -> Mapping[str, Any]:
    """The first choice of a reply's JSON; raises CallFailed, to be asked again, without one."""
    choices = body.get("choices") if isinstance(body, Mapping) else None
    if not choices or not isinstance(choices, list) or not isinstance(choices[0], Mapping):
        error = body.get("error") if isinstance(body, Mapping) else None
        words = "the reply is an error" if error else "the reply has no choices"
        raise CallFailed(words, again=True)
    return choices[0]


def made_reply(
    body: Mapping[str, Any],
    choice: Mapping[str, Any],
    text: Any,
    refusal: Any,
    kind: Kind | None,
) -> Reply:
    """The reply of one choice, its parts checked."""
    said = choice.get("finish_reason")
    reason = "refusal" if refusal else COMPLETION_ENDS.get(said)
    if reason is None:
        raise CallFailed(f"the reply ended for an unknown reason, {str(said)[:40]!r}", again=True)
    if text is None:
        text = refusal if refusal else "" if reason == "length" else None
    if (text is not None and not isinstance(text, str)) or (text is None and reason != "refusal"):
        raise CallFailed("the reply has no text", again=True)
    usage = body.get("usage") or {}
    reply = {
        "text": text,
        "finish_reason": reason,
        "model": body.get("model"),
        "prompt_tokens": usage.get("prompt_tokens"),
        "completion_tokens": usage.get("completion_tokens"),
    }
    tokens, values = _told(choice)
    if text == "" and values is None:
        tokens, values = [], []
    if kind is not None and _are_strings(tokens) and isinstance(values, list):
        reply |= {"tokens": tokens, "token_ids": _token_ids(choice, len(tokens), reason)}
        logprobs = checked_logprobs(values, len(tokens))
        if VERY_UNLIKELY not in logprobs:
            reply |= {"token_logprobs": logprobs, "logprob_kind": kind}
    return Reply(**reply)


def checked_logprobs(values: Sequence[Any], count: int) -> list[float]:
    """`count` log-probabilities: numbers up to 0, what rounding put above it set to 0, what is
    at or below `VERY_UNLIKELY` set to it. Raises CallFailed for anything else."""
    if len(values) != count:
        raise CallFailed(f"the reply has {len(values)} log-probabilities for {count} tokens")
    if not all(isinstance(v, int | float) and v <= ROUNDING for v in values):  # NaN compares false
        raise CallFailed("the reply's log-probabilities are none")
    return [max(min(float(v), 0.0), VERY_UNLIKELY) for v in values]


def support_logprobs(values: Sequence[Any], count: int) -> list[float]:
    """The same of a given text, where the model's least value means outside its support: -inf."""
    checked = checked_logprobs(values, count)
    return [-math.inf if value == VERY_UNLIKELY else value for value in checked]


class LogprobsSeen:
    """Which models give log-probabilities, learnt from their replies; `notes` gets what was.

    A model that gave some always does: a reply without is a fault. One whose first two replies
    have none is taken to give none.
    """

    def __init__(self, notes: list[str]):
        self.notes = notes
        self._give: set[str] = set()
        self._missed: set[str] = set()
        self._none: set[str] = set()

    def gives_none(self, model: str) -> bool:
        """Whether replies without are taken as they are."""
        return model in self._none

    def refused(self, model: str) -> None:
        """The model does not take the parameter."""
        self._take_none(model, "refuses to give")

    def see(self, model: str, reply: Reply) -> None:
        """Raise CallFailed, to be asked again, where the reply should have log-probabilities."""
        if reply.tokens:
            self._give.add(model)
        elif reply.tokens is None and reply.finish_reason != "refusal":
            if model in self._missed and model not in self._give:
                self._take_none(model, "does not give")
            if model not in self._none:
                self._missed.add(model)
                raise CallFailed("the reply has no log-probabilities", again=True)

    def _take_none(self, model: str, verb: str) -> None:
        if model not in self._none:
            self._none.add(model)
            self.notes.append(f"{model} {verb} log-probabilities: its answers have none")


def _told(choice: Mapping[str, Any]) -> tuple[Any, Any]:
    """Tokens and log-probabilities as the server has them, in the chat form or the other."""
    given = choice.get("logprobs")
    if not isinstance(given, Mapping):
        return None, None
    rows = given.get("content")
    if isinstance(rows, list) and all(isinstance(row, Mapping) for row in rows):
        return [row.get("token") for row in rows], [row.get("logprob") for row in rows]
    return given.get("tokens"), given.get("token_logprobs")


def _are_strings(tokens: Any) -> bool:
    return isinstance(tokens, list) and all(isinstance(token, str) for token in tokens)


def _token_ids(choice: Mapping[str, Any], count: int, reason: str) -> list[int] | None:
    """The numbers of the tokens, where the server tells them (vLLM's `token_ids`); the end token
    is among them even where it has no log-probability."""
    ids = choice.get("token_ids")
    if not isinstance(ids, list) or not all(isinstance(i, int) for i in ids):
        return None
    if len(ids) == count + 1 and reason == "stop":
        ids = ids[:-1]
    return ids if len(ids) == count else None
