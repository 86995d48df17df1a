"""The figures of a finished run: what validation refused, and the oracle's truth, are in them."""

from pathlib import Path

import pandas as pd

from cje.data.tables import write_csv
from cje.results import plots, words
from cje.results.run import Run


def write_figures(run: Run, folder: Path) -> None:
    """Every figure that shows a verdict, and the table behind it."""
    draw_estimates(run, folder / "estimates.png")
    draw_differences(run, folder / "differences.png")
    draw_comparisons(run, folder / "comparison_heatmap.png")
    write_csv(plots.estimates_data(run.estimates, truth(run)), folder / "estimates.csv")
    write_csv(plots.differences_data(run.against_base), folder / "differences.csv")
    write_csv(plots.comparison_data(run.p_values), folder / "comparison_heatmap.csv")


def draw_estimates(run: Run, path: Path) -> None:
    """Draw a run's estimates with the oracle's truth."""
    plots.estimates(
        path,
        run.estimates,
        truth(run),
        base=run.base,
        alpha=run.settings.alpha,
        title=words.title(run.estimates, run.rivals),
    )


def truth(run: Run) -> pd.DataFrame:
    """`oracle_truth`, `ci_low`, `ci_high` of the policies that it is known of."""
    columns = {"oracle_truth": "oracle_truth", "ci_low_truth": "ci_low", "ci_high_truth": "ci_high"}
    return run.estimates[list(columns)].dropna().rename(columns=columns)


def draw_differences(run: Run, path: Path) -> None:
    """Draw every policy against the base policy."""
    plots.differences(
        path, run.against_base, run.estimates["verdict"], base=run.base, alpha=run.settings.alpha
    )


def draw_comparisons(run: Run, path: Path) -> None:
    """Draw the pairs of policies, none of them refused."""
    plots.comparison_heatmap(
        path, run.p_values, run.differences, run.estimates["verdict"],
        base=run.base, alpha=run.settings.alpha,
    )  # fmt: skip
