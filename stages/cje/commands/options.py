"""Types of the commands' options: a value that is none is refused before anything is done."""

import argparse
from collections.abc import Callable
from datetime import date


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
