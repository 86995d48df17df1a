"""`cje cost`: what a run would cost, before it is started."""

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Console

from cje.results.console import new_table
from cje.settings import Settings, load_settings

if TYPE_CHECKING:
    from cje.pipeline.forecast import Expected


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command."""
    cost = commands.add_parser("cost", help="what a run of these settings would cost")
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
    from cje.pipeline.forecast import dollars, forecast, rule_of_thumb
    from cje.pipeline.prompts import load_prompts

    notes: list[str] = []
    prompts = load_prompts(settings, notes) if settings.source == "models" else pd.DataFrame()
    rows = forecast(settings, prompts)
    table = new_table(
        "What this run would cost, with answers at full length",
        {
            "stage": "left", "model": "left", "calls": "right", "kept": "right",
            "tokens in": "right", "tokens out": "right", "dollars": "right",
        },
    )  # fmt: skip
    costs = {key: dollars(key[1], row, settings) for key, row in rows.items()}
    for (stage, model), row in rows.items():
        cost = costs[stage, model]
        table.add_row(
            stage, model, f"{row.calls:,}", f"{row.kept:,}", f"{row.prompt_tokens:,}",
            f"{row.completion_tokens:,}", without_price(model) if cost is None else f"{cost:.4f}",
        )  # fmt: skip
    console.print(table)
    for note in notes:
        console.print(f"note: {note}", soft_wrap=True)
    console.print(f"{to_make(rows):,} calls to make: {sum_words(rows, costs)}", soft_wrap=True)
    checks = {key: row for key, row in rows.items() if key[0] == "validate"}
    if count := to_make(checks):
        console.print(
            f"the check of the estimates is {count:,} of them: {sum_words(checks, costs)} "
            f"(oracle_samples: {settings.oracle_samples}; with 0 there is no check)",
            soft_wrap=True,
        )
    if is_asked(settings.oracle_model):
        thumb, of_checks = rule_of_thumb(settings, len(prompts))
        console.print(
            f"rule of thumb of the Arena Analysis guide: ${thumb:.2f}, of which ${of_checks:.2f} "
            "for the check",
            soft_wrap=True,
        )
    for model in sorted({model for (_, model), row in rows.items() if row.calls > row.kept}):
        if (end := retirement_of(model, settings.address(model))) is not None and not end.over:
            console.print(f"{model} {end.words}", soft_wrap=True)
    if any(split_model(model)[0] in SELLERS for _, model in rows):
        console.print(f"prices: {price_source()}", style="dim", soft_wrap=True)


def without_price(model: str) -> str:
    """Why the calls of a model have no price."""
    from cje.models.retired import retirement_of

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
