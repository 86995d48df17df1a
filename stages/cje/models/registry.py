"""Providers and judges by the name before a model's slash: those of the project, and those that
installed packages add (`cje.plugins`).

An object is a `Backend`, whose models are asked and whose replies are kept: an `ApiBackend` over a
network, or an `InProcessBackend`; a `Provider`, which computes its answers; or a `Judge`, which
computes scores. Each is imported when it is first wanted.
"""

from importlib.metadata import EntryPoint

from cje.errors import CJEError
from cje.models.names import LIKELIHOOD, split_model
from cje.models.provider import ApiBackend, Backend, InProcessBackend, Judge, Provider
from cje.plugins import JUDGES, PROVIDERS, load_plugin, plugins

AnyBackend = ApiBackend | InProcessBackend

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


def registered(model: str) -> AnyBackend | Provider | Judge:
    """The object behind a model's provider; raises CJEError where there is none of that name."""
    if (found := _found(model)) is None:
        names = {LIKELIHOOD, *(n for group, own in OWN.items() for n in (*own, *plugins(group)))}
        known = ", ".join(f"{name}/..." for name in sorted(names))
        name, _ = split_model(model)
        raise CJEError(f"{model}: there is no provider '{name}'; there are {known}")
    return found


def is_asked(model: str) -> bool:
    """Whether the model is asked, so that its replies are kept, and may cost money."""
    return isinstance(_found(model), Backend)


def is_computed(model: str) -> bool:
    """Whether the model computes its answers or scores, which cost nothing."""
    found = _found(model)
    return found is not None and not isinstance(found, Backend)


def backend_for(model: str) -> AnyBackend:
    """The backend of a model that is asked."""
    found = registered(model)
    if not isinstance(found, AnyBackend):
        raise TypeError(f"{model} is not asked")
    return found


def _found(model: str) -> AnyBackend | Provider | Judge | None:
    """The object behind a model's provider, or None. Installed packages are looked through only for
    a name that is not one of the project's."""
    name, _ = split_model(model)
    for group, own in OWN.items():
        if name in own:
            return _checked(EntryPoint(name, own[name], group).load(), group, name)
    for group in OWN:
        if name in plugins(group):
            return _checked(load_plugin(group, name), group, name)
    return None


def _checked(found: object, group: str, name: str) -> AnyBackend | Provider | Judge:
    if isinstance(found, AnyBackend | Provider | Judge):
        return found
    raise CJEError(
        f"{group}: {name}: {type(found).__name__} is no ApiBackend, InProcessBackend, Provider or "
        "Judge (docs/extending.md)"
    )
