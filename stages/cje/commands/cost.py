"""`cje cost`: what a run would cost, before it is started."""

import argparse

from rich.console import Console

from cje.console import new_table
from cje.settings import Settings, load_settings


def add(commands) -> None:
    """The command."""
    cost = commands.add_parser("cost", help="what a run of these settings would cost")
    cost.set_defaults(run=show_cost)


def show_cost(given: argparse.Namespace, console: Console) -> None:
    """The forecast of the settings in params.yaml."""
    print_forecast(load_settings(), console)


def print_forecast(settings: Settings, console: Console) -> None:
    """Calls, tokens and dollars by stage, and the guide's rule of thumb."""
    from cje.forecast import dollars, forecast, rule_of_thumb
    from cje.models.prices import price_date

    rows = forecast(settings)
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
            f"{row.completion_tokens:,}", "price unknown" if cost is None else f"{cost:.4f}",
        )  # fmt: skip
    console.print(table)
    calls = sum(row.calls - row.kept for row in rows.values())
    console.print(f"{calls:,} calls to make: ${sum(filter(None, costs.values())):.4f}")
    console.print(f"rule of thumb of the Arena Analysis guide: ${rule_of_thumb(settings):.2f}")
    for day in sorted({str(d) for _, model in rows if (d := price_date(model))}):
        console.print(f"prices as of {day}", style="dim")
