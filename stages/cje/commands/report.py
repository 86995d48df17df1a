"""`cje report`: the run as one HTML file."""

import argparse
import webbrowser
from pathlib import Path

from rich.console import Console
from rich.text import Text

from cje.commands.options import add_run_dir, whole

REPORT = Path("outputs/report.html")


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command."""
    report = commands.add_parser(
        "report", help="Write the run as one HTML file, answers and all.",
        description="Write the run as one HTML file that needs no network: the answer, why "
        "to trust it, every comparison, and the answers of all policies with their scores.",
    )  # fmt: skip
    add_run_dir(report)
    report.add_argument(
        "--out",
        metavar="FILE",
        type=Path,
        default=REPORT,
        help=f"Write this file (default: {REPORT}).",
    )
    report.add_argument(
        "--answers",
        metavar="N",
        type=whole(0),
        default=5000,
        help="Include the answers to this many prompts (default: 5000).",
    )
    report.add_argument("--open", action="store_true", help="Show it in the browser.")
    report.set_defaults(run=make_report)


def make_report(given: argparse.Namespace, console: Console) -> None:
    """Write the report, and say where it is and how large."""
    from cje.results.opening import open_run
    from cje.results.report import write_report
    from cje.results.view import RunView

    write_report(RunView(open_run(given.run_dir)), given.out, answers=given.answers)
    size = given.out.stat().st_size / 1e6
    console.print(Text(f"Wrote {given.out} ({size:.1f} MB)"), soft_wrap=True)
    if given.open:
        webbrowser.open(given.out.resolve().as_uri())
