"""Run the pipeline and show, export and explain what it found."""

import argparse
import sys
from collections.abc import Sequence

from cje import INTERRUPTED
from cje.commands import analyze, completion, cost, export, label, plan, report, run, store
from cje.errors import CJEError, Waiting, disk_problem
from cje.results.console import screen

COMMANDS = (run, label, report, analyze, export, cost, plan, store, completion)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; an error of the user's ends in words and exit status 1."""
    given = parser().parse_args(arguments)
    console = screen()
    try:
        sys.exit(given.run(given, console) or 0)
    except Waiting as words:
        sys.exit(str(words))
    except CJEError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if (problem := disk_problem(error)) is None and error.filename is None:
            raise
        sys.exit(f"error: {problem or f'{error.filename}: {error.strerror}'}")
    except KeyboardInterrupt as stop:
        print(*(stop.args or [INTERRUPTED]), file=sys.stderr)
        sys.exit(130)


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    root = argparse.ArgumentParser(prog="cje", description=__doc__)
    root.set_defaults(parser=root)  # which `cje completion` reads
    commands = root.add_subparsers(required=True, metavar="command")
    for command in COMMANDS:
        command.add(commands)
    return root


if __name__ == "__main__":
    main()
