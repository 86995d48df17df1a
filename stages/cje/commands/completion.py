"""`cje completion`: what a shell needs to complete the command's words."""

import argparse
from pathlib import Path

import shtab
from rich.console import Console

EXAMPLES = """\
Put it where your shell looks for it:
  cje completion bash > ~/.local/share/bash-completion/completions/cje
  cje completion zsh > ~/.zsh/completions/_cje    (a folder in your fpath)
"""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command and the shells that it knows."""
    completion = commands.add_parser(
        "completion", help="Print a script that lets your shell complete cje's words.",
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    completion.add_argument("shell", choices=shtab.SUPPORTED_SHELLS)
    completion.set_defaults(run=print_completion)


def print_completion(given: argparse.Namespace, console: Console) -> None:
    """The script for that shell, of the whole command's parser."""
    complete_paths(given.parser)
    print(shtab.complete(given.parser, shell=given.shell))


def complete_paths(parser: argparse.ArgumentParser) -> None:
    """Let files be completed where a path is wanted."""
    for action in parser._actions:
        if action.type is Path:
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # shtab reads it
        for part in action.choices.values() if isinstance(action.choices, dict) else ():
            complete_paths(part)
