"""The interfaces of providers: a `Provider` works on whole tables, a `Backend` on single requests.

`cje.models.table_provider` makes a provider of a backend: it turns tables into requests and replies
into tables, keeps every reply and runs the calls. A backend knows its SDK or its model, and nothing
of tables, the store or other calls.
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
    """How answers are judged: the scale; for a judge that reads texts its `rubric` (None: the
    default one); for a judge on a server its address, and, where it scores texts, the template of
    its prompts."""

    score_range: tuple[float, float]
    seed: int
    rubric: Rubric | None = None
    base_url: str | None = None
    chat_template: str | None = None


@dataclass(frozen=True)
class JudgePrompt:
    """What a judge that reads texts is given: the rubric's `messages` (role, content), the JSON
    `schema` of its verdict, its address where it is on a server, and `max_tokens` where the
    settings limit them."""

    messages: tuple[tuple[str, str], ...]
    schema: str
    base_url: str | None = None
    max_tokens: int | None = None


class Provider(ABC):
    """A provider of answers, scores or judgements for whole tables. A method that it does not
    override raises CJEError: the provider cannot do that."""

    def can(self, name: str) -> frozenset[Capability]:
        """The optional capabilities of the model:

        - `score`: it gives the log-probabilities of any text, which exact weights and the judge
          likelihood/... need. Where the provider cannot know, `Backend.probe` finds out.
        - `batch`: it answers through an interface of `cje.models.providers.batch_apis`, and the
          setting `batch` applies to it.
        """
        return frozenset()

    @abstractmethod
    def check(self, name: str, role: Role, policy: Policy | None = None) -> None:
        """Raise CJEError unless the model `name` exists and can play the role with the settings
        of `policy` (None for a judge)."""

    def prompts(self, name: str, n: int, seed: int) -> pd.DataFrame:
        """Table prompts: the first `n` of the provider's own prompts, in an order set by the
        seed."""
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
        """Teacher forcing: `uid`, `token_logprobs`, `sequence_logp` and `logprob_kind` of given
        answers (rows of table logs, written by the policy `author`) under the policy; null where
        they are not available."""
        raise CJEError(f"{policy.model} has no log-probabilities")

    def judge(self, answers: pd.DataFrame, name: str, how: Judging) -> pd.DataFrame:
        """`score` and `reason` of each answer, row for row. `answers` has `prompt` and `answer`,
        and `checks` and `reference` where prompts have them. `score` is on the scale, NaN where
        there is none; `reason` is what the judge says of its score (null where it says nothing), or
        why there is no score."""
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
    """How calls are made: the seconds that one attempt may take, the retries that the SDK makes,
    calls at once, additional headers (name, and the environment variable that holds the value), and
    the file that keeps what is found out about servers."""

    timeout: float = 120.0
    max_retries: int = 6
    concurrency: int = 16
    headers: tuple[tuple[str, str], ...] = ()
    found: Path | None = None


class Backend(ABC):
    """What all backends share: which models there are, and the requests for them. Implement
    `ApiBackend` or `InProcessBackend`, which add how requests are answered."""

    keys: tuple[str, ...] = ()  # environment variables that must hold a key before a call
    # `max_tokens` of earlier versions' judgements; verdicts that were kept under them are reused.
    judged_before: tuple[int, ...] = ()

    def can(self, name: str) -> frozenset[Capability]:
        """As `Provider.can`."""
        return frozenset()

    @abstractmethod
    def check(self, name: str, role: Role, policy: Policy | None) -> None:
        """Raise CJEError, before any call, for a model, role or setting that cannot work.
        `policy` is None where the model judges."""

    def ready(self, name: str) -> None:  # noqa: B027
        """Raise CJEError where a call could not be made on this machine, because a package or a
        file is missing. Called before the first call, and not at all where every reply is kept
        already."""

    @abstractmethod
    def answer(self, policy: Policy, prompt: str) -> Request:
        """The request for an answer of the policy; `uid`, `seed` and `draw` are filled in
        later."""

    def score(self, policy: Policy, prompt: str, scoring: str | None) -> Request:
        """The request for the log-probabilities of a given text under the policy; `answer`,
        `tokens`, `token_ids` and `ended` are filled in later. `scoring` is the reply to `probe`."""
        raise CJEError(f"{policy.model}: cannot score a given text")

    def judgement(self, name: str, prompt: JudgePrompt) -> Request:
        """The request for a verdict of the model: at temperature 0 where it takes one, and, where
        the prompt sets no `max_tokens`, with room for a short reason, and for thought unless the
        model is known not to think."""
        raise CJEError(f"{name} writes answers and cannot judge them")

    def probe(self, policy: Policy) -> Request | None:
        """A request whose reply says in its text how the policy's server scores given texts, or
        "none"; None where `can` is certain."""
        return None

    def exactness(self, policy: Policy) -> Request | None:
        """A request whose reply says whether the policy's server samples by the log-probabilities
        that it reports, as JSON of `cje.models.exactness.Exactness`; None where each reply states
        the kind of its log-probabilities."""
        return None


class ApiBackend(Backend):
    """A backend for models behind a network, called through the SDK `package`, which may be
    missing."""

    provider: str  # the name before a model's slash
    package = "openai"  # the SDK
    bills_filtered = False  # whether a prompt that the provider's filter stops is paid for

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
        """An open connection; the caller closes it."""


class InProcessBackend(Backend):
    """A backend for models in this process, which answer many requests at once."""

    @abstractmethod
    def ask_many(self, requests: Sequence[Request]) -> Iterator[tuple[Request, Outcome]]:
        """Each request with its reply or its failure, as they come, in any order."""


def policy_messages(policy: Policy, prompt: str) -> tuple[tuple[str, str], ...]:
    """The messages to a policy (role, content): its system prompt, if any, and the prompt."""
    system = () if policy.system_prompt is None else (("system", policy.system_prompt),)
    return (*system, ("user", prompt))


class Connection(Protocol):
    """One SDK client, used inside one event loop. `notes` are lines for the user on what it found
    out about models and servers."""

    notes: list[str]

    async def ask(self, request: Request) -> Reply:
        """The reply; raises CallFailed with a reason in words, never a key in them. The SDK
        retries network faults and busy servers; when this raises it has given up."""

    async def close(self) -> None:
        """Give back what the client holds."""
