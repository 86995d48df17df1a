"""Run the pipeline and show, export and explain what it found."""

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console

from cje.commands import cost, report, store
from cje.errors import CJEError

COMMANDS = (cost, report, store)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; an error of the user's ends in words and exit status 1."""
    given = parser().parse_args(arguments)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)
    try:
        sys.exit(given.run(given, console) or 0)
    except CJEError as error:
        sys.exit(f"error: {error}")


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    root = argparse.ArgumentParser(prog="cje", description=__doc__)
    commands = root.add_subparsers(required=True, metavar="command")
    for command in COMMANDS:
        command.add(commands)
    return root


if __name__ == "__main__":
    main()
