"""`cje export`: a run folder for people and programs, or the files that cje-eval reads."""

import argparse
from pathlib import Path

from rich.console import Console

from cje.results.opening import RUNS, open_run
from cje.results.view import RunView

FORMATS = ("arena", "cje")


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command and its options."""
    export = commands.add_parser(
        "export", help="Write the run folder and its ZIP, or the files that cje-eval reads.",
        description="arena: a folder with logs as JSON lines, results as JSON, the report, "
        "figures, tables and settings, and a ZIP of it. cje: the files that the package cje-eval "
        "reads, to check this project's estimates against its.",
    )  # fmt: skip
    export.add_argument(
        "--to", choices=FORMATS, default="arena", help="Write this form (default: arena)."
    )
    export.add_argument(
        "--out", type=Path, metavar="DIR",
        help=f"Write this folder (default: a new {RUNS}/run_<time>, or outputs/cje-eval with --to "
        "cje).",
    )  # fmt: skip
    export.set_defaults(run=export_results)


def export_results(given: argparse.Namespace, console: Console) -> None:
    """Write what was asked for."""
    run = open_run(".")
    if given.to == "arena":
        export_run(RunView(run), console, given.out)
        return
    from cje.results.export import write_cje_files

    folder = given.out or Path("outputs/cje-eval")
    write_cje_files(run, folder)
    console.print(f"Files for cje-eval: {folder}", soft_wrap=True)
    console.print(
        f"Check: cje analyze {folder}/fresh_draws --calibration-data {folder}/logged_data.jsonl "
        "(the cje of cje-eval, in an environment of its own)",
        style="dim", soft_wrap=True,
    )  # fmt: skip


def export_run(view: RunView, console: Console, folder: Path | None = None) -> None:
    """Write the run folder and say where it is."""
    from cje.results.export import new_run_folder, write_run_folder

    folder = folder or new_run_folder(RUNS)
    archive = write_run_folder(view, folder)
    console.print(f"Run folder: {folder}", soft_wrap=True)
    console.print(f"ZIP of it:  {archive}", soft_wrap=True)
