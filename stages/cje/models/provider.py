"""What a provider does: a table at a time (`Provider`), or, where it is asked over HTTP or model
by model, request by request (`Backend`).

`cje.models.table_provider` turns tables into requests and replies into tables, keeps every reply,
and runs the calls; a backend knows its SDK, and nothing of tables, stores or other calls.
"""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import pandas as pd

from cje.errors import CJEError
from cje.judging import Rubric
from cje.models.requests import Outcome, Reply, Request
from cje.settings import Policy

Role = Literal["policy", "judge"]
Capability = Literal["score", "batch"]


@dataclass(frozen=True)
class Judging:
    """How answers are judged: on which scale, by which `rubric` a judge that reads texts (None: the
    default one), at which address one on a server, and by which template one there that scores
    texts."""

    score_range: tuple[float, float]
    seed: int
    rubric: Rubric | None = None
    base_url: str | None = None
    chat_template: str | None = None


@dataclass(frozen=True)
class JudgePrompt:
    """What a judge that reads texts is given: the rubric's `messages` (role, content), the JSON
    `schema` of its verdict, the address of one on a server, and `max_tokens` where the settings
    bound them."""

    messages: tuple[tuple[str, str], ...]
    schema: str
    base_url: str | None = None
    max_tokens: int | None = None


class Provider(ABC):
    """What a provider does, a table at a time; what it does not say, it cannot do."""

    def can(self, name: str) -> frozenset[Capability]:
        """What the model can do that not every model can.

        score: tell the log-probabilities of a given text, which exact weights and the judge
        likelihood/... need. Of a server it is then found out (`Backend.probe`).
        batch: answer through an interface of `cje.models.providers.batch_apis`, as the setting
        `batch` asks.
        """
        return frozenset()

    @abstractmethod
    def check(self, name: str, role: Role, policy: Policy | None = None) -> None:
        """Raise CJEError unless the model `name` exists and can play the role with the settings
        of `policy` (None for a judge)."""

    def prompts(self, name: str, n: int, seed: int) -> pd.DataFrame:
        """The first `n` of a set of prompts of its own, in an order by the seed: table prompts."""
        raise CJEError(f"{name} is not a set of prompts")

    def generate(
        self,
        prompts: pd.DataFrame,
        policy: Policy,
        *,
        draw: int,
        seed: int,
        accept_cut: bool = False,
    ) -> pd.DataFrame:
        """One answer to each prompt (`uid`, `prompt`), row for row: the columns of table logs
        but `action`. `draw` numbers the answers to the same prompt. Unless answers cut at
        `max_tokens` are accepted, a policy whose first answers are all cut is asked no more."""
        raise CJEError(f"{policy.model} judges answers and cannot write them")

    def score(self, answers: pd.DataFrame, policy: Policy, *, author: Policy) -> pd.DataFrame:
        """Teacher forcing: `uid`, `token_logprobs`, `sequence_logp`, `logprob_kind` of given
        answers (rows of table logs, written by the policy `author`) under the policy; null where
        it cannot be had."""
        raise CJEError(f"{policy.model} has no log-probabilities")

    def judge(self, answers: pd.DataFrame, name: str, how: Judging) -> pd.DataFrame:
        """`score` on the scale (NaN: none) and `reason` (the judge's words on the score, null
        where it gives none; without a score, why there is none) of each answer (`prompt`,
        `answer`, and where the prompt has them `checks`, `reference`), row for row."""
        raise CJEError(f"{name} writes answers and cannot judge them")


@runtime_checkable
class Judge(Protocol):
    """A judge that computes its scores."""

    def check(self, name: str) -> None:
        """Raise CJEError unless there is a judge of that name."""

    def judge(self, answers: pd.DataFrame, name: str, how: Judging) -> pd.DataFrame:
        """As `Provider.judge`."""


@dataclass(frozen=True)
class CallSettings:
    """How calls are made: seconds that one attempt may take, retries that the SDK makes, headers
    beside the usual ones (name, and the environment variable that holds the value), and the file
    that keeps what is found out about servers."""

    timeout: float = 120.0
    max_retries: int = 6
    concurrency: int = 16
    headers: tuple[tuple[str, str], ...] = ()
    found: Path | None = None


