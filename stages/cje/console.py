"""The estimates on the screen: `python -m cje.console` prints what the last run found."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

VERDICT_STYLES = {"reliable": "green", "caution": "yellow", "refuse": "red"}


def estimates_table(estimates: Mapping, validation: Mapping) -> Table:
    """Policies from best to worst, the refused ones last and struck out."""
    table = Table(title="Expected oracle utility by policy", title_style="bold")
    for name in ("policy", "estimate", "interval", "oracle truth", "ESS", "verdict"):
        table.add_column(name, justify="left" if name in ("policy", "verdict") else "right")
    verdicts = {policy: row["verdict"] for policy, row in validation["results"].items()}
    order = sorted(
        estimates["results"].items(),
        key=lambda item: (verdicts[item[0]] == "refuse", -item[1]["v_hat"]),
    )
    for policy, row in order:
        found, verdict = validation["results"][policy], verdicts[policy]
        struck = "strike" if verdict == "refuse" else ""
        truth = "-"
        if "oracle_truth" in found:
            truth = f"{found['oracle_truth']:.3f} ± {found['se_truth']:.3f}"
        table.add_row(
            Text(policy),
            Text(f"{row['v_hat']:.3f}", style=struck),
            Text(f"{row['ci_low']:.3f} to {row['ci_high']:.3f}", style=struck),
            Text(truth),
            Text(f"{100 * row['ess']:.3g} %"),
            Text(verdict, style=VERDICT_STYLES[verdict]),
        )
    return table


def print_summary(metrics: Path, console: Console) -> None:
    """The table, what the guard rails found and what would mend it."""
    estimates, validation = (
        json.loads((metrics / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("estimates", "validation")
    )
    console.print(estimates_table(estimates, validation))
    violations = pd.read_csv(metrics / "violations.csv", keep_default_na=False)
    for row in violations.itertuples():
        colour = "red" if row.severity == "critical" else "yellow"
        words = f"{row.policy or 'all policies'}: {row.message}"
        console.print(Text(f"{row.code}  ", style=colour) + Text(words, style="default"))
        console.print(Text(f"  remedy: {row.remedy}", style="dim"))
    kept = {p: r for p, r in validation["results"].items() if r["verdict"] != "refuse"}
    best = max(kept, key=lambda policy: estimates["results"][policy]["v_hat"], default=None)
    if best is None:
        console.print("No estimate may be believed: see the remedies above.")
    else:
        console.print(Text(f"Best policy that is not refused: {best}", style="bold"))


def main() -> None:
    """Print the summary of the run in this folder."""
    metrics = Path("metrics")
    if not (metrics / "validation.json").exists():
        sys.exit("error: metrics/validation.json: no such file; run dvc repro first")
    piped = not sys.stdout.isatty()
    print_summary(metrics, Console(width=100 if piped else None, highlight=False))


if __name__ == "__main__":
    main()
