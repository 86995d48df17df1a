"""Who answers and who judges: one module a provider, found by the name before a model's slash."""

import importlib
import re
from typing import Literal, Protocol

import pandas as pd

from cje.errors import CJEError
from cje.settings import Policy

PROVIDERS = {"sim": "cje.models.sim"}  # imported when first asked for
IMPLIED = ((r"gpt-|o\d", "openai"), (r"claude-", "anthropic"))




class Provider(Protocol):
    """What a provider does. `capabilities` names what it can: logprobs, score, seed."""

    capabilities: frozenset[str]
    logprob_kind: str | None

    def check(self, name: str, role: Role) -> None:
        """Raise CJEError unless the model `name` exists and can play the role."""

    def prompts(self, name: str, n: int, seed: int) -> pd.DataFrame:
        """`uid`, `prompt`, `source`, `checks` of n prompts of its own set `name`."""

    def generate(
        self, prompts: pd.DataFrame, policy: Policy, *, draw: int, seed: int
    ) -> pd.DataFrame:
        """One answer to each prompt (`uid`, `prompt`), row for row: the columns of table logs
        but `action`. `draw` tells answers to the same prompt apart."""

    def score(self, answers: pd.DataFrame, policy: Policy) -> pd.DataFrame:
        """Teacher forcing: `uid`, `token_logprobs`, `sequence_logp`, `logprob_kind` of given
        answers (`uid`, `prompt`, `answer`, `tokens`, `finish_reason`) under the policy."""

    def judge(
        self,
        answers: pd.DataFrame,
        name: str,
        *,
        score_range: tuple[float, float],
        seed: int,
    ) -> pd.DataFrame:
        """`score` on `score_range` (NaN: none) and `reason` (why there is none) of each answer
        (`prompt`, `answer`), row for row."""


def split_model(model: str) -> tuple[str, str]:
    """Provider and name of a model: `sim/base` is ("sim", "base"); gpt-* implies openai."""
    for pattern, provider in IMPLIED:
        if re.match(pattern, model):
            return provider, model
    provider, _, name = model.partition("/")
    return provider, name


def provider_for(model: str) -> Provider:
    """The provider of a model; raises CJEError where there is none of that name."""
    name, _ = split_model(model)
    if name not in PROVIDERS:
        allowed = ", ".join(f"{known}/..." for known in PROVIDERS)
        raise CJEError(f"{model}: there is no provider '{name}'; there are {allowed}")
    return importlib.import_module(PROVIDERS[name]).PROVIDER


def check_model(model: str, role: Role, where: str) -> None:
    """Raise CJEError, naming the setting `where`, unless the model exists and can play the role."""
    try:
        provider_for(model).check(split_model(model)[1], role)
    except CJEError as error:
        raise CJEError(f"params.yaml: {where}: {error}") from None
