"""What models cost: by the package genai-prices, and by the settings.

The prices are those inside the installed package, which its release dates: nothing is downloaded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from cje.models.names import full_name, split_model
from cje.settings import Prices

if TYPE_CHECKING:
    from genai_prices.types import (
        ConditionalPrice,
        ModelInfo,
        PriceVariant,
        Provider,
        TieredPrices,
    )

FREE_PROVIDERS = ("sim", "checks", "local", "server")
# Our providers in genai-prices, where they have other names there, and those who sell batches.
SELLERS = {"gemini": "google"}
BATCHES = ("openai", "anthropic")
BATCH = {"processing": "batch"}
MILLION = 1_000_000
BATCH_SHARE = 0.5  # of the prices in the settings, at OpenAI and Anthropic


@dataclass(frozen=True)
class Long:
    """The prices of all tokens of a request with more than `above` prompt tokens."""

    above: int
    input: float
    output: float


@dataclass(frozen=True)
class Price:
    """US dollars per million prompt (`input`) and completion (`output`) tokens.

    `batch` multiplies them where a request goes through a batch interface: 1 where no price of that
    is known.
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


def price_of(
    model: str, overrides: Mapping[str, Prices | Mapping[str, Any]] | None = None
) -> Price | None:
    """The price of a model today; None where it is not known.

    `overrides` are prices by model, as in the setting `prices`; they take precedence over the
    package's, apply to dated snapshots of the model, too, and may price a server. `server/`,
    `local/`, `sim/` and `checks/` are free otherwise; a likelihood judge costs what its model does.
    """
    provider, name = split_model(model)
    if provider == "likelihood":
        return price_of(name, overrides)
    own = {full_name(key): value for key, value in (overrides or {}).items()}
    for known in (name, undated(name)):
        if (given := own.get(f"{provider}/{known}")) is not None:
            prices = Prices.model_validate(given)
            batch = BATCH_SHARE if provider in BATCHES else 1.0
            return Price(prices.input, prices.output, batch)
    if provider in FREE_PROVIDERS:
        return Price(0.0, 0.0)
    return _listed(SELLERS.get(provider, provider), name, datetime.now(UTC).date())


def undated(name: str) -> str:
    """A model's name without the date of a snapshot: gpt-4o of gpt-4o-2024-08-06."""
    head, _, tail = name.rpartition("-")
    if len(tail) == 8 and tail.isdigit():  # claude-haiku-4-5-20251001
        return head
    parts = name.rsplit("-", 3)
    dated = len(parts) == 4 and [len(part) for part in parts[1:]] == [4, 2, 2]
    return parts[0] if dated and all(part.isdigit() for part in parts[1:]) else name


def price_source() -> str:
    """The package that the prices are from, with its version and the day of its newest price."""
    today = datetime.now(UTC).date()
    starts = (
        getattr(price.constraint, "start_date", None)
        for seller in _sellers().values()
        for model in seller.models
        for price in _dated(model)
    )
    newest = max(day for day in starts if day is not None and day <= today)
    return f"genai-prices {version('genai-prices')} (its newest price is of {newest})"


@cache
def _sellers() -> "dict[str, Provider]":
    from genai_prices.data_snapshot import get_snapshot  # half a second: only where it is wanted

    return {seller.id: seller for seller in get_snapshot().providers}


def _dated(model: "ModelInfo") -> "list[ConditionalPrice | PriceVariant]":
    """A model's prices and variants that have a constraint."""
    prices = model.prices if isinstance(model.prices, list) else []
    return [price for price in (*prices, *(model.price_variants or ())) if price.constraint]


@cache
def _listed(seller: str, name: str, day: date) -> Price | None:
    """The package's price of a model that day; None where it has none of texts."""
    if seller not in _sellers() or (found := _sellers()[seller].find_model(name)) is None:
        return None
    moment = datetime(day.year, day.month, day.day, tzinfo=UTC)
    listed = found.get_prices(moment)
    prompt, completion = listed.input_mtok, listed.output_mtok
    if prompt is None or completion is None:
        return None
    batch = found.get_prices(moment, BATCH).input_mtok
    share = 1.0 if batch is None else _first(batch) / _first(prompt)
    return Price(_first(prompt), _first(completion), share, _long(prompt, completion))


def _first(price: "Decimal | TieredPrices") -> float:
    """The price of a request that is not long."""
    return float(price if isinstance(price, Decimal) else price.base)


def _long(prompt: "Decimal | TieredPrices", completion: "Decimal | TieredPrices") -> Long | None:
    """What long requests cost: of several steps the most expensive price, from the first on."""
    if isinstance(prompt, Decimal) or not prompt.tiers:
        return None
    tiers = () if isinstance(completion, Decimal) else completion.tiers
    output = float(tiers[-1].price) if tiers else _first(completion)
    return Long(prompt.tiers[0].start, float(prompt.tiers[-1].price), output)
