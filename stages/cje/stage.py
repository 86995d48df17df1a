"""What every stage script shares: its folders, and how it ends."""

import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from cje.errors import CJEError

DATA, METRICS, PLOTS = Path("data"), Path("metrics"), Path("plots")
DECIMALS = 9  # of derived numbers in tables: processors differ in the digits beyond


def missing(answers: pd.DataFrame) -> str:
    """How many answers are null, in words; nothing where none is."""
    count = int(answers["answer"].isna().sum())
    return f", {count:,} of them without an answer" if count else ""


def run(main: Callable[[], str]) -> None:
    """Run a stage and print the sentence that it returns; an error of the user's ends in words."""
    try:
        print(main())
    except CJEError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("interrupted: the replies so far are kept, run again to go on", file=sys.stderr)
        sys.exit(130)
