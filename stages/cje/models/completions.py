"""Replies of OpenAI-compatible APIs: JSON in, replies out."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal

from cje.data.endings import finish_reason, is_end
from cje.data.schemas import VERY_UNLIKELY
from cje.models.requests import CallFailed, Reply, Request, billed
from cje.models.thought import NOT_SEPARABLE, answer_tokens, split_thought
from cje.vocabulary import counted

ROUNDING = 1e-3  # what a log-probability may be above 0 by rounding
OTHER_TOKENS = "the server's tokens do not spell the answer: no log-probabilities are taken"
END_TOKEN = re.compile(r"(<[^<>]*>|\[[^\[\]]*\])*")  # or several, as servers write them
CUT_OFF = (
    "the server reports log-probabilities of the most likely tokens alone, and one of the answer's "
    f"is not among them ({VERY_UNLIKELY:g} in its place)"
)
MISSED = 2  # replies without log-probabilities after which a model is taken to give none

Kind = Literal["sampling", "raw"]


def logprob_kind(request: Request) -> Kind:
    """Of log-probabilities that a model gives before temperature and top_p; None is 1."""
    plain = request.temperature in (None, 1) and request.top_p in (None, 1)
    return "sampling" if plain else "raw"


def chat_reply(body: Any, kind: Kind | None = None, *, logprobs: bool = True) -> Reply:
    """The reply in the JSON of a chat completion; raises CallFailed where it is not usable.

    `kind` is that of its log-probabilities, None where nobody has stated it; they are left aside
    unless `logprobs` are wanted. They are None in the reply where the body has no usable ones, and
    its `note` says why.
    """
    choice = first_choice(body)
    message = choice.get("message")
    if not isinstance(message, Mapping):
        raise CallFailed("the reply has no message", again=True)
    text, thought = _parts(message.get("content"))
    for name in ("reasoning_content", "reasoning"):
        thought = thought or _text(message.get(name))
    refusal, called = _text(message.get("refusal")), bool(message.get("tool_calls"))
    return made_reply(
        body, choice, text, kind,
        refusal=refusal, thought=thought, called=called, logprobs=logprobs,
    )  # fmt: skip


def text_reply(body: Any, kind: Kind | None = None) -> Reply:
    """The same for a completion of a prompt given as text."""
    choice = first_choice(body)
    return made_reply(body, choice, _parts(choice.get("text"))[0], kind)


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
    text: str | None,
    kind: Kind | None,
    *,
    refusal: str | None = None,
    thought: str | None = None,
    called: bool = False,
    logprobs: bool = True,
) -> Reply:
    """The reply of one choice, its parts checked. `thought` is what the server kept apart from the
    text, `called` whether the model called a tool."""
    said = choice.get("finish_reason")
    reason = "refusal" if refusal else "tool_call" if called else finish_reason(said)
    if reason is None and not (text and is_end(said)):
        raise CallFailed(f"the reply ended for an unknown reason, {str(said)[:40]!r}", again=True)
    text, marked = split_thought(text or "")
    thought = "\n".join(part for part in (thought, marked) if part) or None
    if text.strip() == "":
        text = refusal
    usage = mapping(body.get("usage"))
    reply = {
        "text": text,
        "finish_reason": reason,
        "finish_reason_given": said,
        "reasoning": thought,
        "model": body.get("model"),
        "prompt_tokens": usage.get("prompt_tokens"),
        "completion_tokens": _written(usage),
    }
    if text is not None and logprobs:
        details = mapping(usage.get("completion_tokens_details"))
        hidden = thought is not None or bool(details.get("reasoning_tokens"))
        reply |= _token_fields(choice, text, kind, hidden, reason)
    return Reply(**reply)


def _token_fields(
    choice: Mapping[str, Any],
    text: str,
    kind: Kind | None,
    thought: bool,
    reason: str | None,
) -> dict[str, Any]:
    """The answer's tokens, their numbers and log-probabilities; or a note why there are none.

    After a thought, log-probabilities are those of the answer given that thought, which is not the
    answer's propensity: they are `raw`.
    """
    tokens, values = _logprob_lists(choice)
    if not _are_strings(tokens) or not isinstance(values, list):
        return {}
    ids = _token_ids(choice, len(tokens), reason)
    if thought:
        own = answer_tokens(tokens, text)
        if own is None or len(values) != len(tokens):
            return {"note": NOT_SEPARABLE}
        tokens, values, ids, kind = tokens[own], values[own], ids and ids[own], "raw"
    elif not _may_spell(tokens, text):
        return {"note": OTHER_TOKENS}
    reply: dict[str, Any] = {"tokens": tokens, "token_ids": ids}
    try:
        logprobs = checked_logprobs(values, len(tokens))
    except CallFailed as failed:
        return reply | {"note": failed.reason}
    if VERY_UNLIKELY in logprobs:
        return reply | {"note": CUT_OFF}
    return reply | {"token_logprobs": logprobs, "logprob_kind": kind}


def checked_logprobs(values: Sequence[Any], count: int) -> list[float]:
    """`count` log-probabilities: numbers up to 0, what rounding put above it set to 0, what is
    at or below `VERY_UNLIKELY` set to it. Raises CallFailed for anything else."""
    if len(values) != count:
        raise CallFailed(
            f"the server gives {counted(len(values), 'log-probability', 'log-probabilities')} for "
            f"{counted(count, 'token')}"
        )
    if any(v is None or v != v for v in values):
        raise CallFailed("the server reports no log-probability of some token of the answer (null)")
    if not all(isinstance(v, int | float) and v <= ROUNDING for v in values):
        raise CallFailed(
            "the server's log-probabilities are invalid: numbers above 0, or not numbers"
        )
    return [max(min(float(v), 0.0), VERY_UNLIKELY) for v in values]


def support_logprobs(values: Sequence[Any], count: int) -> list[float]:
    """The same for a given text, where the model's least value means outside its support: -inf."""
    checked = checked_logprobs(values, count)
    return [-math.inf if value == VERY_UNLIKELY else value for value in checked]


