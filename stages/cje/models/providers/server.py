"""The provider `server/...`: any server of the OpenAI kind (vLLM, SGLang, llama.cpp, Together).

Its address is the policy's `base_url`, else the setting of that name; its key, if it wants one,
SERVER_API_KEY. Answers come from its chat interface, or, where the policy has a `chat_template`, as
completions of the rendered prompt, so that sampled and scored texts are cut into the same tokens.

What servers do to a model's distribution by default (top_k, min_p, penalties) is switched off by
name. One probe (`cje.models.exactness`) finds out of which kind a server's log-probabilities are,
and whether it samples by them, so replies do not state it.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from cje.errors import CJEError
from cje.models import exactness, http
from cje.models.completions import LogprobsSeen, billed_reply, chat_reply, text_reply
from cje.models.provider import (
    ApiBackend,
    CallSettings,
    Capability,
    JudgePrompt,
    Role,
    policy_messages,
)
from cje.models.providers import prompt_scoring
from cje.models.providers.chat import REASON_TOKENS, THOUGHT_TOKENS
from cje.models.providers.server_bodies import (
    ALL_TOKENS,
    OPTIONAL,
    PLAIN,
    answer_body,
    judgement_body,
    path_of,
    without,
)
from cje.models.providers.structured import SchemasSeen
from cje.models.providers.templates import render_prompt
from cje.models.requests import CallFailed, Reply, Request, required
from cje.settings import Policy

if TYPE_CHECKING:
    import openai

ROOMS = (THOUGHT_TOKENS, 2048, REASON_TOKENS)  # that a judge gets, where its context is short

Build = Callable[[set[str]], dict[str, Any]]


class ServerBackend(ApiBackend):
    """See `cje.models.provider.Backend`."""

    provider = "server"
    judged_before: tuple[int, ...] = (REASON_TOKENS,)

    def can(self, name: str) -> frozenset[Capability]:
        return frozenset({"score"})

    def check(self, name: str, role: Role, policy: Policy | None) -> None:
        if policy is None:
            return
        _address(policy.base_url, f"server/{name}")
        if policy.chat_template is not None:
            if policy.reasoning_effort is not None:
                raise CJEError(
                    "reasoning_effort: with a chat_template the prompt says how the model thinks; "
                    "set reasoning_effort: null"
                )
            render_prompt(policy.chat_template, policy_messages(policy, "Hello"))

    def answer(self, policy: Policy, prompt: str) -> Request:
        return replace(_request(policy, prompt), kind="answer", max_tokens=policy.max_tokens)

    def score(self, policy: Policy, prompt: str, scoring: str | None) -> Request:
        return _request(policy, prompt).with_options(scoring=scoring or prompt_scoring.NONE)

    def judgement(self, name: str, prompt: JudgePrompt) -> Request:
        return Request(
            kind="judgement",
            model=f"server/{name}",
            messages=prompt.messages,
            temperature=0.0,
            max_tokens=prompt.max_tokens or THOUGHT_TOKENS,
            base_url=prompt.base_url,
            schema=prompt.schema,
        )

    def probe(self, policy: Policy) -> Request | None:
        own = {"system_prompt": None, "temperature": 1.0, "top_p": 1.0}
        request = _request(policy.model_copy(update=own), prompt_scoring.PROBE_PROMPT)
        return request.with_options(probe="1")

    def exactness(self, policy: Policy) -> Request | None:
        own = {"system_prompt": None, "temperature": None, "top_p": None, "reasoning_effort": None}
        request = _request(policy.model_copy(update=own), exactness.PROMPT)
        return request.with_options(probe="exactness")

    def connect(self, call_settings: CallSettings) -> "ServerConnection":
        return ServerConnection(call_settings)


class ServerConnection:
    """See `cje.models.provider.Connection`. An optional parameter that a server refuses is left out
    from then on; `notes` says so."""

    def __init__(self, call_settings: CallSettings):
        import openai

        self.notes: list[str] = []
        self._call_settings, self._errors = call_settings, openai.OpenAIError
        self._http = http.http_client(openai.DefaultAsyncHttpxClient, call_settings)
        self._clients: dict[str, openai.AsyncOpenAI] = {}
        self._logprobs = LogprobsSeen(self.notes)
        self._schemas = SchemasSeen(self.notes, call_settings.found)
        self._taken: dict[tuple[str | None, str], set[str]] = defaultdict(set)
        self._room: dict[tuple[str | None, str], int] = {}  # of a judge's verdict, found out
        self._refused: dict[tuple[str | None, str], set[str]] = defaultdict(set)

    async def ask(self, request: Request) -> Reply:
        if request.kind == "answer":
            return await self._answer(request)
        if request.kind == "judgement":
            return await self._judgement(request)
        probe = request.option("probe")
        if probe == "exactness":
            return await self._exactness(request)
        if probe is not None:
            post = partial(self._scoring_post, request)
            return await prompt_scoring.find_way(request, self._answer, post)
        return await self._score(request)

    async def close(self) -> None:
        await self._http.aclose()

    async def _answer(self, request: Request) -> Reply:
        refused = self._refused_by(request)
        if self._logprobs.gives_none(request.model):
            refused.add("logprobs")
        path = path_of(request)
        try:
            body = await self._call(request, path, partial(answer_body, request))
        except http.Moderated as failed:
            return failed.reply
        with billed_reply(body):
            reply = (text_reply if path == "/completions" else chat_reply)(body)
            if "logprobs" not in refused:
                self._logprobs.see(request.model, reply)
        return reply

    async def _score(self, request: Request) -> Reply:
        answered = False  # whether the last call was

        async def post(path: str, body: dict[str, Any]) -> Any:
            nonlocal answered
            answered = False
            found = await self._scoring_post(request, path, body)
            answered = True
            return found

        try:
            return await prompt_scoring.score(request, post)
        except CallFailed as failed:
            failed.billed = failed.billed or answered
            raise

    async def _exactness(self, request: Request) -> Reply:
        """What the probe of the server's draws finds; a parameter that the probe needs and the
        server refuses is a doubt, not a failure."""

        async def draw(
            *, temperature: float, seed: int, count: int, top_k: int | None = None
        ) -> Any:
            drawn = replace(
                request, temperature=temperature, top_p=1.0, max_tokens=exactness.TOKENS,
                uid="exactness", seed=seed, draw=0,
            )  # fmt: skip
            wanted = {"top_k": ALL_TOKENS if top_k is None else top_k}
            wanted["logprobs" if path_of(request) == "/completions" else "top_logprobs"] = count

            def build(refused: set[str]) -> dict[str, Any]:
                return without(answer_body(drawn, set()) | wanted, refused - {*wanted, "logprobs"})

            return await self._call(drawn, path_of(request), build, needed={*wanted, "logprobs"})

        try:
            return exactness.exactness_reply(*await exactness.find_exactness(draw))
        except CallFailed as failed:
            if failed.again or failed.fatal:
                raise
            doubt = f"it does not answer the probe of how it samples: {failed.reason}"
            return exactness.exactness_reply(exactness.Exactness("unknown", doubt), [])

    async def _judgement(self, request: Request) -> Reply:
        """A verdict, in less room where a model cannot read prompt and `max_tokens` together."""
        place, refused = (request.base_url, request.model), self._refused_by(request)
        if self._schemas.in_prompt(request):
            refused.add("response_format")
        most = required(request.max_tokens)
        first = min(most, self._room.get(place, most))
        for room in (first, *(n for n in ROOMS if n < first)):
            sized = replace(request, max_tokens=room)
            try:
                body = await self._call(sized, "/chat/completions", partial(judgement_body, sized))
            except (http.TooLong, http.SettingRefused) as failed:
                if getattr(failed, "setting", "max_tokens") != "max_tokens":
                    raise
                too_long = failed
                continue
            self._room[place] = room
            with billed_reply(body):
                reply = chat_reply(body, logprobs=False)
            if "response_format" in refused and not self._schemas.in_prompt(request):
                self._schemas.refused(request, noted=True)
            self._schemas.see(request, reply)
            return reply
        raise too_long

    async def _call(
        self, request: Request, path: str, build: Build, needed: Collection[str] = ()
    ) -> Any:
        """The JSON of the reply to a body, which is built without what the server refuses, but for
        what is `needed`."""
        refused, place = self._refused_by(request), (request.base_url, request.model)
        while True:
            body = build(refused)
            try:
                found = await self._post(request, path, body)
                self._taken[place].update(body)
                return found
            except http.SettingRefused as failed:
                setting = failed.setting
                known = failed.doubtful and setting in self._taken[place]
                if setting not in OPTIONAL or setting not in body or known or setting in needed:
                    raise
            if setting in refused:
                continue
            refused.add(setting)
            if setting not in PLAIN:  # what that means is for the probe to say
                self.notes.append(f"{request.model} refuses {setting}: it is left out of the calls")

    async def _scoring_post(self, request: Request, path: str, body: dict[str, Any]) -> Any:
        """The same for a body that scores."""
        if path == "/tokenize":
            return await self._post(request, path, body)
        return await self._call(request, path, partial(without, body | request.extra_body))

    def _refused_by(self, request: Request) -> set[str]:
        return self._refused[request.base_url, request.model]

    async def _post(self, request: Request, path: str, body: dict[str, Any]) -> Any:
        """The JSON of the reply; /tokenize lies beside the interface's own paths."""
        import httpx2

        address = _address(request.base_url, request.model)
        url = address.removesuffix("/v1") + path if path == "/tokenize" else path
        body = {"model": request.model.removeprefix("server/"), **body}
        call = self._client(address).post(url, cast_to=httpx2.Response, body=body)
        response = await http.outcome(call, self._errors)
        return http.json_body(response.content)

    def _client(self, address: str) -> "openai.AsyncOpenAI":
        import openai

        if address not in self._clients:
            self._clients[address] = openai.AsyncOpenAI(
                api_key=os.environ.get("SERVER_API_KEY", "").strip() or "none",
                base_url=address,
                timeout=http.time_outs(self._call_settings),
                max_retries=self._call_settings.max_retries,
                http_client=self._http,
                default_headers=http.own_headers(self._call_settings.headers),
            )
        return self._clients[address]


def _request(policy: Policy, prompt: str) -> Request:
    messages = policy_messages(policy, prompt)
    options = None
    if policy.chat_template is not None:
        prompt = render_prompt(policy.chat_template, messages, policy.template_sum)
        options = (("prompt", prompt),)
    elif policy.reasoning_effort is not None:
        options = (("reasoning_effort", policy.reasoning_effort),)
    return Request(
        kind="score",
        model="server/" + policy.model.removeprefix("server/"),
        messages=messages,
        temperature=policy.temperature,
        top_p=policy.top_p,
        base_url=policy.base_url,
        options=options,
    )


def _address(base_url: str | None, model: str) -> str:
    if not base_url:
        raise CJEError(
            f"base_url: {model} needs the address of its server; set base_url, as in "
            "http://localhost:8000/v1"
        )
    return base_url.rstrip("/")


BACKEND = ServerBackend()
