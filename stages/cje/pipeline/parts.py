"""The parts of a run's cast on file: data/cast, a JSON file a part, as check_settings wrote them.

A stage reads its own part and no other setting of a model's, so that an edit runs again what it
touches and nothing else.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cje.errors import CJEError, writing

CAST = Path("data/cast")


@dataclass(frozen=True)
class Needs:
    """What the judges need that prompts bring: checks that the `rules` of checks/... look at, and
    for `references` (the setting and the name of a rubric) a reference answer."""

    rules: tuple[str, ...] = ()
    references: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Likeness:
    """Which targets are the base under another name; by policy, whether the judge or the oracle is
    its own model; and whether answers can be put on the list of those to label."""

    identical: tuple[str, ...] = ()
    judged_by_itself: dict[str, str] = field(default_factory=dict)
    adds_labels: bool = False


def write_part(name: str, part: Any) -> None:
    """Write a part; equal ones are equal bytes."""
    path = CAST / f"{name}.json"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(part, indent=1, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8", newline="\n")


def read_part(name: str) -> Any:
    """What a part holds; raises CJEError where there is none."""
    path = CAST / f"{name}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CJEError(
            f"{path}: no such file; the stage check_settings makes it: run dvc repro"
        ) from None


def kept_part(name: str) -> Any:
    """What a part holds; None where there is none, or none that can be read."""
    try:
        return json.loads((CAST / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def read_needs() -> Needs:
    """What the judges need of the prompts."""
    found = read_part("needs")
    return Needs(tuple(found["rules"]), tuple(map(tuple, found["references"])))


def read_likeness() -> Likeness:
    """Who is like whom."""
    found = read_part("likeness")
    return Likeness(tuple(found["identical"]), found["judged_by_itself"], found["adds_labels"])
