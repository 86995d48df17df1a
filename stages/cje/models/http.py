"""What the providers over HTTP share: a deadline for each attempt, SDK errors in words, no keys.

The OpenAI and the Anthropic SDK retry what a network or a busy server does, and name their errors
alike; nothing here imports either.
"""

import asyncio
import json
import os
import re
from collections.abc import Awaitable, Iterable
from typing import Any, TypeVar

import httpx2

from cje.data.endings import FILTER_CODES
from cje.errors import CJEError
from cje.models.provider import CallSettings
from cje.models.requests import CallFailed, Reply

SHORTEST_KEY = 8  # characters; what is shorter is no secret, and may be part of any text
REASON_LENGTH = 200  # characters of a reason, at most
HIDDEN = "***"
CONNECT_SECONDS = 15.0
TOO_LATE = "x-cje-too-late"  # header of the response that replaces one which came too late
NO_MONEY = re.compile(
    r"insufficient_quota|exceeded your current quota|billing|credit balance|insufficient credit",
    re.IGNORECASE,
)
NO_KEY = re.compile(r"API key not valid|pass a valid API key", re.IGNORECASE)  # Gemini's 400
# What providers say in the fields of an error that are for programs.
MONEY_CODES = frozenset(
    "insufficient_quota billing_not_active billing_hard_limit_reached billing_error "
    "insufficient_balance insufficient_credits payment_required".split()
)
DENIED_CODES = frozenset("permission_error invalid_api_key authentication_error".split())
UNKNOWN_CODES = frozenset("model_not_found not_found_error deploymentnotfound".split())
TOO_LONG = re.compile(
    r"context_length_exceeded|context (length|window|limit|size)|prompt is too long"
    r"|maximum (input|sequence|model) length|too many tokens",
    re.IGNORECASE,
)
# Parameters by what a reason calls them, and what to do where a model refuses one.
SETTINGS: dict[str, tuple[str, str]] = {
    "temperature": ("temperature", "set temperature: null"),
    "top_p": ("top_p", "set top_p: null"),
    "top_k": ("top_k", "name another model"),
    "max_completion_tokens": ("max_tokens", "give another max_tokens"),
    "max_tokens": ("max_tokens", "give another max_tokens"),
    "top_logprobs": ("logprobs", "name another model"),
    "prompt_logprobs": ("prompt_logprobs", "name another model"),
    "logprobs": ("logprobs", "name another model"),
    "echo": ("echo", "name another model"),
    "response_format": ("response_format", "name a judge that takes a JSON schema"),
    "output_config": ("output_config", "name a judge that takes a JSON schema"),
    "reasoning_effort": ("reasoning_effort", "set reasoning_effort: null"),
    "min_p": ("min_p", "name another model"),
    "repetition_penalty": ("repetition_penalty", "name another model"),
    **{
        name: (name, "name another model")
        for name in (
            "frequency_penalty",
            "presence_penalty",
            "typical_p",
            "tfs_z",
            "top_n_sigma",
            "repeat_penalty",
            "no_repeat_ngram_size",
            "dry_multiplier",
            "xtc_probability",
            "dynatemp_range",
            "mirostat",
            "mirostat_mode",
        )
    },
    "return_token_ids": ("return_token_ids", "name another model"),
    "add_special_tokens": ("add_special_tokens", "name another model"),
    "chat_template_kwargs": ("chat_template_kwargs", "set reasoning_effort: null"),
    "seed": ("seed", "name another model"),
    "model": ("model", "correct the model's name"),
}
QUOTED_ONLY = ("model", "seed", "echo")  # in a message these words may mean anything else
NAMED = re.compile(
    r"(?<!\w)(" + "|".join(name for name in SETTINGS if name not in QUOTED_ONLY) + r")(?!\w)"
    r"|(?<=['\"`])(" + "|".join(QUOTED_ONLY) + r")(?=['\"`])"
)

