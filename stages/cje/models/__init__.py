"""Who answers and who judges: one module a provider, found by the name before a model's slash."""

import importlib
import re
from typing import TYPE_CHECKING, Literal, Protocol

import pandas as pd

from cje.errors import CJEError
from cje.schemas import NO_ANSWER as NO_ANSWER
from cje.settings import Policy

if TYPE_CHECKING:
    from cje.judging import Rubric
    from cje.models.calls import Calls

# Imported when first asked for. Computed: exact, free, nothing to keep. Asked: every reply is kept.
COMPUTED = {"sim": "cje.models.sim", "checks": "cje.models.checks"}
ASKED = {
    "openai": "cje.models.openai",
    "anthropic": "cje.models.anthropic",
    "azure": "cje.models.azure",
    "gemini": "cje.models.gemini",
    "openrouter": "cje.models.openrouter",
    "server": "cje.models.server",
    "local": "cje.models.local",
}
LIKELIHOOD = "likelihood"  # likelihood/<provider>/<name>: a judge made of a scoring model
IMPLIED = ((r"gpt-|o\d", "openai"), (r"claude-", "anthropic"))

Role = Literal["policy", "judge"]


class Provider(Protocol):
    """What a provider does, a table at a time."""

    def can(self, name: str) -> frozenset[str]:
        """What the model can do: of `logprobs`, `score`, `seed`, `batch`, `judge`."""

    def check(self, name: str, role: Role, policy: Policy | None) -> None:
        """Raise CJEError unless the model `name` exists and can play the role with the settings
        of `policy` (None for a judge)."""

    def generate(
        self, prompts: pd.DataFrame, policy: Policy, *, draw: int, seed: int
    ) -> pd.DataFrame:
        """One answer to each prompt (`uid`, `prompt`), row for row: the columns of table logs
        but `action`. `draw` tells answers to the same prompt apart."""

    def score(self, answers: pd.DataFrame, policy: Policy, *, author: Policy) -> pd.DataFrame:
        """Teacher forcing: `uid`, `token_logprobs`, `sequence_logp`, `logprob_kind` of given
        answers (rows of table logs, written by the policy `author`) under the policy; null where
        it cannot be had."""

    def judge(
        self,
        answers: pd.DataFrame,
        name: str,
        *,
        score_range: tuple[float, float],
        seed: int,
        rubric: "Rubric | None" = None,
        base_url: str | None = None,
        chat_template: str | None = None,
    ) -> pd.DataFrame:
        """`score` on `score_range` (NaN: none) and `reason` (the judge's words on the score, null
        where it gives none; without a score, why there is none) of each answer (`prompt`,
        `answer`, and where the prompt has them `checks`, `reference`), row for row.
        `rubric` is what a judge that reads texts is told (None: the default one), `base_url` the
        address of one on a server, `chat_template` how one there that scores texts is prompted."""


def split_model(model: str) -> tuple[str, str]:
    """Provider and name of a model: `sim/base` is ("sim", "base"); gpt-* implies openai."""
    for pattern, provider in IMPLIED:
        if re.match(pattern, model):
            return provider, model
    provider, _, name = model.partition("/")
    return provider, name


def full_name(model: str) -> str:
    """The model with its provider: gpt-4o is openai/gpt-4o."""
    return "/".join(split_model(model))


def provider_for(model: str, calls: "Calls | None" = None) -> Provider:
    """The provider of a model; raises CJEError where there is none of that name.

    `calls` makes and keeps the calls of the providers that are asked.
    """
    provider, name = split_model(model)
    if provider in COMPUTED:
        return importlib.import_module(COMPUTED[provider]).PROVIDER
    if provider in ASKED:
        from cje.models.asked import AskedProvider

        return AskedProvider(backend_for(model), calls)
    if provider == LIKELIHOOD:
        from cje.models.likelihood import LikelihoodJudge

        return LikelihoodJudge(provider_for(name, calls))
    known = ", ".join(f"{known}/..." for known in (*COMPUTED, *ASKED, LIKELIHOOD))
    raise CJEError(f"{model}: there is no provider '{provider}'; there are {known}")


def backend_for(model: str):
    """The backend (`cje.models.backend.Backend`) of a model that is asked."""
    return importlib.import_module(ASKED[split_model(model)[0]]).BACKEND


def check_model(model: str, role: Role, where: str, policy: Policy | None = None) -> None:
    """Raise CJEError, naming the setting `where`, unless the model exists and can play the role."""
    try:
        provider_for(model).check(split_model(model)[1], role, policy)
    except CJEError as error:
        raise CJEError(f"params.yaml: {where}: {error}") from None
