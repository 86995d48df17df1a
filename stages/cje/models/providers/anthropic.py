"""The provider `anthropic/...` (and bare claude-*): Anthropic's Messages through its own SDK.

Claude reports no log-probabilities and has no seed: it answers and it judges. What the models take
(Anthropic's documentation of November 2026), by version:

- from 4.7 on, every temperature and top_p but 1 is refused; from 4.1 on, the two together;
- from 4.5 on, a verdict is constrained by `output_config`; from 5.5 on a forced tool, the older
  way, is refused;
- from 5 on, a model thinks before it answers unless told not to, and its thoughts count towards
  max_tokens and are paid as what it writes.
"""

import json
import os
import re
from collections.abc import Mapping
from typing import Any

from cje.data.endings import finish_reason, is_end
from cje.errors import CJEError
from cje.models.addresses import OWN, request_address
from cje.models.http import http_client, json_body, outcome, own_headers, time_outs
from cje.models.names import full_name, split_model
from cje.models.provider import ApiBackend, CallSettings, Capability, JudgePrompt, Role
from cje.models.requests import CallFailed, Reply, Request, billed
from cje.models.thought import split_thought
from cje.settings import Policy

Version = tuple[int, int]

ONE_SAMPLER: Version = (4, 1)  # from here on, temperature and top_p not both
STRUCTURED: Version = (4, 5)
NO_SAMPLERS: Version = (4, 7)
THINKING: Version = (5, 0)
NAMED = re.compile(r"claude-(?:[a-z]+-)?(\d+)(?:[-.](\d{1,2})(?!\d))?")
UNNUMBERED = {"claude-mythos-preview": (5, 0)}

THOUGHT_TOKENS = 1024  # the least max_tokens that leaves a thinking model room to answer
VERDICT_TOKENS, THOUGHTFUL_VERDICT_TOKENS = 512, 8192
VERDICT = "verdict"  # the tool of models before STRUCTURED
SAMPLERS = ("temperature", "top_p")


class AnthropicBackend(ApiBackend):
    """See `cje.models.provider.Backend`."""

    provider = package = "anthropic"
    keys = ("ANTHROPIC_API_KEY",)

    def can(self, name: str) -> frozenset[Capability]:
        return frozenset({"batch"})

    def check(self, name: str, role: Role, policy: Policy | None) -> None:
        if not name:
            raise CJEError("anthropic/ names no model; give one, as anthropic/claude-haiku-4-5")
        if policy is not None and (problems := _problems(name, policy)):
            raise CJEError("; ".join(problems))

    def answer(self, policy: Policy, prompt: str) -> Request:
        system = (("system", policy.system_prompt),) if policy.system_prompt else ()
        effort = policy.reasoning_effort
        return Request(
            kind="answer",
            model=full_name(policy.model),
            messages=(*system, ("user", prompt)),
            temperature=policy.temperature,
            top_p=policy.top_p,
            max_tokens=policy.max_tokens,
            base_url=request_address(policy.model, policy.base_url),
            options=effort and (("reasoning_effort", effort),),
        )

    def score(self, policy: Policy, prompt: str, scoring: str | None) -> Request:
        raise CJEError(f"{policy.model}: Anthropic reports no log-probabilities of a given text")

    def judgement(self, name: str, prompt: JudgePrompt) -> Request:
        known = version(name)
        thinks = known is None or known >= THINKING
        room = THOUGHTFUL_VERDICT_TOKENS if thinks else VERDICT_TOKENS
        return Request(
            kind="judgement",
            model=f"anthropic/{name}",
            messages=prompt.messages,
            temperature=0.0 if known is not None and known < NO_SAMPLERS else None,
            max_tokens=prompt.max_tokens or room,
            base_url=request_address(f"anthropic/{name}", prompt.base_url),
            schema=prompt.schema,
        )

    def connect(self, call_settings: CallSettings) -> "AnthropicConnection":
        return AnthropicConnection(call_settings)


class AnthropicConnection:
    """See `cje.models.provider.Connection`."""

    def __init__(self, call_settings: CallSettings):
        from anthropic import AsyncAnthropic, DefaultAsyncHttpxClient

        self.notes: list[str] = []
        client = http_client(DefaultAsyncHttpxClient, call_settings)
        self.client = AsyncAnthropic(
            api_key=os.environ.get("ANTHROPIC_API_KEY", "").strip(),
            base_url=OWN["anthropic"],
            max_retries=call_settings.max_retries,
            timeout=time_outs(call_settings),
            http_client=client,
            default_headers=own_headers(call_settings.headers),
        )

    async def ask(self, request: Request) -> Reply:
        from anthropic import AnthropicError

        body = message_arguments(request)
        by_body = (*SAMPLERS, *request.extra_body)
        more = {name: body.pop(name) for name in by_body if name in body}
        client = self.client
        if request.base_url is not None:
            client = client.with_options(base_url=server_root(request.base_url))
        call = client.messages.with_raw_response.create(**body, extra_body=more or None)
        raw = await outcome(call, AnthropicError)
        return parse_message(request, json_body(raw.http_response.content))

    async def close(self) -> None:
        await self.client.close()


def version(name: str) -> Version | None:
    """The version in a model's name, (4, 5) of claude-opus-4-5-20251101; None where it has none."""
    if name in UNNUMBERED:
        return UNNUMBERED[name]
    match = NAMED.match(name)
    return match and (int(match[1]), int(match[2] or 0))