T = TypeVar("T")


class Moderated(CallFailed):
    """The provider's filter, by its own code, does not let the prompt through: a refusal, in the
    place of a reply, which costs nothing: no model has read it. Azure alone bills it all the same.
    """

    def __init__(self, reason: str, code: str):
        super().__init__(reason)
        self.reply = Reply(
            finish_reason="refusal", finish_reason_given=code, note=self.reason,
            prompt_tokens=0, completion_tokens=0,
        )  # fmt: skip


class TooLong(CallFailed):
    """The prompt, or prompt and `max_tokens` together, pass what the model can read."""


class SettingRefused(CallFailed):
    """The model does not take the parameter `setting`, a key of `SETTINGS`: fatal, unless the call
    can do without it, and `doubtful` where no more than the words of a message say so."""

    def __init__(self, reason: str, setting: str, doubtful: bool = False):
        super().__init__(reason, fatal=not doubtful)
        self.setting, self.doubtful = setting, doubtful


SECRET_VARIABLES: set[str] = set()  # that hold the values of headers, beside those of keys


def own_headers(given: Iterable[tuple[str, str]]) -> dict[str, str] | None:
    """The headers of the settings, their values from the environment; None where there are none.
    Raises CJEError for a variable that is not set."""
    headers = {}
    for name, variable in given:
        SECRET_VARIABLES.add(variable)
        headers[name] = os.environ.get(variable, "").strip()
        if not headers[name]:
            raise CJEError(f"extra_headers: {name}: {variable} is not set in the environment")
    return headers or None


def redact(text: str) -> str:
    """The text with "***" for every API key of the environment, whole, begun or masked.

    A key is the value of a variable whose name ends in _API_KEY, or of one that a header is made
    of. `sk-abcdefgh` of a longer key is
    hidden to the end of the word, and so is a masked echo such as `sk-ab****wxyz`.
    """
    for name, value in os.environ.items():
        key = value.strip()
        secret = name.endswith("_API_KEY") or name in SECRET_VARIABLES
        if not secret or len(key) < SHORTEST_KEY:
            continue
        text = text.replace(key, HIDDEN)
        rest = r"[^\s'\"`,;(){}\[\]<>]*"
        text = re.sub(re.escape(key[:SHORTEST_KEY]) + rest, HIDDEN, text)
        text = re.sub(rf"{re.escape(key[:4])}{rest}(\*\*|\.\.\.|…){rest}", HIDDEN, text)
    return text


def one_line(text: str) -> str:
    """The text without keys, on one line, of at most `REASON_LENGTH` characters."""
    line = " ".join(redact(text).split())
    return line if len(line) <= REASON_LENGTH else line[: REASON_LENGTH - 3] + "..."


class _Deadline(httpx2.AsyncClient):
    """Before an SDK's own client: one attempt, head and body, takes `deadline` seconds at most.

    httpx2's own time-outs are per read, so that a body which drips a byte a second never ends. What
    comes too late is status 408 with the header `TOO_LATE`.
    A 429 of an account without credit is marked, so that the SDK does not ask again for minutes.
    """

    deadline: float

    async def send(self, request: httpx2.Request, **kwargs: Any) -> httpx2.Response:
        try:
            async with asyncio.timeout(self.deadline):
                response = await super().send(request, **kwargs)
                if response.status_code == 429:
                    body = await response.aread()
                    if any(f'"{code}"'.encode() in body for code in MONEY_CODES):
                        response.headers["x-should-retry"] = "false"
                return response
        except TimeoutError:
            # The SDK would ask again of itself, and each attempt may be paid for.
            marks = {"x-should-retry": "false", TOO_LATE: "1"}
            return httpx2.Response(408, headers=marks, request=request)


