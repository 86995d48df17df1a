"""What installed packages add to the project: providers, judges and estimators, by entry points.

A package names its own in its pyproject.toml, by the name that settings use:

    [project.entry-points."cje.providers"]
    program = "my_package.program:BACKEND"
"""

from functools import cache
from importlib.metadata import EntryPoint, entry_points

from cje.errors import CJEError

PROVIDERS, JUDGES, ESTIMATORS = "cje.providers", "cje.judges", "cje.estimators"


@cache
def plugins(group: str) -> dict[str, EntryPoint]:
    """What the installed packages have in the group, by name."""
    return {point.name: point for point in entry_points(group=group)}


def load_plugin(group: str, name: str) -> object:
    """The object that an installed package has of that name, of a class an object; raises CJEError
    where it cannot be loaded."""
    point = plugins(group)[name]
    try:
        found = point.load()
        return found() if isinstance(found, type) else found
    except Exception as error:
        package = point.dist.name if point.dist else "an installed package"
        raise CJEError(
            f"{group}: {name}: {package} names {point.value}, which cannot be loaded: "
            f"{type(error).__name__}: {error}"
        ) from error