class Backend(ABC):
    """A provider by its SDK; what it does not say, it cannot do."""

    keys: tuple[str, ...] = ()  # environment variables that must hold a key before a call
    # Limits that earlier versions gave a judge; verdicts kept under one are taken as they are.
    judged_before: tuple[int, ...] = ()

    def can(self, name: str) -> frozenset[Capability]:
        """As `Provider.can`."""
        return frozenset()

    @abstractmethod
    def check(self, name: str, role: Role, policy: Policy | None) -> None:
        """Raise CJEError, before any call, for a model, role or setting that cannot work.
        `policy` is None where the model judges."""

    def ready(self, name: str) -> None:  # noqa: B027
        """Raise CJEError where a call could not be made on this machine: a package or a file is
        missing. Called before the first call, never where all replies are kept already."""

    @abstractmethod
    def answer(self, policy: Policy, prompt: str) -> Request:
        """The request for an answer of the policy, without `uid`, `seed` and `draw`."""

    def score(self, policy: Policy, prompt: str, scoring: str | None) -> Request:
        """The request for the log-probabilities of a given text under the policy, without
        `answer`, `tokens`, `token_ids` and `ended`. `scoring`: what `probe` was answered."""
        raise CJEError(f"{policy.model}: cannot score a given text")

    def judgement(self, name: str, prompt: JudgePrompt) -> Request:
        """The request for a verdict by the model: at temperature 0 where it takes one, with room
        for a short reason, and for thought unless the model is known to have none, where the prompt
        sets no `max_tokens`."""
        raise CJEError(f"{name} writes answers and cannot judge them")

    def probe(self, policy: Policy) -> Request | None:
        """A request whose reply's text says how the policy's server scores given texts, or "none";
        None where `can` tells."""
        return None

    def exactness(self, policy: Policy) -> Request | None:
        """A request whose reply's text says whether the policy's server draws by the
        log-probabilities that it tells, as `cje.models.exactness.Exactness` reads it; None where
        replies state their kind."""
        return None


class ApiBackend(Backend):
    """A `Backend` over a network, by an SDK that may be missing."""

    provider: str  # the name before a model's slash
    package = "openai"  # the SDK
    bills_filtered = False  # whether a prompt that its filter stops is paid for, as nobody says

    def check(self, name: str, role: Role, policy: Policy | None) -> None:
        if not name:
            raise CJEError(f"{self.provider}/ names no model")
        if policy is not None and policy.chat_template is not None:
            raise CJEError(
                f"chat_template: {self.provider}/{name} does not take one; only server/... does"
            )

    def ready(self, name: str) -> None:
        try:
            importlib.import_module(self.package)
        except ImportError:
            words = f"the package {self.package} is missing; `pip install {self.package}`"
            raise CJEError(words) from None

    @abstractmethod
    def connect(self, call_settings: CallSettings) -> "Connection":
        """An open connection, which its user closes."""


class InProcessBackend(Backend):
    """A `Backend` whose models run in this process, and answer many requests at once."""

    @abstractmethod
    def ask_many(self, requests: Sequence[Request]) -> Iterator[tuple[Request, Outcome]]:
        """Each request with its reply, or with why there is none, in any order, as they come."""


def policy_messages(policy: Policy, prompt: str) -> tuple[tuple[str, str], ...]:
    """The messages to a policy (role, content): its system prompt, if any, and the prompt."""
    system = () if policy.system_prompt is None else (("system", policy.system_prompt),)
    return (*system, ("user", prompt))


class Connection(Protocol):
    """One SDK client. Used inside one event loop. `notes`: what it found out about models and
    servers, a line each, for the user."""

    notes: list[str]

    async def ask(self, request: Request) -> Reply:
        """The reply; raises CallFailed with a reason in words, never a key in them. The SDK
        retries network faults and busy servers; when this raises it has given up."""

    async def close(self) -> None:
        """Give back what the client holds."""