def server_root(base_url: str) -> str:
    """An address without the /v1 that OpenAI's kind of server wants: Anthropic's SDK adds it."""
    return re.sub(r"/v1/?$", "", base_url)


def message_arguments(request: Request) -> dict[str, Any]:
    """The body of POST /v1/messages for the request: also the `params` of a batch's request.

    A temperature or top_p of 1 is what every model does by itself, and is left out. Schema keywords
    that Anthropic refuses, such as `minimum`, are said in the descriptions instead.
    """
    name = split_model(request.model)[1]
    system = "\n\n".join(text for role, text in request.messages if role == "system")
    body: dict[str, Any] = {
        "model": name,
        "max_tokens": request.max_tokens or VERDICT_TOKENS,
        "messages": [
            {"role": role, "content": text} for role, text in request.messages if role != "system"
        ],
    }
    if system:
        body["system"] = system
    body |= {k: v for k in SAMPLERS if (v := getattr(request, k)) not in (None, 1)}
    effort = request.option("reasoning_effort")
    if effort == "none":
        body["thinking"] = {"type": "disabled"}
    elif effort is not None:
        body["output_config"] = {"effort": effort}
    if request.schema is not None:
        body |= _verdict_arguments(name, json.loads(request.schema))
    return body | request.extra_body


def parse_message(request: Request, message: Any) -> Reply:
    """The reply in the JSON of a message; raises CallFailed where it contains none."""
    usage = message.get("usage") if isinstance(message, Mapping) else None
    usage = usage if isinstance(usage, Mapping) else {}
    with billed(_prompt_tokens(usage), usage.get("output_tokens")):
        return _parsed(request, message, usage)


def _parsed(request: Request, message: Any, usage: Mapping[str, Any]) -> Reply:
    content = message.get("content") if isinstance(message, Mapping) else None
    if not isinstance(content, list):
        raise CallFailed("the reply is not a message", again=True)
    blocks = [block for block in content if isinstance(block, Mapping)]
    text = "".join(b["text"] for b in blocks if b.get("type") == "text" and _is_text(b.get("text")))
    thoughts = [b["thinking"] for b in blocks if _is_text(b.get("thinking")) and b["thinking"]]
    said = message.get("stop_reason")
    reason = finish_reason(said)
    for block in blocks:
        if block.get("type") == "tool_use" and block.get("name") == VERDICT:
            text = json.dumps(block.get("input"), ensure_ascii=False)
            reason = "stop" if reason == "tool_call" else reason
    if reason is None and not (text and is_end(said)):
        words = f"the reply stopped without an end (stop_reason {str(said)[:40]})"
        raise CallFailed(words, again=True)
    text, marked = split_thought(text)
    return Reply(
        text=text if text.strip() else None,
        finish_reason=reason,
        finish_reason_given=said,
        model=message.get("model"),
        prompt_tokens=_prompt_tokens(usage),
        completion_tokens=usage.get("output_tokens"),
        reasoning="\n".join([*thoughts, *([marked] if marked else [])]) or None,
    )


def _problems(name: str, policy: Policy) -> list[str]:
    """What of the policy's settings the model does not take, and what to set instead."""
    known, problems = version(name), []
    given = {k: v for k in SAMPLERS if (v := getattr(policy, k)) not in (None, 1)}
    if known is not None and known >= NO_SAMPLERS:
        for key, value in given.items():
            problems.append(f"{key}: {value:g} is refused by {name}; set {key}: null")
    elif known is not None and known >= ONE_SAMPLER and len(given) == 2:
        values = ", ".join(f"{key}: {value:g}" for key, value in given.items())
        problems.append(
            f"{values} together are refused by {name}; set temperature: null or top_p: null"
        )
    if not problems and given.get("temperature", 0) > 1:
        problems.append(
            f"temperature: {policy.temperature:g} is refused by {name}; give at most 1, or null"
        )
    effort = policy.reasoning_effort
    if effort == "minimal" or (effort is not None and known is not None and known < STRUCTURED):
        problems.append(
            f"reasoning_effort: {effort} is refused by {name}; set reasoning_effort: null"
        )
    thinks = known is not None and known >= THINKING and effort != "none"
    if thinks and policy.max_tokens < THOUGHT_TOKENS:
        problems.append(
            f"max_tokens: {policy.max_tokens} leaves {name} no room: it thinks before it answers, "
            f"and its thoughts count; set max_tokens: {THOUGHT_TOKENS} or more"
        )
    if policy.chat_template is not None:
        problems.append(
            f"chat_template: {policy.chat_template} is not available for {name}; "
            "set chat_template: null"
        )
    return problems


def _verdict_arguments(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    known = version(name)
    if known is not None and known < STRUCTURED:
        tool = {"name": VERDICT, "description": "Gives the verdict.", "input_schema": schema}
        return {"tools": [tool], "tool_choice": {"type": "tool", "name": VERDICT}}
    from anthropic import transform_schema

    form = {"type": "json_schema", "schema": transform_schema(schema)}
    return {"output_config": {"format": form}}


def _prompt_tokens(usage: Mapping[str, Any]) -> int | None:
    """All prompt tokens: those read from a cache or written to one are counted apart."""
    if usage.get("input_tokens") is None:
        return None
    parts = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    counts = [usage.get(part) or 0 for part in parts]
    return sum(counts) if all(isinstance(count, int) for count in counts) else None


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


BACKEND = AnthropicBackend()
