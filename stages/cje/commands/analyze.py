"""`cje analyze`: one run in tables: policies, truth, calibration, differences; CSV and a figure."""

import argparse
from pathlib import Path

from rich.console import Console

from cje.data.tables import write_csv
from cje.results.answer import conclusion, distances, raters
from cje.results.console import (
    comparisons_table,
    estimates_table,
    intervals_table,
    print_verdicts,
    truth_table,
    weights_table,
)
from cje.results.run import RUNS, Run, open_run
from cje.results.words import number


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command and its options."""
    analyze = commands.add_parser(
        "analyze", help="policies, truth, calibration and differences of a run, in tables",
        description="Show the policies of a run from best to worst, the estimates against the "
        "oracle's truth, the judge's calibration and every difference between two policies.",
    )  # fmt: skip
    analyze.add_argument(
        "--run-dir", type=Path,
        help=f"a run folder or a project; default: this project's last, else the newest of {RUNS}",
    )  # fmt: skip
    analyze.add_argument("--csv", type=Path, metavar="FILE", help="write the policies there")
    analyze.add_argument("--plot", type=Path, metavar="FILE", help="draw the intervals there (PNG)")
    analyze.set_defaults(run=analyze_run)


def analyze_run(given: argparse.Namespace, console: Console) -> None:
    """Print the tables, and write what was asked for."""
    run = open_run(given.run_dir)
    console.print("Run: this project's last" if run.folder == Path() else f"Run: {run.folder}")
    console.print(estimates_table(run, console.width))
    console.print(*conclusion(run), sep="\n", style="bold")
    print_verdicts(run, console)
    console.print(intervals_table(run, console.width))
    console.print(truth_table(run, console.width))
    console.print(*validation_lines(run), sep="\n")
    console.print("\nCalibration of the judge", style="bold")
    console.print(*calibration_lines(run), sep="\n")
    console.print(comparisons_table(run, console.width))
    console.print(weights_table(run, console.width))
    if given.csv:
        write_csv(run.estimates.reset_index(), given.csv)
        console.print(f"Table: {given.csv}", soft_wrap=True)
    if given.plot:
        from cje.results.figures import draw_estimates

        draw_estimates(run, given.plot)
        console.print(f"Figure: {given.plot}", soft_wrap=True)


def validation_lines(run: Run) -> list[str]:
    """Whether the estimates hold, where labels that they did not use tell."""
    known = run.kept.dropna(subset=["oracle_truth"])
    if run.estimates["oracle_truth"].isna().all():
        return ["No label that the estimates did not use: raise max_samples or oracle_samples."]
    if known.empty:
        return ["No estimate that is not refused has such labels."]
    largest = known["absolute_error"].idxmax()
    return [
        *distances(run),
        f"Largest distance of an estimate: {number(known['absolute_error'].max())} ({largest}).",
    ]


def calibration_lines(run: Run) -> list[str]:
    """How much the judge knows of the oracle."""
    found = run.metrics("calibration")
    rank = found.get("spearman")
    return [
        f"Spearman correlation (proxy vs oracle): {number(float('nan') if rank is None else rank)}",
        f"{found['labels']} labels, {found['form']} calibration, R2 {number(found.get('r2'))}, "
        f"root mean squared error {number(found.get('rmse'))}",
        f"calibration error {number(found.get('calibration_error'))}; a perfect curve would show "
        f"{number(found.get('calibration_error_by_chance'))} with as few labels, the judge as it "
        f"is {number(found.get('calibration_error_raw'))}",
        f"labels cover judge scores from {number(found.get('score_low'))} to "
        f"{number(found.get('score_high'))}",
        *raters(run),
    ]
