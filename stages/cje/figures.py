"""The figures of a finished run: what validation refused, and the oracle's truth, are in them."""

from pathlib import Path

from cje import plots
from cje.answer import title
from cje.runs import Run


def draw_estimates(run: Run, path: Path) -> None:
    """Draw a run's estimates with the oracle's truth, which the stage's figure does not know."""
    columns = {"oracle_truth": "oracle_truth", "ci_low_truth": "ci_low", "ci_high_truth": "ci_high"}
    truth = run.estimates[list(columns)].dropna().rename(columns=columns)
    plots.estimates(
        path, run.estimates, truth, base=run.base, alpha=run.settings.alpha, title=title(run)
    )


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