def http_client(
    default: type[httpx2.AsyncClient], call_settings: CallSettings
) -> httpx2.AsyncClient:
    """A client for an SDK's `http_client=`, made from its DefaultAsyncHttpxClient: whole attempts
    end after `call_settings.timeout` seconds, and there are connections for
    `call_settings.concurrency` calls."""
    members = {"deadline": call_settings.timeout}
    made: type[httpx2.AsyncClient] = type("DeadlineClient", (_Deadline, default), members)
    limits = httpx2.Limits(
        max_connections=call_settings.concurrency,
        max_keepalive_connections=call_settings.concurrency,
    )
    return made(timeout=time_outs(call_settings), limits=limits)


def time_outs(call_settings: CallSettings) -> httpx2.Timeout:
    """For an SDK's `timeout=`: to find the server; the whole attempt has its own deadline."""
    return httpx2.Timeout(None, connect=min(call_settings.timeout / 2, CONNECT_SECONDS))


async def outcome(call: Awaitable[T], errors: type[Exception]) -> T:
    """What the SDK's call gives. Its `errors` become CallFailed, which carries neither the error
    nor the request: both hold the key."""
    try:
        return await call
    except (errors, httpx2.HTTPError, httpx2.InvalidURL) as error:
        failed = failure(error)
    except UnicodeEncodeError as error:
        in_head = error.encoding == "ascii"  # of headers; the body is UTF-8
        words = "the API key contains characters that no key has" if in_head else "no valid Unicode"
        failed = CallFailed(f"the call cannot be sent: {words}", fatal=in_head)
    raise failed


def json_body(content: bytes) -> Any:
    """The JSON of a reply's body; raises CallFailed, to be asked again, for anything else. A page
    of a proxy is no reply that anybody is paid for; one that broke off is."""
    try:
        return json.loads(content)
    except ValueError:
        words = "the reply is not JSON" if content.strip() else "the reply is empty"
    except RecursionError:
        words = "the reply is JSON that is nested too deeply"
    if content.lstrip().startswith(b"<"):
        words = "the reply is not JSON but a web page, of a proxy perhaps; check the address"
        raise CallFailed(words, again=True)
    raise CallFailed(words, again=True, billed=True)


def failure(error: Exception) -> CallFailed:
    """An error of either SDK as CallFailed.

    Fatal: a wrong key, and by the codes of the error no money, an unknown model, a setting that the
    model refuses; doubtful, where only the words or a status of 403 or 404 say so. Of this call
    alone: what else the server calls a bad request, as a prompt that is too long. To be asked
    again later, since the SDK has done so already: a busy or broken server or network.
    """
    status = getattr(error, "status_code", None)
    if status is None:
        return _no_status(error)
    if TOO_LATE in getattr(getattr(error, "response", None), "headers", ()):
        words = "no whole reply in time; a longer `timeout` may help"
        return CallFailed(words, again=True, billed=True)
    facts = _facts(error)
    said = f"{facts['message']} (HTTP {status})" if facts["message"] else f"HTTP {status}"
    codes = f"{facts['code']} {facts['type']} {facts['message']}"
    given = {str(facts[name]).casefold() for name in ("code", "type")}
    if status < 500 and (found := given & FILTER_CODES):
        return Moderated(one_line(f"the provider's filter refuses the prompt: {said}"), min(found))
    no_money = status == 402 or given & MONEY_CODES
    if no_money or (status in (400, 403) and NO_MONEY.search(codes)):
        words = f"the account has no credit left, add some: {said}"
        return _doubted(words, certain=bool(no_money))
    if status in (401, 403) or (status == 400 and NO_KEY.search(str(facts["message"]))):
        certain = status != 403 or bool(given & DENIED_CODES)
        return _doubted(f"access is denied, check the API key: {said}", certain)
    if status == 404:
        certain = bool(given & UNKNOWN_CODES)
        return _doubted(f"the model or address is unknown, correct it: {said}", certain)
    setting = refused_setting(error)
    if setting is not None:
        name, remedy = SETTINGS[setting]
        words = one_line(f"the model refuses {name}; {remedy}: {said}")
        return SettingRefused(words, setting, doubtful=facts["param"] != setting)
    if status in (408, 409, 429) or status >= 500:
        slower = "too many requests; set a lower concurrency or requests_per_minute"
        words = slower if status == 429 else "the server failed"
        return CallFailed(one_line(f"{words}: {said}"), again=True, retried=True)
    if TOO_LONG.search(codes):
        return TooLong(one_line(f"the prompt is too long: {said}"))
    return CallFailed(one_line(f"the request is refused: {said}"))


