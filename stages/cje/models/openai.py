"""The provider `openai/...`: chat completions through OpenAI's SDK; OPENAI_API_KEY holds the key.

Log-probabilities are of the sampled tokens alone, so no given text can be scored, and the end
token has none. OpenAI does not say what temperature does to them; they are taken to be those of
the model before temperature and top_p, and are the sampling ones only where both are 1. A value of
-9999.0 means "very unlikely" and no number: an answer with one has no log-probabilities.
"""

import json
import os
import re
from typing import Any

from cje.errors import CJEError
from cje.models import wire as wires
from cje.models.backend import Role, Wire, policy_messages
from cje.models.completions import LogprobsSeen, billed_reply, chat_reply, logprob_kind
from cje.models.requests import Reply, Request
from cje.models.retired import require_alive
from cje.settings import Policy

REASON_TOKENS = 500  # for a verdict and its reason
THOUGHT_TOKENS = 8192  # where the model thinks first
# By OpenAI's guides: reasoning models take no temperature, top_p or logprobs; of GPT-5.1, 5.2 and
# 5.4 they do with reasoning_effort none. Later families think always, or refuse them all the same.
UNTHINKING = re.compile(r"gpt-5\.(1|2|4)(-mini|-nano)?(-\d{4}-\d\d-\d\d)?")
REASONING = re.compile(r"o\d|gpt-([5-9]|\d\d)(?!\d)(?!.*-chat)")
NO_LOGPROBS = re.compile(r"gpt-([5-9]|\d\d)(?!\d).*-chat")
NO_CHAT = re.compile(r".*-instruct|(davinci|babbage)-002")


class OpenAIBackend:
    """See `cje.models.backend.Backend`."""

    keys = ("OPENAI_API_KEY",)
    in_process = False
    judged_before: tuple[int, ...] = ()

    def can(self, name: str) -> frozenset[str]:
        return frozenset({"batch", "judge"} | ({"logprobs"} if gives_logprobs(name) else set()))

    def check(self, name: str, role: Role, policy: Policy | None) -> None:
        if NO_CHAT.match(_family(name)):
            raise CJEError(f"openai/{name} has no chat interface; name a chat model")
        if policy is not None and policy.chat_template is not None:
            raise CJEError(f"chat_template: openai/{name} takes none; it is of server/... models")
        if policy is None:
            return
        effort = policy.reasoning_effort
        if effort is not None and not REASONING.match(_family(name)):
            raise CJEError(f"openai/{name} takes no reasoning_effort; set reasoning_effort: null")
        if not refuses_sampling(name, effort):
            return
        for setting in ("temperature", "top_p"):
            if getattr(policy, setting) is not None:
                raise CJEError(f"openai/{name} refuses {setting}; set {setting}: null for it")

    def ready(self, name: str) -> None:
        require_alive(f"openai/{name}")
        try:
            import openai  # noqa: F401
        except ImportError:
            raise CJEError("the package openai is missing; `pip install openai`") from None

    def answer(self, policy: Policy, prompt: str) -> Request:
        name = policy.model.removeprefix("openai/")
        return Request(
            kind="answer",
            model=f"openai/{name}",
            messages=policy_messages(policy, prompt),
            temperature=policy.temperature,
            top_p=policy.top_p,
            max_tokens=policy.max_tokens,
            base_url=policy.base_url,
            options=_options(name, policy.reasoning_effort),
        )

    def score(self, policy: Policy, prompt: str, scoring: str | None) -> Request:
        raise CJEError(f"{policy.model}: OpenAI's chat models cannot score a given text")

    def judgement(
        self,
        name: str,
        messages: tuple[tuple[str, str], ...],
        schema: str,
        base_url: str | None,
        max_tokens: int | None = None,
    ) -> Request:
        thinks = refuses_sampling(name)
        return Request(
            kind="judgement",
            model=f"openai/{name}",
            messages=messages,
            temperature=None if thinks else 0.0,
            max_tokens=max_tokens or (THOUGHT_TOKENS if thinks else REASON_TOKENS),
            schema=schema,
            options=_options(name),
        )

    def probe(self, policy: Policy) -> Request | None:
        return None

    def connect(self, wire: Wire) -> "OpenAIConnection":
        return OpenAIConnection(wire)


