"""The provider that answers for a model, ready to be used."""

import pandas as pd

from cje.errors import CJEError
from cje.models.likelihood import LikelihoodJudge
from cje.models.names import LIKELIHOOD, split_model
from cje.models.provider import Backend, Judge, Judging, Provider, Role
from cje.models.registry import registered
from cje.models.runner.calls import Calls
from cje.models.table_provider import TableProvider
from cje.settings import Policy


class JudgingProvider(Provider):
    """The provider of a judge that computes its scores; `prefix` is the name before the slash."""

    def __init__(self, prefix: str, judge: Judge):
        self.prefix, self._judge = prefix, judge

    def check(self, name: str, role: Role, policy: Policy | None = None) -> None:
        self._judge.check(name)
        if role != "judge":
            words = f"{self.prefix}/{name} judges answers and cannot write them; give another model"
            raise CJEError(words)

    def judge(self, answers: pd.DataFrame, name: str, how: Judging) -> pd.DataFrame:
        return self._judge.judge(answers, name, how)


def provider_for(model: str, calls: Calls | None = None) -> Provider:
    """The provider of a model; raises CJEError where there is none of that name.

    `calls` makes and keeps the calls of the providers that are asked.
    """
    prefix, name = split_model(model)
    if prefix == LIKELIHOOD:
        return LikelihoodJudge(provider_for(name, calls))
    found = registered(model)
    if isinstance(found, Backend):
        return TableProvider(found, calls)
    return found if isinstance(found, Provider) else JudgingProvider(prefix, found)


def check_model(model: str, role: Role, where: str, policy: Policy | None = None) -> None:
    """Raise CJEError, naming the setting `where`, unless the model exists and can play the role."""
    try:
        provider_for(model).check(split_model(model)[1], role, policy)
    except CJEError as error:
        raise CJEError(f"params.yaml: {where}: {error}") from None
