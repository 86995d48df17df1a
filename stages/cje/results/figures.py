"""The figures of a finished run: what validation refused, and the oracle's truth, are in them."""

from pathlib import Path

from cje.data.tables import write_csv
from cje.results import plots
from cje.results.answer import title
from cje.results.view import RunView


def write_figures(view: RunView, folder: Path) -> None:
    """Every figure that shows a verdict, and the table behind it."""
    draw_estimates(view, folder / "estimates.png")
    draw_differences(view, folder / "differences.png")
    draw_comparisons(view, folder / "comparison_heatmap.png")
    write_csv(plots.estimates_data(view.estimates), folder / "estimates.csv")
    write_csv(plots.differences_data(view.against_base), folder / "differences.csv")
    write_csv(
        plots.comparison_data(view.differences, view.policies), folder / "comparison_heatmap.csv"
    )


def draw_estimates(view: RunView, path: Path) -> None:
    """Draw a run's estimates with the oracle's truth."""
    plots.estimates(path, view.estimates, title=title(view), alpha=view.alpha)


def draw_differences(view: RunView, path: Path) -> None:
    """Draw every policy against the base policy."""
    plots.differences(path, view.against_base, view.estimates, alpha=view.alpha)


def draw_comparisons(view: RunView, path: Path) -> None:
    """Draw the pairs of policies, none of them refused."""
    plots.comparison_heatmap(path, view.differences, view.estimates, alpha=view.alpha)
