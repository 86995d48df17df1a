"""Rows of users' files that cannot be used: which, why, and what is done about them."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from cje.errors import CJEError
from cje.settings import Settings
from cje.vocabulary import counted

Row = dict[str, Any]

SHOWN = 3  # bad rows that an error quotes


class BadRow(Exception):
    """Why a row cannot be used: the column, as the file names it, and the reason; `unlogged` where
    it belongs to no good row of the logs, which can be for want of a row that is bad there."""

    def __init__(self, column: str, reason: str, unlogged: bool = False):
        super().__init__(f"{column}: {reason}")
        self.column = column
        self.reason = reason
        self.unlogged = unlogged


@dataclass
class BadRows:
    """The bad rows of all files."""

    found: list[tuple[Path, int, BadRow]] = field(default_factory=list)
    rows: Counter[Path] = field(default_factory=Counter)  # of each file, in the order of reading

    def keep(self, rows: Iterable[Row], check: Callable[[Row], Row]) -> list[Row]:
        """`check(row)` of each row, without the rows that it refuses."""
        kept = []
        for row in rows:
            try:
                kept.append(check(row))
            except BadRow as problem:
                self.found.append((row["file"], row["line"], problem))
        return kept

    def without_unlogged(self, logs: Path) -> "BadRows":
        """Where rows of the logs are bad, those alone that are bad in themselves; else all."""
        if not any(path == logs for path, _, _ in self.found):
            return self
        return BadRows([item for item in self.found if not item[2].unlogged], self.rows)

    def frame(self) -> pd.DataFrame:
        """Columns file, line, column, reason, in the order of reading."""
        order = {path: i for i, path in enumerate(self.rows)}
        found = sorted(self.found, key=lambda item: (order[item[0]], item[1]))
        rows = [(str(path), line, bad.column, bad.reason) for path, line, bad in found]
        return pd.DataFrame(rows, columns=["file", "line", "column", "reason"])

    def share(self, path: Path) -> dict[str, float] | None:
        """How many rows of a file are bad, and their share of it; None if none is."""
        bad = sum(found == path for found, _, _ in self.found)
        return {"rows": bad, "share": bad / self.rows[path]} if bad else None


def refuse_bad_rows(bad_rows: pd.DataFrame, settings: Settings) -> None:
    """Raise CJEError where there are bad rows, unless `on_bad_row` is skip."""
    if bad_rows.empty or settings.on_bad_row == "skip":
        return
    shown = [f"{r.file}:{r.line}: {r.column}: {r.reason}" for r in bad_rows[:SHOWN].itertuples()]
    rows = counted(len(bad_rows), "bad row")
    raise CJEError("\n".join([*shown, f"{rows} in all: fix them, or set on_bad_row=skip"]))
