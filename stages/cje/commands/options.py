"""What commands' options have in common: types, which refuse a value that is none before anything
is done, and the run to show."""

import argparse
from collections.abc import Callable
from datetime import date
from pathlib import Path

from cje.results.opening import RUNS


def add_run_dir(parser: argparse._ActionsContainer) -> None:
    """The option that names the run to show; its default is that of `open_run`."""
    parser.add_argument(
        "--run-dir", type=Path, metavar="DIR",
        help="Take this run folder or project (default: this project's last run, else the newest "
        f"in {RUNS}).",
    )  # fmt: skip


def day(text: str) -> str:
    """A day as YYYY-MM-DD."""
    try:
        found = date.fromisoformat(text).isoformat()
    except ValueError:
        found = ""
    if found != text:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day; write it as YYYY-MM-DD")
    return text


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """A whole number from `least` to `most`."""
    words = f"{least} or more" if most is None else f"from {least} to {most}"

    def number(text: str) -> int:
        try:
            found = int(text)
        except ValueError:
            found = least - 1
        if found < least or (most is not None and found > most):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, {words}")
        return found

    return number
