"""The parts of a run's cast as files: a JSON file for each in data/cast, written by check_settings.

A stage reads its own part and no other setting of a model, so that an edit reruns only what it
affects.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cje.errors import CJEError, writing

CAST = Path("data/cast")


@dataclass(frozen=True)
class Needs:
    """What the judges need from the prompts: checks, for the `rules` of checks/... models, and a
    reference answer, for `references` (the setting and the name of each rubric that uses one)."""

    rules: tuple[str, ...] = ()
    references: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Likeness:
    """Which targets are the base under another name; by policy, which judge (judge or oracle) is
    its own model; and whether more answers can be labelled on request."""

    identical: tuple[str, ...] = ()
    judged_by_itself: dict[str, str] = field(default_factory=dict)
    adds_labels: bool = False


def write_part(name: str, part: Any) -> None:
    """Write a part; equal parts give equal bytes."""
    path = CAST / f"{name}.json"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(part, indent=1, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8", newline="\n")


def read_part(name: str) -> Any:
    """The content of a part; raises CJEError if it is missing."""
    path = CAST / f"{name}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CJEError(
            f"{path}: no such file; the stage check_settings makes it: run dvc repro"
        ) from None


def kept_part(name: str) -> Any:
    """The content of a part; None if it is missing or cannot be read."""
    try:
        return json.loads((CAST / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def read_needs() -> Needs:
    """What the judges need from the prompts."""
    found = read_part("needs")
    return Needs(tuple(found["rules"]), tuple(map(tuple, found["references"])))


def read_likeness() -> Likeness:
    """Which policies and judges share a model."""
    found = read_part("likeness")
    return Likeness(tuple(found["identical"]), found["judged_by_itself"], found["adds_labels"])
