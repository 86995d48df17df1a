"""Providers and judges by the name before a model's slash: those of the project, and those that
installed packages add (`cje.plugins`).

An object is a `Backend`, which is asked and whose replies are kept; a `Provider`, which computes
its answers; or a `Judge`, which computes scores. Each is imported when it is first asked for.
"""

from importlib.metadata import EntryPoint
from typing import Any

from cje.errors import CJEError
from cje.models.names import LIKELIHOOD, split_model
from cje.models.provider import Backend
from cje.plugins import JUDGES, PROVIDERS, load_plugin, plugins

OWN = {
    PROVIDERS: {
        "anthropic": "cje.models.providers.anthropic:BACKEND",
        "azure": "cje.models.providers.azure:BACKEND",
        "gemini": "cje.models.providers.gemini:BACKEND",
        "local": "cje.models.local.provider:BACKEND",
        "openai": "cje.models.providers.openai:BACKEND",
        "openrouter": "cje.models.providers.openrouter:BACKEND",
        "server": "cje.models.providers.server:BACKEND",
        "sim": "cje.models.providers.sim:PROVIDER",
    },
    JUDGES: {"checks": "cje.models.providers.checks:JUDGE"},
}


def registered(model: str) -> Any:
    """The object behind a model's provider; raises CJEError where there is none of that name."""
    name, _ = split_model(model)
    for group, own in OWN.items():
        if name in own:
            return EntryPoint(name, own[name], group).load()
        if name in plugins(group):
            return load_plugin(group, name)
    raise CJEError(f"{model}: there is no provider '{name}'; there are {', '.join(_known())}")


def is_asked(model: str) -> bool:
    """Whether the model is asked, so that its replies are kept, and may cost money."""
    return _is_known(model) and isinstance(registered(model), Backend)


def is_computed(model: str) -> bool:
    """Whether the model computes its answers or scores, which cost nothing."""
    return _is_known(model) and not isinstance(registered(model), Backend)


def backend_for(model: str) -> Backend:
    """The backend of a model that is asked."""
    found = registered(model)
    if not isinstance(found, Backend):
        raise TypeError(f"{model} is not asked")
    return found


def _is_known(model: str) -> bool:
    name, _ = split_model(model)
    return any(name in own or name in plugins(group) for group, own in OWN.items())


def _known() -> list[str]:
    names = [name for group, own in OWN.items() for name in (*own, *plugins(group))]
    return [f"{name}/..." for name in sorted({*names, LIKELIHOOD})]
