"""Teacher forcing over HTTP: log-probabilities of a given text, from servers of the OpenAI kind.

A way is "how, prompt": how the server reports them (`prompt_logprobs`, as vLLM does, or `echo` with
`logprobs`), and how the prompt is made the same as that of sampled answers: as token numbers from
the server's /tokenize, or as text of the policy's chat template. Which way works is found out by
trying: the model samples a short answer, which must get the log-probabilities that it was sampled
with when it is scored. Some servers return numbers of the right form that are shifted, or made up.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from cje.models.completions import first_choice, mapping, support_logprobs
from cje.models.requests import CallFailed, Reply, Request, required

PROBE_PROMPT = "Name a few things that one can see in a garden."
PROBE_TOKENS = 16
PROBES = 3  # answers sampled: not every sampled text is cut into the same tokens again
PROBE_GAP = 0.5  # nats a token, mean: quantised kernels differ by 0.1, a shifted text by several
WAYS = ("prompt_logprobs, tokenize", "echo, tokenize", "echo, template")
NONE = "none"
NOT_ALIGNED = "the server cuts prompt and answer into other tokens than the log has"
# What an echo may lack: special tokens, and in some servers whatever is half a character.
SPECIAL = re.compile(r"<\|[^|<>]*\|>|</?s>|<(?:bos|eos|start_of_turn|end_of_turn)>")
MAY_BE_MISSING = re.compile(SPECIAL.pattern + r"|[^\x00-\x7f]")


class NotAligned(CallFailed):
    """The server cuts the text otherwise: there is no log-probability of the log's tokens."""

    def __init__(self) -> None:
        super().__init__(NOT_ALIGNED)


Post = Callable[[str, dict[str, Any]], Awaitable[Any]]


async def find_way(
    request: Request, ask: Callable[[Request], Awaitable[Reply]], post: Post
) -> Reply:
    """The reply to a probe: its text is the first of `WAYS` that works, or "none".

    `ask` gets a sampled answer; `post` sends a body to a path and gives the reply's JSON.
    """
    sampled = []
    for draw in range(PROBES):
        answer = replace(
            request, kind="answer", temperature=1.0, top_p=1.0, max_tokens=PROBE_TOKENS,
            uid="probe", seed=0, draw=draw,
        )  # fmt: skip
        sampled.append(await ask(answer))
    found = NONE
    for way in WAYS if any(reply.token_logprobs for reply in sampled) else ():
        if way.endswith("template") and _prompt(request) is None:
            continue
        if await _works(request, way, sampled, post):
            found = way
            break
    return Reply(
        text=found,
        finish_reason="stop",
        model=sampled[0].model,
        prompt_tokens=sum(reply.prompt_tokens or 0 for reply in sampled),
        completion_tokens=sum(reply.completion_tokens or 0 for reply in sampled),
    )


async def _works(request: Request, way: str, sampled: list[Reply], post: Post) -> bool:
    """Whether sampled answers are given their own log-probabilities back."""
    gaps: list[float] = []
    for reply in sampled:
        if not reply.token_logprobs or reply.tokens is None:
            continue
        given = replace(
            request.with_options(scoring=way),
            answer=reply.text,
            tokens=tuple(reply.tokens),
            token_ids=None if reply.token_ids is None else tuple(reply.token_ids),
        )
        try:
            scored = await score(given, post)
        except CallFailed as failed:
            if failed.again:  # a fault of the moment says nothing of the server
                raise
            continue
        if scored.token_logprobs is None:
            continue
        pairs = zip(scored.token_logprobs, reply.token_logprobs, strict=True)
        gaps += [abs(a - b) for a, b in pairs]
    return bool(gaps) and sum(gaps) / len(gaps) <= PROBE_GAP


async def score(request: Request, post: Post) -> Reply:
    """The log-probabilities of the answer's tokens: None, and a note, where the server cuts the
    text into other tokens. Raises CallFailed where it reports no usable ones."""
    how, _, prompt = required(request.option("scoring")).partition(", ")
    if request.answer == "" and not request.tokens:
        return Reply(finish_reason="stop", token_logprobs=[])
    score = _score_text if prompt == "template" else _score_ids
    try:
        values, tokens, body = await score(request, how, post)
    except NotAligned as cut:
        return Reply(finish_reason="stop", note=cut.reason)
    usage = mapping(body.get("usage"))
    return Reply(
        finish_reason="stop",
        tokens=tokens,
        token_logprobs=values,
        model=body.get("model"),
        prompt_tokens=usage.get("prompt_tokens"),
        completion_tokens=usage.get("completion_tokens"),
    )


