"""What providers with OpenAI's chat completions share, called through OpenAI's SDK.

A provider is a `ChatBackend` with a name, a key, an address, and what its models are known to
accept; what else they refuse is found out by the first calls.
"""

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cje.models import http
from cje.models.addresses import OWN, request_address
from cje.models.completions import LogprobsSeen, billed_reply, chat_reply, logprob_kind
from cje.models.provider import ApiBackend, CallSettings, JudgePrompt, policy_messages
from cje.models.providers.structured import SchemasSeen, json_schema, verdict_turns
from cje.models.requests import Reply, Request
from cje.settings import Policy

if TYPE_CHECKING:
    import openai

REASON_TOKENS = 500  # for a verdict and its reason
THOUGHT_TOKENS = 8192  # where the model thinks first


class ChatBackend(ApiBackend):
    """See `cje.models.provider.Backend`."""

    address: str | None = None  # of the provider, where `cje.models.addresses` has none
    room = "max_completion_tokens"  # what the provider calls the bound on an answer's tokens

    def refuses_sampling(self, name: str, effort: str | None = None) -> bool:
        """Whether the model is known to refuse temperature and top_p."""
        return False

    def thinks(self, name: str) -> bool:
        """Whether the model may think before it gives a verdict."""
        return True

    def gives_logprobs(self, name: str, effort: str | None = None) -> bool:
        """Whether the model is asked for log-probabilities."""
        return True

    def effort(self, name: str, effort: str | None) -> str | None:
        """How much the model is told to think, where the policy says `effort`."""
        return effort

    def place(self, base_url: str | None) -> str | None:
        """The address of a call; None for the one that `cje.models.addresses` has."""
        return request_address(f"{self.provider}/", base_url) or self.address

    def answer(self, policy: Policy, prompt: str) -> Request:
        name = policy.model.removeprefix(f"{self.provider}/")
        return Request(
            kind="answer",
            model=f"{self.provider}/{name}",
            messages=policy_messages(policy, prompt),
            temperature=policy.temperature,
            top_p=policy.top_p,
            max_tokens=policy.max_tokens,
            base_url=self.place(policy.base_url),
            options=self._options(name, policy.reasoning_effort),
        )

    def judgement(self, name: str, prompt: JudgePrompt) -> Request:
        room = THOUGHT_TOKENS if self.thinks(name) else REASON_TOKENS
        return Request(
            kind="judgement",
            model=f"{self.provider}/{name}",
            messages=prompt.messages,
            temperature=None if self.refuses_sampling(name) else 0.0,
            max_tokens=prompt.max_tokens or room,
            base_url=self.place(prompt.base_url),
            schema=prompt.schema,
            options=self._options(name, None),
        )

    def connect(self, call_settings: CallSettings) -> "ChatConnection":
        return ChatConnection(self, call_settings)

    def client(self, base_url: str | None, **made: Any) -> "openai.AsyncOpenAI":
        """The SDK's client for an address."""
        import openai

        key = os.environ.get(self.keys[0], "").strip()
        address = base_url or OWN[self.provider]
        return openai.AsyncOpenAI(api_key=key, base_url=address, **made)

    def arguments(self, request: Request, in_prompt: bool = False) -> dict[str, Any]:
        """The keyword arguments of `chat.completions.create`, and the body of a line of a batch;
        with `in_prompt` the schema of a verdict is put in the prompt."""
        name, effort = request.model.partition("/")[2], request.option("reasoning_effort")
        logprobs = request.kind == "answer" and self.gives_logprobs(name, effort)
        form = None if request.schema is None or in_prompt else json_schema(request.schema)
        wanted = {
            "model": name,
            "messages": verdict_turns(request, in_prompt),
            "temperature": request.temperature,
            "top_p": request.top_p,
            self.room: request.max_tokens,
            "logprobs": True if logprobs else None,
            "response_format": form,
            **self.thought_arguments(effort),
            **request.extra_body,
        }
        return {key: value for key, value in wanted.items() if value is not None}

    def thought_arguments(self, effort: str | None) -> dict[str, Any]:
        """The settings of how much to think, in the provider's words."""
        return {"reasoning_effort": effort}

    def _options(self, name: str, effort: str | None) -> tuple[tuple[str, str], ...] | None:
        effort = self.effort(name, effort)
        return None if effort is None else (("reasoning_effort", effort),)


def parse_completion(request: Request, completion: Any) -> Reply:
    """The reply in a chat completion's JSON (a dict); raises CallFailed.

    `token_logprobs` is None where the reply has none.
    """
    with billed_reply(completion):
        return chat_reply(completion, logprob_kind(request), logprobs=request.kind == "answer")


class ChatConnection:
    """See `cje.models.provider.Connection`. A model that refuses log-probabilities, or twice gives
    none, is not asked for them any more, and one that takes no JSON schema gets it in the prompt;
    `notes` says so."""

    def __init__(self, backend: ChatBackend, call_settings: CallSettings):
        import openai

        self.notes: list[str] = []
        self.backend = backend
        self._call_settings, self._errors = call_settings, openai.OpenAIError
        self._http = http.http_client(openai.DefaultAsyncHttpxClient, call_settings)
        self._clients: dict[str | None, openai.AsyncOpenAI] = {}
        self._logprobs = LogprobsSeen(self.notes)
        self._schemas = SchemasSeen(self.notes, call_settings.found)

    async def ask(self, request: Request) -> Reply:
        in_prompt = request.schema is not None and self._schemas.in_prompt(request)
        arguments = self.backend.arguments(request, in_prompt)
        with_logprobs = "logprobs" in arguments and not self._logprobs.gives_none(request.model)
        if not with_logprobs:
            arguments.pop("logprobs", None)
        body = {name: value for name, value in arguments.items() if name in SDK_TAKES}
        more = {name: value for name, value in arguments.items() if name not in SDK_TAKES}
        create = self._client(request.base_url).chat.completions.with_raw_response.create
        try:
            raw = await http.outcome(create(**body, extra_body=more or None), self._errors)
        except http.Moderated as failed:
            if request.kind != "answer":
                raise
            if not self.backend.bills_filtered:
                return failed.reply
            return replace(failed.reply, prompt_tokens=None, completion_tokens=None)
        except http.SettingRefused as failed:
            if failed.setting == "response_format" and "response_format" in arguments:
                self._schemas.refused(request)
                return await self.ask(request)
            known = failed.doubtful and self._logprobs.gives_some(request.model)
            if not with_logprobs or failed.setting != "logprobs" or known:
                raise
            self._logprobs.refused(request.model)
            return await self.ask(request)
        found = http.json_body(raw.http_response.content)
        with billed_reply(found):
            reply = parse_completion(request, found)
            if with_logprobs:
                self._logprobs.see(request.model, reply)
            if request.schema is not None:
                self._schemas.see(request, reply)
        return reply

    async def close(self) -> None:
        await self._http.aclose()

    def _client(self, base_url: str | None) -> "openai.AsyncOpenAI":
        if base_url not in self._clients:
            self._clients[base_url] = self.backend.client(
                base_url,
                timeout=http.time_outs(self._call_settings),
                max_retries=self._call_settings.max_retries,
                http_client=self._http,
                default_headers=http.own_headers(self._call_settings.headers),
            )
        return self._clients[base_url]


# What `chat.completions.create` takes by name; the rest goes into its `extra_body`.
SDK_TAKES = frozenset(
    "model messages temperature top_p max_tokens max_completion_tokens logprobs response_format "
    "reasoning_effort seed stop".split()
)
