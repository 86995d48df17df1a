"""`cje label --watch`: what is known, after every batch of labels."""

import os
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console

from cje.commands.stopping import pilot_of, standing
from cje.errors import CJEError
from cje.labelling.session import Session
from cje.results.console import new_table
from cje.results.opening import open_run
from cje.results.theme import VERDICT_STYLES
from cje.results.view import RunView
from cje.results.words import VERDICTS, count, interval, looks, number
from cje.stats.planning import Aim

QUIET = 120.0  # seconds without a label after which a smaller batch is estimated, too


def watch(session: Session, every: int, aim: Aim, console: Console) -> None:
    """Run the pipeline after every `every` marks of the session, and print what it finds, and
    whether that reaches the aim."""
    known, seen, since = 0, 0, time.monotonic()
    while True:
        time.sleep(0.5)
        if session.given != seen:
            seen, since = session.given, time.monotonic()
        new = seen - known
        if new >= every or (new and time.monotonic() - since > QUIET):
            known = seen
            estimate(seen, aim, console)


def estimate(marks: int, aim: Aim, console: Console) -> None:
    """Run the pipeline on the labels so far, and print what is known."""
    programs = str(Path(sys.executable).parent)
    environment = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', '')}"}
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "repro"], env=environment, capture_output=True, text=True
    )
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines()
        console.print("dvc repro could not finish; the labels are kept:", style="bold")
        console.print(*lines[-3:], sep="\n", markup=False, soft_wrap=True)
        return
    view = RunView(open_run("."))
    print_known(view, marks, console)
    print_standing(view, aim, console)


def print_standing(view: RunView, aim: Aim, console: Console) -> None:
    """Whether one may stop for the aim; nothing without an aim."""
    if aim.within is None and aim.apart is None:
        return
    try:
        pilot = pilot_of(view) if aim.apart is not None else None
    except CJEError:  # of too few labels
        pilot = None
    reached, lines = standing(view, aim, pilot)
    console.print(lines[0], style="bold" if reached else None, markup=False, soft_wrap=True)
    for line in lines[1:]:
        console.print(line, soft_wrap=True)


def print_known(view: RunView, marks: int, console: Console) -> None:
    """The estimates so far, with their labels, and what stopping now would mean."""
    table = new_table(
        f"After {count(marks)} marks here",
        {
            "policy": "left", "labels": "right", "estimate": "right", "interval": "right",
            "half width": "right", "verdict": "left",
        },
    )  # fmt: skip
    for row in view.estimates:
        table.add_row(
            row.policy, count(row.labels), number(row.v_hat), interval(row.ci_low, row.ci_high),
            number(row.half_width), VERDICTS[row.verdict],
            style=VERDICT_STYLES[row.verdict] if row.refused else None,
        )  # fmt: skip
    console.print(table)
    console.print(looks(view.run.settings.intervals), style="dim")
