"""The checks of a prompt as JSON text, read strictly and written.

`[{"check": "words", "at_least": 20, "at_most": 60}, {"check": "include", "words": ["budget"]}]`
"""

import json
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from typing import Any, NoReturn

from pydantic import BaseModel, ValidationError

from cje.errors import CJEError
from cje.judging.checks.kinds import KINDS, Check


def parse_checks(text: str, where: str) -> tuple[Check, ...]:
    """The checks that JSON text names, in its order.

    Raises CJEError, which begins with `where`, for anything but a list of one or more checks, each
    of a known kind with the parameters of its kind and with bounds that some answer can meet.
    """
    try:
        entries = json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise CJEError(f"{where}: not valid JSON: {error}") from None
    if not isinstance(entries, list) or not entries:
        raise CJEError(f'{where}: must be a list of checks, [{{"check": "words", ...}}]')
    checks: list[Check] = []
    for i, entry in enumerate(entries):
        place = f"{where}: check {i + 1}"
        check = _parse_check(entry, place)
        if check in checks:
            raise CJEError(f"{place}: the same as check {checks.index(check) + 1}; keep one")
        checks.append(check)
    return tuple(checks)


def write_checks(checks: Iterable[Check]) -> str:
    """JSON text that `parse_checks` reads as the same checks."""
    entries = [check.model_dump(mode="json", by_alias=True, exclude_unset=True) for check in checks]
    return json.dumps(entries, ensure_ascii=False)


def _parse_check(entry: Any, where: str) -> Check:
    if not isinstance(entry, dict):
        raise CJEError(f'{where}: must be an object, {{"check": "words", ...}}')
    kind = entry.get("check")
    if not isinstance(kind, str) or kind not in KINDS:
        given = "missing" if "check" not in entry else f"{_show(kind)} is not known"
        raise CJEError(f'{where}: "check": {given}; {_hint(str(kind), KINDS)}')
    try:
        return KINDS[kind].model_validate(entry)
    except ValidationError as error:
        raise CJEError(f"{where} ({kind}): {_problem(error, KINDS[kind])}") from None


def _problem(error: ValidationError, kind: type[BaseModel]) -> str:
    """Words for the first of pydantic's problems with a check."""
    item = error.errors(include_url=False)[0]
    path = [part for part in item["loc"] if isinstance(part, str)]
    name = path[0] if path else ""
    names = [field.alias or key for key, field in kind.model_fields.items() if key != "check"]
    if item["type"] == "extra_forbidden":
        return f"unknown parameter '{name}'; {_hint(name, names)}"
    if item["type"] == "missing":
        return f"the parameter '{name}' is missing"
    ours = item["type"] == "value_error"
    reason = str(item["ctx"]["error"]) if ours else item["msg"].replace("Input should", "must")
    return f"'{name}': {_show(item['input'])}: {reason}" if name else reason


def _hint(name: str, known: Collection[str]) -> str:
    near = get_close_matches(name, list(known), n=1)
    if near:
        return f"did you mean '{near[0]}'?"
    return f"there are {', '.join(known)}" if known else "this check takes none"


def _show(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise ValueError(f"the key '{key}' twice in one object")
    return dict(pairs)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
