"""`cje cost`: what a run would cost, before it is started."""

import argparse
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from cje.results.console import Cells, filled_table
from cje.results.words import count, counted, dollars
from cje.settings import Settings, load_settings

if TYPE_CHECKING:
    from cje.pipeline.forecast import Expected


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command."""
    cost = commands.add_parser(
        "cost", help="Forecast what a run of these settings would cost.",
        description="Forecast the calls, tokens and dollars of a run of the settings in "
        "params.yaml, by stage and model; replies that are kept cost nothing. No model is called.",
    )  # fmt: skip
    cost.set_defaults(run=show_cost)


def show_cost(given: argparse.Namespace, console: Console) -> None:
    """The forecast of the settings in params.yaml."""
    print_forecast(load_settings(), console)


def print_forecast(settings: Settings, console: Console) -> None:
    """Calls, tokens and dollars by stage, what of them checks the estimates, and the guide's rule
    of thumb where the oracle is paid."""
    import pandas as pd

    from cje.models.names import split_model
    from cje.models.prices import SELLERS, price_source
    from cje.models.registry import is_asked
    from cje.models.retired import retirement_of
    from cje.pipeline.forecast import dollars as price_of
    from cje.pipeline.forecast import forecast, rule_of_thumb
    from cje.pipeline.prompts import load_prompts

    notes: list[str] = []
    prompts = load_prompts(settings, notes) if settings.source == "models" else pd.DataFrame()
    rows = forecast(settings, prompts)
    costs = {key: price_of(key[1], row, settings) for key, row in rows.items()}
    console.print(forecast_table(rows, costs, console.width))
    lines = [f"note: {note}" for note in notes]
    lines.append(f"{counted(to_make(rows), 'call')} to make: {sum_words(rows, costs)}")
    checks = {key: row for key, row in rows.items() if key[0] == "validate"}
    if calls := to_make(checks):
        lines.append(
            f"the check of the estimates is {count(calls)} of them: {sum_words(checks, costs)} "
            f"(oracle_samples: {settings.oracle_samples}; with 0 there is no check)"
        )
    if is_asked(settings.oracle_model):
        thumb, of_checks = rule_of_thumb(settings, len(prompts))
        lines.append(
            f"estimate by the Arena guide's rule of thumb: ${dollars(thumb)}, of which "
            f"${dollars(of_checks)} for the check"
        )
    for model in sorted({model for (_, model), row in rows.items() if row.calls > row.kept}):
        if (end := retirement_of(model, settings.address(model))) is not None and not end.over:
            lines.append(f"{model} {end.words}")
    for line in lines:
        console.print(line, soft_wrap=True)
    if any(split_model(model)[0] in SELLERS for _, model in rows):
        console.print(f"prices: {price_source()}", style="dim", soft_wrap=True)


def forecast_table(
    rows: Mapping[tuple[str, str], "Expected"],
    costs: Mapping[tuple[str, str], float | None],
    width: int,
) -> Table:
    """Calls, tokens and dollars by stage and model; on a narrow screen without tokens."""
    columns = {
        "stage": "left", "model": "left", "calls": "right", "kept": "right",
        "tokens in": "right", "tokens out": "right", "dollars": "right",
    }  # fmt: skip
    cells: Iterable[Cells] = (
        [
            stage,
            model,
            count(row.calls),
            count(row.kept),
            count(row.prompt_tokens),
            count(row.completion_tokens),
            price_or_why(model, costs[stage, model]),
        ]
        for (stage, model), row in rows.items()
    )
    title = "What this run would cost, with answers at full length"
    return filled_table(title, columns, cells, width, ("tokens in", "tokens out"))


def price_or_why(model: str, cost: float | None) -> str:
    """What the calls of a model cost, or why they have no price."""
    from cje.models.retired import retirement_of

    if cost is not None:
        return dollars(cost, 4)

    end = retirement_of(model)
    return f"shut down on {end.day}" if end is not None and end.over else "unknown price"


def to_make(rows: Mapping[tuple[str, str], "Expected"]) -> int:
    """How many calls there are to make."""
    return sum(row.calls - row.kept for row in rows.values())


def sum_words(
    rows: Mapping[tuple[str, str], "Expected"], costs: Mapping[tuple[str, str], float | None]
) -> str:
    """The dollars of the rows, and whose price is missing from them."""
    known = sum(cost for key, cost in costs.items() if key in rows and cost is not None)
    unknown = dict.fromkeys(model for (stage, model) in rows if costs[stage, model] is None)
    if not unknown:
        return f"${known:.4f}"
    reasons = [f"{model} ({remedied(model)})" for model in unknown]
    return f"at least ${known:.4f}, without {', '.join(reasons)}"


def remedied(model: str) -> str:
    """Why the calls of a model have no price, and what to do."""
    from cje.models.retired import retirement_of

    end = retirement_of(model)
    return end.words if end is not None and end.over else "unknown price; give it in `prices`"
