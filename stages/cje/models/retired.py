"""Models that their providers have shut down, or said when they will: the table retired.yaml."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from cje.errors import CJEError
from cje.models.addresses import request_address
from cje.models.names import split_model
from cje.models.prices import undated

TABLE = Path(__file__).with_name("retired.yaml")


@dataclass(frozen=True)
class Retirement:
    """The end of a model: `provider` in words, the day, and the model to take instead."""

    provider: str
    day: date
    instead: str

    @property
    def over(self) -> bool:
        """Whether the day has come."""
        return self.day <= datetime.now(UTC).date()

    @property
    def words(self) -> str:
        """When, and what to take."""
        return f"{'shut' if self.over else 'shuts'} down on {self.day}; take {self.instead}"


def retirement_of(model: str, place: str | None = None) -> Retirement | None:
    """When the model's provider ends it; None where it has not said so, and where another server
    than the provider's is asked, at `place` or where the environment says: it may go on with it."""
    provider, name = split_model(model)
    if provider not in _table() or request_address(model, place) is not None:
        return None
    ends = _ends(provider)
    for known in (name, undated(name.removesuffix("-latest"))):
        if known in ends:
            return Retirement(_table()[provider]["name"], *ends[known])
    return None


def require_alive(model: str, place: str | None = None) -> None:
    """Raise CJEError where the model's provider has shut it down."""
    end = retirement_of(model, place)
    if end is not None and end.over:
        raise CJEError(f"{model} was shut down by {end.provider} on {end.day}; take {end.instead}")


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = YAML(typ="safe").load(TABLE.read_text(encoding="utf-8"))
    return table


@cache
def _ends(provider: str) -> dict[str, tuple[date, str]]:
    """By name, the day and the model to take."""
    return {
        name: (line["shut_down"], line["instead"])
        for line in _table()[provider]["models"]
        for name in line["names"]
    }
