"""What every stage script shares: its folders, and how it ends."""

import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from rich.console import Console

from cje import INTERRUPTED
from cje.errors import CJEError, Waiting, disk_problem

DATA, METRICS, PLOTS = Path("data"), Path("metrics"), Path("plots")


def missing(answers: pd.DataFrame) -> str:
    """How many answers are missing, as the end of a sentence; empty if none is."""
    count = int(answers["answer"].isna().sum())
    return f", {count:,} of them without an answer" if count else ""


def run(main: Callable[[], str], title: str) -> None:
    """Run a stage under a rule with its title, and print the sentence that it returns after a tick;
    a user's error ends in a message."""
    console = Console(highlight=False, markup=False, emoji=False)
    console.rule(title)
    try:
        console.print(f"{tick(console)} {main()}", markup=False, soft_wrap=True)
    except Waiting as words:
        sys.exit(str(words))
    except CJEError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if (problem := disk_problem(error)) is None:
            raise
        sys.exit(f"error: {problem}")
    except KeyboardInterrupt as stop:
        print(*(stop.args or [INTERRUPTED]), file=sys.stderr)
        sys.exit(130)


def tick(console: Console) -> str:
    """A tick that the terminal can show."""
    return "ok" if console.options.ascii_only else "\N{CHECK MARK}"
