"""The provider that answers for a model, ready to be used."""

import importlib

from cje.errors import CJEError
from cje.models.asked import AskedProvider
from cje.models.likelihood import LikelihoodJudge
from cje.models.names import LIKELIHOOD, split_model
from cje.models.provider import Provider, Role
from cje.models.registry import ASKED, COMPUTED, backend_for
from cje.models.runner.calls import Calls
from cje.settings import Policy


def provider_for(model: str, calls: Calls | None = None) -> Provider:
    """The provider of a model; raises CJEError where there is none of that name.

    `calls` makes and keeps the calls of the providers that are asked.
    """
    provider, name = split_model(model)
    if provider in COMPUTED:
        return importlib.import_module(COMPUTED[provider]).PROVIDER
    if provider in ASKED:
        return AskedProvider(backend_for(model), calls)
    if provider == LIKELIHOOD:
        return LikelihoodJudge(provider_for(name, calls))
    known = ", ".join(f"{known}/..." for known in (*COMPUTED, *ASKED, LIKELIHOOD))
    raise CJEError(f"{model}: there is no provider '{provider}'; there are {known}")


def check_model(model: str, role: Role, where: str, policy: Policy | None = None) -> None:
    """Raise CJEError, naming the setting `where`, unless the model exists and can play the role."""
    try:
        provider_for(model).check(split_model(model)[1], role, policy)
    except CJEError as error:
        raise CJEError(f"params.yaml: {where}: {error}") from None
