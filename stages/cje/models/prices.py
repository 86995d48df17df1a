"""What models cost: by the dated table prices.yaml beside this file, and by the settings."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from cje.models import full_name, split_model
from cje.settings import Prices

TABLE = Path(__file__).with_name("prices.yaml")
FREE_PROVIDERS = ("sim", "checks", "local", "server")
MILLION = 1_000_000
SNAPSHOT = re.compile(r"-(\d{4}-\d\d-\d\d|\d{8})$")  # gpt-4o-2024-08-06, claude-...-20251001


@dataclass(frozen=True)
class Long:
    """The prices of all tokens of a request with more than `above` prompt tokens."""

    above: int
    input: float
    output: float


@dataclass(frozen=True)
class Price:
    """US dollars per million prompt (`input`) and completion (`output`) tokens.

    `batch` multiplies them where a request goes through a batch interface.
    """

    input: float
    output: float
    batch: float = 1.0
    long: Long | None = None

    def cost(self, prompt_tokens: float, completion_tokens: float, batch: bool = False) -> float:
        """Dollars of one call."""
        rate = self.long if self.long and prompt_tokens > self.long.above else self
        dollars = (prompt_tokens * rate.input + completion_tokens * rate.output) / MILLION
        return dollars * self.batch if batch else dollars


def price_of(model: str, overrides: Mapping[str, Prices | Mapping] | None = None) -> Price | None:
    """The price of a model; None where nobody has named one.

    A dated snapshot has the price of its undated name, unless it has its own. `overrides` are
    prices by model, as in the setting `prices`; they go before the table, and may price a server.
    `server/`, `local/`, `sim/` and `checks/` are free otherwise; a likelihood judge costs what its
    model does.
    """
    provider, name = split_model(model)
    if provider == "likelihood":
        return price_of(name, overrides)
    table = _table().get(provider, {"batch": 1.0, "models": {}})
    own = {full_name(key): value for key, value in (overrides or {}).items()}
    for known in (name, SNAPSHOT.sub("", name)):
        if (given := own.get(f"{provider}/{known}")) is not None:
            prices = Prices.model_validate(given)
            return Price(prices.input, prices.output, table["batch"])
    for known in (name, SNAPSHOT.sub("", name)):
        if (line := table["models"].get(known)) is not None:
            long = Long(**line["long"]) if "long" in line else None
            return Price(line["input"], line["output"], table["batch"], long)
    return Price(0.0, 0.0) if provider in FREE_PROVIDERS else None


def price_date(model: str) -> date | None:
    """The day on which the table's prices of the model's provider were last seen."""
    table = _table().get(split_model(model)[0])
    return table["as_of"] if table else None


@cache
def _table() -> dict[str, Any]:
    return YAML(typ="safe").load(TABLE.read_text(encoding="utf-8"))