def _doubted(words: str, certain: bool) -> CallFailed:
    failed = CallFailed(one_line(words), fatal=certain)
    failed.doubtful = not certain
    return failed


def unexpected(error: Exception) -> CallFailed:
    """An error that nobody foresaw, of one reply, as CallFailed."""
    said = f"{type(error).__name__}: {error}"
    return CallFailed(one_line(f"the reply cannot be read: {said}"))


def refused_setting(error: Exception) -> str | None:
    """The parameter, of `SETTINGS`, that a 400 or 422 says the model does not take, or None.
    llama-cpp-python's server says so with a 500, and repeats the input after its message."""
    facts, status = _facts(error), getattr(error, "status_code", None)
    if status == 500 and "validation error" in facts["message"]:
        facts["message"] = facts["message"].partition("'input'")[0]
    elif status not in (400, 422):
        return None
    if TOO_LONG.search(f"{facts['code']} {facts['message']}"):  # depends on the prompt's length
        return None
    param = facts["param"]
    if isinstance(param, str) and param in SETTINGS:
        return param
    if param is not None or "content" in str(facts["code"]):
        return None
    named = NAMED.search(facts["message"])
    return named.group() if named else None


def _no_status(error: Exception) -> CallFailed:
    names = {cls.__name__ for cls in type(error).__mro__}
    if names & {"APITimeoutError", "TimeoutException"}:
        words = "no whole reply in time; a longer `timeout` may help"
    elif names & {"APIConnectionError", "TransportError"}:
        cause = error.__cause__ or error
        words = f"no connection{_address(error)}: {type(cause).__name__}: {cause}"
    elif names & {"APIResponseValidationError"}:
        return CallFailed("the reply is not of the form that was asked for", again=True)
    else:
        return CallFailed(one_line(f"the call failed: {type(error).__name__}: {error}"))
    return CallFailed(one_line(words), again=True, retried=True)


def _address(error: Exception) -> str:
    """The server that was called, without path and credentials; nothing where it is not known."""
    try:
        request = getattr(error, "request", None)
    except RuntimeError:  # as httpx2 raises where there is none
        return ""
    if not isinstance(request, httpx2.Request):
        return ""
    url = request.url
    port = f":{url.port}" if url.port else ""
    return f" to {url.scheme}://{url.host}{port}, check the address and the network"


def _facts(error: Any) -> dict[str, Any]:
    """`message`, `type`, `code` and `param` of an error's body, in any of the servers' forms."""
    body = error.body
    if isinstance(body, list) and body:  # Gemini's
        body = body[0]
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        body = body["error"]
    if not isinstance(body, dict):
        text = body if isinstance(body, str) and not body.lstrip().startswith("<") else ""
        body = {"message": text}
    if isinstance(body.get("metadata"), dict) and body["metadata"].get("reasons"):  # OpenRouter
        body = {**body, "code": "moderation"}
    message = body.get("message") or body.get("error") or body.get("detail") or ""
    if isinstance(message, list):  # of FastAPI; its `input` would repeat the prompt
        places = [(".".join(map(str, m.get("loc", []))), m.get("msg")) for m in message]
        message = "; ".join(f"{place}: {words}" for place, words in places)
    return {key: body.get(key) for key in ("type", "code", "param")} | {"message": str(message)}
