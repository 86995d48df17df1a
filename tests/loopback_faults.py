"""What the loopback server does wrong on purpose.

A fault is a name, or name:value with a number of seconds (`429:0.05`, `timeout:2`, `drip:1`).
`STATUS` answers with an error, and the seconds are its Retry-After; `WIRE` breaks the transport;
`FRAME` sends other bytes than the reply's; `CONTENT` sends a well-formed reply that is of no use.
`HEALING` are those that go away when the SDK asks again by itself.
"""

import json
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

Body = dict[str, Any]

STATUS = (
    "429 429-date 429-bare quota quota-bare credit 500 502 503 529 408 401 404 400-temperature "
    "400-logprobs"
).split()
WIRE = "timeout reset hangup reset-body drip".split()
FRAME = "truncated empty html text-plain".split()
CONTENT = (
    "no-choices refusal no-logprobs null-content score-eleven score-range prose fence"
).split()
NAMES = frozenset(STATUS + WIRE + FRAME + CONTENT)
HEALING = "429 429-bare 500 502 529 408 reset hangup reset-body".split()
BROKEN = frozenset("truncated empty html".split())  # delivered with status 200, yet of no use
DEFAULTS = {"429": 0.05, "429-date": 1.0, "timeout": 3600.0, "drip": 1.0}
OPENAI_TYPES = {401: "invalid_request_error", 429: "requests", 500: "server_error"}
ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    408: "timeout_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def parse(fault: str) -> tuple[str, float]:
    """The name and the seconds of a fault; raises ValueError for one that there is not."""
    name, _, value = fault.partition(":")
    if name not in NAMES:
        raise ValueError(f"{fault!r} is no fault; there are {', '.join(sorted(NAMES))}")
    return name, float(value) if value else DEFAULTS.get(name, 0.0)


def error(anthropic: bool, status: int, text: str, **more: str | None) -> Body:
    """The body of an error, as either API words it."""
    if anthropic:
        kind = ANTHROPIC_TYPES.get(status, "api_error")
        body = {"type": "error", "error": {"type": kind, "message": text}}
        return body | {"request_id": "req_loopback"}
    kind = more.get("kind") or OPENAI_TYPES.get(status, "invalid_request_error")
    if status >= 500:
        kind = "server_error"
    rest = {"type": kind, "param": more.get("param"), "code": more.get("code")}
    return {"error": {"message": text} | rest}


def status_fault(
    name: str, seconds: float, anthropic: bool, key: str, model: str
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one of `STATUS`. `key` is the caller's, which 401 repeats."""
    wait = {"Retry-After": f"{seconds:g}"} if seconds else {}
    if name == "502":
        page = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
        return 502, {"Content-Type": "text/html"} | wait, page
    status = {"quota": 429, "quota-bare": 429, "credit": 400}.get(name) or int(name[:3])
    more: dict[str, str | None] = {}
    headers = {
        "429-date": {"Retry-After": formatdate(time.time() + seconds, usegmt=True)},
        "quota": {"x-should-retry": "false"},
    }.get(name, wait)
    if name == "credit":
        text = "Your credit balance is too low to access the API. Please go to Plans & Billing."
    elif name in ("quota", "quota-bare"):  # without the header, an SDK asks again
        text = "You exceeded your current quota, please check your plan and billing details."
        more = {"kind": "insufficient_quota", "code": "insufficient_quota"}
    elif name == "401":
        text = "invalid x-api-key" if anthropic else "Incorrect API key provided"
        text, more = f"{text}: {key}", {"code": "invalid_api_key"}
    elif name == "404":
        text = f"model: {model}" if anthropic else f"The model `{model}` does not exist"
        more = {"code": "model_not_found"}
    elif status == 400:
        param = name[4:]
        text = f"Unsupported parameter: '{param}' is not supported with this model."
        more = {"param": param, "code": "unsupported_parameter"}
    else:
        text = {429: "Rate limit reached", 529: "Overloaded", 408: "Request timed out"}.get(
            status, "The server had an error while processing your request"
        )
        more = {"code": "rate_limit_exceeded"} if status == 429 else {}
    body = json.dumps(error(anthropic, status, text, **more)).encode()
    return status, {"Content-Type": "application/json"} | headers, body


def frame_fault(name: str, headers: dict[str, str], data: bytes) -> tuple[dict[str, str], bytes]:
    """Headers and body with one of the faults of `FRAME`."""
    if name == "html":
        return {"Content-Type": "text/html"}, b"<html><body>Welcome</body></html>"
    if name == "text-plain":
        return {"Content-Type": "text/plain"}, data
    return headers, data[: len(data) // 2] if name == "truncated" else b""


def spoil(name: str, reply: Body) -> Body:
    """A reply with one of the faults of `CONTENT`; a fault that does not apply changes nothing."""
    if name in ("no-choices", "refusal", "null-content"):
        return _without_text(name, reply)
    if name == "no-logprobs":
        for choice in reply.get("choices", []):
            choice["logprobs"] = None
        return reply
    changes: dict[str, Callable[[str], str]] = {
        "score-eleven": lambda text: _scored(text, "eleven"),
        "score-range": lambda text: _scored(text, 1e6),
        "prose": lambda text: "I would say that this answer is rather good, on the whole.",
        "fence": lambda text: f"```json\n{text}\n```",
    }
    return _with_text(reply, changes[name])


def _without_text(name: str, reply: Body) -> Body:
    if "choices" not in reply:
        reply["content"] = [{"type": "text", "text": None}] if name == "null-content" else []
        if name == "refusal":
            reply |= {"stop_reason": "refusal"}
        return reply
    if name == "no-choices":
        return reply | {"choices": []}
    choice = reply["choices"][0]
    if name == "refusal":
        choice["finish_reason"] = "content_filter"
    choice["logprobs"] = None
    if "message" in choice:
        said = "I'm sorry, I can't help with that." if name == "refusal" else None
        choice["message"] |= {"content": None, "refusal": said}
    else:
        choice["text"] = "" if name == "refusal" else None
    return reply


def _with_text(reply: Body, change: Callable[[str], str]) -> Body:
    if "choices" not in reply:
        for block in reply["content"]:
            if block["type"] == "text":
                block["text"] = change(block["text"])
            elif block["type"] == "tool_use":
                given = change(json.dumps(block["input"]))
                if given.startswith("{"):
                    block["input"] = json.loads(given)
                else:
                    block |= {"type": "text", "text": given}
        return reply
    choice = reply["choices"][0]
    place = choice.get("message", choice)
    name = "content" if "message" in choice else "text"
    place[name] = change(place[name])
    return reply


def _scored(text: str, score: Any) -> str:
    try:
        given = json.loads(text)
    except ValueError:
        return text
    if not isinstance(given, dict):
        return text
    return json.dumps(given | {"score": score})