async def _score_ids(request: Request, how: str, post: Post) -> tuple[list[float], list[str], Any]:
    """Prompt and answer sent as the server's own token numbers."""
    text = _prompt(request)
    if text is None:
        turns = [{"role": role, "content": content} for role, content in request.messages]
        given: dict[str, Any] = {"messages": turns, "add_generation_prompt": True}
        if (effort := request.option("reasoning_effort")) is not None:
            given["chat_template_kwargs"] = {"enable_thinking": effort != "none"}
        before = await _tokenized(post, given)
    else:
        before = await _tokenized(post, {"prompt": text, "add_special_tokens": False})
    if request.token_ids is not None:
        own = list(request.token_ids)
    else:
        given = {"prompt": _text_to_score(request), "add_special_tokens": False}
        own = await _tokenized(post, given)
    count = len(before) + len(own)
    query = {"prompt": before + own, "max_tokens": 1, "temperature": 0}
    if how == "echo":
        body = await post("/completions", query | {"echo": True, "logprobs": 1})
        strings, values = _echoed(body)
        if len(values) - count not in range(_completed(body) + 1):
            raise CallFailed("the server echoes another number of tokens than it was sent")
        strings, values = strings[len(before) : count], values[len(before) : count]
    else:
        body = await post("/completions", query | {"prompt_logprobs": 1})
        rows = first_choice(body).get("prompt_logprobs")
        if not isinstance(rows, list) or len(rows) != count:
            raise CallFailed("the server gives no prompt_logprobs")
        try:
            entries = [rows[len(before) + i][str(token)] for i, token in enumerate(own)]
            strings = [row.get("decoded_token") for row in entries]
            values = [row["logprob"] for row in entries]
        except (KeyError, TypeError, AttributeError):
            raise CallFailed("the server's prompt_logprobs are of other tokens") from None
    _check_strings(request, strings)
    return support_logprobs(values, len(own)), strings, body


async def _score_text(request: Request, how: str, post: Post) -> tuple[list[float], list[str], Any]:
    """Prompt and answer sent as one text, which the server echoes token by token."""
    prompt, answer = required(_prompt(request)), _text_to_score(request)
    query = {"prompt": prompt + answer, "max_tokens": 1, "temperature": 0}
    query |= {"echo": True, "logprobs": 1, "add_special_tokens": False}
    body = await post("/completions", query)
    strings, values = _echoed(body)
    text, after = first_choice(body).get("text"), None
    if isinstance(text, str) and text.startswith(prompt + answer):
        after = text[len(prompt + answer) :]
    begin, end = _answer_span(request, strings, prompt, answer, after, _completed(body))
    return support_logprobs(values[begin:end], end - begin), strings[begin:end], body


def _answer_span(
    request: Request,
    strings: list[str],
    prompt: str,
    answer: str,
    after: str | None,
    completed: int,
) -> tuple[int, int]:
    """Where the answer's tokens begin and end among the echoed ones, of which the last, up to
    `completed`, spell `after`, what was sampled then. Raises CallFailed unless one place fits."""
    known = None if request.tokens is None else list(request.tokens)
    for missing in (SPECIAL,) if known is None else (SPECIAL, MAY_BE_MISSING):
        fits = []
        for end in range(max(len(strings) - completed, 0), len(strings) + 1):
            if after is not None and not _same(strings[end:], after, missing):
                continue
            for begin in range(end + 1) if known is None else [end - len(known)]:
                if (
                    begin > 0
                    and (known is None or strings[begin:end] == known)
                    and _same(strings[:begin], prompt, missing)
                    and _same(strings[begin:end], answer, missing)
                ):
                    fits.append((begin, end))
        if len(fits) == 1:
            return fits[0]
    raise NotAligned


def _check_strings(request: Request, strings: list[Any]) -> None:
    """Raise CallFailed unless the scored tokens are those of the log, or spell the answer. Where
    their numbers are the log's own, how each is spelt may differ a little."""
    aligned = all(isinstance(string, str) for string in strings)
    if aligned and request.tokens is None:
        aligned = "".join(strings) == request.answer
    elif aligned and request.token_ids is None:
        aligned = strings == list(request.tokens or ())
    elif aligned:
        aligned = [*map(_bare, strings)] == [*map(_bare, request.tokens or ())]
    if not aligned:
        raise NotAligned


def _text_to_score(request: Request) -> str:
    """The answer, and its end token where the log has it as the last of the tokens."""
    answer, tokens = required(request.answer), request.tokens or ()
    if tokens and "".join(tokens) != answer and "".join(tokens[:-1]) == answer:
        return answer + tokens[-1]
    return answer


def _echoed(body: Any) -> tuple[list[str], list[Any]]:
    """The echoed tokens and their log-probabilities (the first has none)."""
    given = first_choice(body).get("logprobs")
    prompts = body.get("prompt")  # Together lists the prompt's beside the answer's
    if isinstance(prompts, list) and prompts and isinstance(prompts[0], dict):
        given = prompts[0].get("logprobs") or given
    given = given if isinstance(given, dict) else {}
    strings, values = given.get("tokens"), given.get("token_logprobs")
    if not isinstance(strings, list) or not isinstance(values, list) or not strings:
        raise CallFailed("the server echoes no log-probabilities")
    if len(strings) != len(values) or not all(isinstance(s, str) for s in strings):
        raise CallFailed("the server's echo is not one log-probability a token")
    return strings, values


def _completed(body: Any) -> int:
    """How many tokens the server sampled after the text, at most."""
    count = mapping(body.get("usage")).get("completion_tokens")
    return count if isinstance(count, int) else 1


async def _tokenized(post: Post, body: dict[str, Any]) -> list[int]:
    reply = await post("/tokenize", body)
    ids = reply.get("tokens") if isinstance(reply, dict) else None
    if not isinstance(ids, list) or not ids or not all(isinstance(i, int) for i in ids):
        raise CallFailed("the server's /tokenize gives no token numbers")
    return ids


def _prompt(request: Request) -> str | None:
    return request.option("prompt")


def _same(strings: list[str], text: str, missing: re.Pattern[str]) -> bool:
    return missing.sub("", "".join(strings)) == missing.sub("", text)


def _bare(string: str) -> str:
    return MAY_BE_MISSING.sub("", string).strip()