def billed_reply(body: Any) -> AbstractContextManager[None]:
    """A CallFailed raised inside is marked as billed, with the tokens that the JSON of the reply
    reports."""
    usage = mapping(mapping(body).get("usage"))
    return billed(usage.get("prompt_tokens"), _written(usage))


class LogprobsSeen:
    """Which models give log-probabilities, learnt from their replies; `notes` says what was learnt.

    A reply without them keeps its answer. A model whose first replies have none is taken to give
    none.
    """

    def __init__(self, notes: list[str]):
        self.notes = notes
        self._give: set[str] = set()
        self._missed: Counter[str] = Counter()
        self._none: set[str] = set()

    def gives_none(self, model: str) -> bool:
        """Whether the model is known to give none."""
        return model in self._none

    def gives_some(self, model: str) -> bool:
        """Whether a reply had them."""
        return model in self._give

    def refused(self, model: str) -> None:
        """The model does not take the parameter."""
        self._take_none(model, "refuses to give")

    def see(self, model: str, reply: Reply) -> None:
        """Take note of what the reply has."""
        if reply.text is None or reply.finish_reason == "refusal" or reply.note:
            return
        if reply.tokens:
            self._give.add(model)
        elif model not in self._give:
            self._missed[model] += 1
            if self._missed[model] >= MISSED:
                self._take_none(model, "does not give")

    def _take_none(self, model: str, verb: str) -> None:
        if model not in self._none:
            self._none.add(model)
            self.notes.append(f"{model} {verb} log-probabilities: its answers have none")


def _written(usage: Mapping[str, Any]) -> Any:
    """Completion tokens, thoughts among them: Gemini counts those in the total alone."""
    counts: list[Any] = [usage.get(f"{n}_tokens") for n in ("prompt", "completion", "total")]
    prompt, completion, total = counts
    if all(type(count) is int for count in counts) and prompt >= 0:
        return max(completion, total - prompt)
    return completion


def mapping(value: Any) -> Mapping[str, Any]:
    """The value where it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def _parts(content: Any) -> tuple[str | None, str | None]:
    """Text and thought of a message's content: text, or a list of blocks. Raises CallFailed, to be
    asked again, for anything else."""
    if content is None or isinstance(content, str):
        return content, None
    if not isinstance(content, list):
        raise CallFailed("the reply's content is not text", again=True)
    found: dict[str, list[str]] = {"text": [], "thinking": []}
    for block in filter(lambda part: isinstance(part, Mapping), content):
        kind = "thinking" if "thinking" in block else "text"
        value = block.get(kind)
        value = _parts(value)[0] if isinstance(value, list) else value
        found[kind] += [value] if isinstance(value, str) else []
    return "".join(found["text"]) or None, "".join(found["thinking"]) or None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _logprob_lists(choice: Mapping[str, Any]) -> tuple[Any, Any]:
    """Tokens and log-probabilities as the server has them, in the chat form or the other."""
    given = choice.get("logprobs")
    if not isinstance(given, Mapping):
        return None, None
    rows = given.get("content")
    if isinstance(rows, list) and all(isinstance(row, Mapping) for row in rows):
        return [row.get("token") for row in rows], [row.get("logprob") for row in rows]
    return given.get("tokens"), given.get("token_logprobs")


def _may_spell(tokens: list[str], text: str) -> bool:
    """Whether the tokens may be those of the text, apart from white space and an end token after
    them. How servers write what is not ASCII, or half a character, differs too much to compare."""
    spelt, wanted = ("".join(part.split()) for part in ("".join(tokens), text))
    if not (spelt.isascii() and wanted.isascii()) or "\\x" in spelt:
        return True
    return spelt.startswith(wanted) and END_TOKEN.fullmatch(spelt, len(wanted)) is not None


def _are_strings(tokens: Any) -> bool:
    return isinstance(tokens, list) and all(isinstance(token, str) for token in tokens)


def _token_ids(choice: Mapping[str, Any], count: int, reason: str | None) -> list[int] | None:
    """The numbers of the tokens, where the server reports them (vLLM's `token_ids`); the end token
    is among them even where it has no log-probability."""
    ids = choice.get("token_ids")
    if not isinstance(ids, list) or not all(isinstance(i, int) for i in ids):
        return None
    if len(ids) == count + 1 and reason == "stop":
        ids = ids[:-1]
    return ids if len(ids) == count else None
