"""`cje analyze`: one run in tables: policies, truth, calibration, differences; CSV and a figure."""

import argparse
from pathlib import Path

from rich.console import Console

from cje.commands.options import add_run_dir
from cje.data.tables import write_csv
from cje.results.answer import conclusion, raters, truth
from cje.results.console import (
    comparisons_table,
    estimates_table,
    intervals_table,
    print_verdicts,
    truth_table,
    weights_table,
)
from cje.results.opening import open_run
from cje.results.view import RunView
from cje.results.words import counted, interval, number


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command and its options."""
    analyze = commands.add_parser(
        "analyze", help="Show policies, truth, calibration and differences of a run in tables.",
        description="Show the policies of a run from best to worst, the estimates against the "
        "oracle's truth, the judge's calibration and every difference between two policies.",
    )  # fmt: skip
    add_run_dir(analyze)
    analyze.add_argument(
        "--csv", type=Path, metavar="FILE", help="Write the table of policies to this file."
    )
    analyze.add_argument(
        "--plot", type=Path, metavar="FILE", help="Draw the intervals in this file (PNG)."
    )
    analyze.set_defaults(run=analyze_run)


def analyze_run(given: argparse.Namespace, console: Console) -> None:
    """Print the tables, and write what was asked for."""
    run = open_run(given.run_dir)
    view = RunView(run)
    console.print("Run: latest in this project" if run.folder == Path() else f"Run: {run.folder}")
    console.print(estimates_table(view, console.width))
    console.print(*conclusion(view), sep="\n", style="bold")
    print_verdicts(view, console)
    console.print(intervals_table(view, console.width))
    if view.truths:
        console.print(truth_table(view, console.width))
    else:
        console.print("\nCompared with the oracle's truth", style="bold")
    console.print(*truth_lines(view), sep="\n")
    console.print("\nCalibration of the judge", style="bold")
    console.print(*calibration_lines(view), sep="\n")
    console.print(comparisons_table(view, console.width))
    console.print(weights_table(view, console.width))
    if given.csv:
        write_csv(view.table.reset_index(), given.csv)
        console.print(f"Table: {given.csv}", soft_wrap=True)
    if given.plot:
        from cje.results.figures import draw_estimates

        draw_estimates(view, given.plot)
        console.print(f"Figure: {given.plot}", soft_wrap=True)


def truth_lines(view: RunView) -> list[str]:
    """How near the estimates are to the truth, and which is farthest from it; what to do where it
    is not known."""
    if not view.truths:
        return [*truth(view), "To know it, raise max_samples or oracle_samples."]
    if view.errors is None:
        return truth(view)
    largest, own = view.errors.largest
    distance = number(own.absolute_error)
    return [*truth(view), f"Largest distance of an estimate: {distance} ({largest.policy})."]


def calibration_lines(view: RunView) -> list[str]:
    """How much the judge knows of the oracle."""
    found = view.calibration
    return [
        f"rank correlation (Spearman) of judge and oracle: {number(found.spearman)}",
        f"{counted(found.labels, 'label')}, {found.form} calibration, R² {number(found.r2)}, root "
        f"mean squared error {number(found.rmse)}",
        f"calibration error {number(found.calibration_error)}; with as few labels a perfect curve "
        f"would show {number(found.calibration_error_by_chance)}; without calibration it is "
        f"{number(found.calibration_error_raw)}",
        f"labels cover judge scores from {interval(found.score_low, found.score_high)}",
        *raters(view),
    ]
