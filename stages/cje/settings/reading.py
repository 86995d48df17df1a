"""The settings in a YAML file, and what is wrong with them in words."""

from collections.abc import Mapping
from difflib import get_close_matches
from os import PathLike
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from cje.errors import CJEError
from cje.settings.guard_rails import GuardRails
from cje.settings.schema import POLICY_WORDS, PolicyEntry, Settings
from cje.settings.values import show_value
from cje.thresholds import THRESHOLDS

MAX_LINES = 5  # of an error message


def load_settings(path: str | PathLike[str] = "params.yaml") -> Settings:
    """The settings in the YAML file `path`, read as DVC reads it (YAML 1.2).

    Raises one CJEError that lists what is wrong: each key, its value and what is allowed.
    """
    path = Path(path)
    try:
        values = YAML(typ="safe").load(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise CJEError(
            f"{path}: cannot be read ({error.strerror}); run this in the project's folder"
        ) from error
    except UnicodeDecodeError as error:
        raise CJEError(f"{path}: not UTF-8 text: {error.reason} at byte {error.start}") from error
    except YAMLError as error:
        raise CJEError(f"{path}{_yaml_problem(error)}") from error
    if not isinstance(values, Mapping):
        raise CJEError(f"{path}: must hold settings, one `key: value` a line")
    return parse_settings(values, str(path))


def parse_settings(values: Mapping[str, Any], where: str = "settings") -> Settings:
    """`values` as Settings; errors as from `load_settings`, with `where` in place of the file."""
    try:
        return Settings.model_validate(dict(values))
    except ValidationError as error:
        problems: dict[str, str] = {}  # the first problem of each key, in the order of the keys
        for item in error.errors(include_url=False):
            key, words = _problem(item, values)
            problems.setdefault(key, f"{where}: {key}: {words}")
    lines = list(problems.values())
    if len(lines) > MAX_LINES:
        lines = [*lines[: MAX_LINES - 1], f"and {len(lines) - MAX_LINES + 1} more"]
    raise CJEError("\n".join(lines))


def _yaml_problem(error: YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
    problem = (getattr(error, "problem", None) or str(error)).splitlines()[0]
    if "duplicate key" in problem:
        return f"{place}: {problem.split(' with ')[0].replace('found ', '')}; keep one of them"
    return f"{place}: not valid YAML: {problem}"


def _problem(item: Mapping[str, Any], values: Mapping[str, Any]) -> tuple[str, str]:
    """The dotted key of one of pydantic's errors, and our words for it."""
    loc, kind = item["loc"], item["type"]
    if loc[-1] == "[key]" and kind == "string_type":
        return loc[0], f"{show_value(loc[1])} is not allowed as a name; put it in quotes"
    path = loc[:1]  # not the place inside a list
    model: type[BaseModel] = Settings
    if loc[0] == "policies" and len(loc) > 1:
        path, model = loc[:3], PolicyEntry
    elif loc[0] == "guard_rails" and len(loc) > 1:
        path, model = loc[:2], GuardRails
    fields = model.model_fields
    key = ".".join(p if isinstance(p, str) and p.isprintable() else show_value(p) for p in path)
    if kind in ("extra_forbidden", "invalid_key"):
        if key in THRESHOLDS:
            return key, f"is now guard_rails.{key}"
        near = get_close_matches(str(path[-1]), fields, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"the keys are {', '.join(fields)}"
        return key, f"unknown key; {hint} (its value: {show_value(item['input'])})"
    if kind == "value_error":
        return key, str(item["ctx"]["error"])
    in_policies = loc[0] == "policies" and len(path) == 2
    allowed = POLICY_WORDS if in_policies else fields[path[-1]].description
    value: Any = values
    for part in path:
        if part not in value:
            return key, f"missing; give {allowed}"
        value = value[part]
    return key, f"{show_value(value)} is not allowed; give {allowed}"
