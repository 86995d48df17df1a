"""Providers and judges by the name before a model's slash: those of the project, and those that
installed packages add (`cje.plugins`).

An object is a `Backend`, whose models are asked and whose replies are kept: an `ApiBackend` over a
network, or an `InProcessBackend`; a `Provider`, which computes its answers; or a `Judge`, which
computes scores. Each is imported when it is first wanted.
"""

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules

from cje.errors import CJEError
from cje.models import providers
from cje.models.names import LIKELIHOOD, split_model
from cje.models.provider import ApiBackend, Backend, InProcessBackend, Judge, Provider
from cje.plugins import JUDGES, PROVIDERS, load_plugin, plugins

AnyBackend = ApiBackend | InProcessBackend

OBJECTS = ("BACKEND", "PROVIDER", "JUDGE")  # what the module of a provider calls its object
ELSEWHERE = {"local": "cje.models.local.provider"}


@cache
def own(name: str) -> object | None:
    """The object in the project's module of that name under `cje.models.providers`, or None."""
    path = ELSEWHERE.get(name, f"{providers.__name__}.{name}")
    if not name.isidentifier() or find_spec(path) is None:
        return None
    module = vars(import_module(path))
    return next((module[key] for key in OBJECTS if key in module), None)


def own_names() -> list[str]:
    """The names of the project's providers and judges."""
    modules = [module.name for module in iter_modules(providers.__path__)]
    return [name for name in (*ELSEWHERE, *modules) if own(name) is not None]


def registered(model: str) -> AnyBackend | Provider | Judge:
    """The object behind a model's provider; raises CJEError where there is none of that name."""
    if (found := _found(model)) is None:
        names = {LIKELIHOOD, *own_names(), *plugins(PROVIDERS), *plugins(JUDGES)}
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
    if (found := own(name)) is not None:
        return _checked(found, PROVIDERS, name)
    for group in (PROVIDERS, JUDGES):
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