def refuses_sampling(name: str, effort: str | None = None) -> bool:
    """Whether the model is known to refuse temperature and top_p: it thinks before it answers."""
    family = _family(name)
    spared = UNTHINKING.fullmatch(family) and effort in (None, "none")
    return bool(REASONING.match(family)) and not spared


def gives_logprobs(name: str, effort: str | None = None) -> bool:
    """Whether the model is expected to give log-probabilities."""
    return not refuses_sampling(name, effort) and not NO_LOGPROBS.match(_family(name))


def chat_arguments(request: Request) -> dict[str, Any]:
    """The keyword arguments of `chat.completions.create`, and the body of a line of a batch."""
    name = request.model.removeprefix("openai/")
    effort = dict(request.options or ()).get("reasoning_effort")
    logprobs = request.kind == "answer" and gives_logprobs(name, effort)
    wanted = {
        "model": name,
        "messages": [{"role": role, "content": content} for role, content in request.messages],
        "temperature": request.temperature,
        "top_p": request.top_p,
        "max_completion_tokens": request.max_tokens,
        "logprobs": True if logprobs else None,
        "response_format": None if request.schema is None else json_schema(request.schema),
        **dict(request.options or ()),
    }
    return {key: value for key, value in wanted.items() if value is not None}


def json_schema(schema: str) -> dict[str, Any]:
    """The `response_format` that holds a model to a JSON schema."""
    form = {"name": "verdict", "strict": True, "schema": json.loads(schema)}
    return {"type": "json_schema", "json_schema": form}


def parse_completion(request: Request, completion: Any) -> Reply:
    """The reply in a chat completion's JSON (a dict); raises CallFailed.

    `token_logprobs` is None where the reply has none.
    """
    with billed_reply(completion):
        return chat_reply(completion, logprob_kind(request), logprobs=request.kind == "answer")


def _family(name: str) -> str:
    """The model's name without the mark of a fine-tuned one."""
    return name.removeprefix("ft:")


def _options(name: str, effort: str | None = None) -> tuple[tuple[str, str], ...] | None:
    if effort is None and UNTHINKING.fullmatch(_family(name)):
        effort = "none"
    return None if effort is None else (("reasoning_effort", effort),)


class OpenAIConnection:
    """See `cje.models.backend.Connection`. A model that refuses log-probabilities, or twice gives
    none, is taken to have none from then on; `notes` says so."""

    def __init__(self, wire: Wire):
        import openai

        self.notes: list[str] = []
        self._wire, self._errors = wire, openai.OpenAIError
        self._http = wires.http_client(openai.DefaultAsyncHttpxClient, wire)
        self._clients: dict[str | None, openai.AsyncOpenAI] = {}
        self._logprobs = LogprobsSeen(self.notes)

    async def ask(self, request: Request) -> Reply:
        arguments = chat_arguments(request)
        asked = "logprobs" in arguments and not self._logprobs.gives_none(request.model)
        if not asked:
            arguments.pop("logprobs", None)
        create = self._client(request.base_url).chat.completions.with_raw_response.create
        try:
            raw = await wires.outcome(create(**arguments), self._errors)
        except wires.Moderated as failed:
            if request.kind != "answer":
                raise
            return failed.reply
        except wires.SettingRefused as failed:
            known = failed.doubtful and self._logprobs.gives_some(request.model)
            if not asked or failed.setting != "logprobs" or known:
                raise
            self._logprobs.refused(request.model)
            return await self.ask(request)
        body = wires.json_body(raw.http_response.content)
        with billed_reply(body):
            reply = parse_completion(request, body)
            if asked:
                self._logprobs.see(request.model, reply)
        return reply

    async def close(self) -> None:
        await self._http.aclose()

    def _client(self, base_url: str | None):
        import openai

        if base_url not in self._clients:
            self._clients[base_url] = openai.AsyncOpenAI(
                api_key=os.environ.get("OPENAI_API_KEY", "").strip(),
                base_url=base_url,
                timeout=wires.time_outs(self._wire),
                max_retries=self._wire.max_retries,
                http_client=self._http,
            )
        return self._clients[base_url]


BACKEND = OpenAIBackend()
