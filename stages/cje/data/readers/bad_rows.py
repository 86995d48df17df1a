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


# Scales that scores often have; the first is suggested that has all scores beyond the stated one.
COMMON_SCALES = ((0, 1), (1, 5), (0, 10), (0, 100))


class BadRow(Exception):
    """Why a row cannot be used: the column, as the file names it, and the reason; `unlogged` where
    it belongs to no good row of the logs, which can be for want of a row that is bad there;
    `beyond`: the setting and the score, where that is beyond the scale which the setting states."""

    def __init__(
        self,
        column: str,
        reason: str,
        unlogged: bool = False,
        beyond: tuple[str, float] | None = None,
    ):
        super().__init__(f"{column}: {reason}")
        self.column = column
        self.reason = reason
        self.unlogged = unlogged
        self.setting, self.score = beyond or ("", 0.0)


@dataclass
class BadRows:
    """The bad rows of all files."""

    found: list[tuple[Path, int, BadRow]] = field(default_factory=list)
    rows: Counter[Path] = field(default_factory=Counter)  # of each file, in the order of reading
    columns: dict[Path, str] = field(default_factory=dict)  # of each file's first row, in words

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
        remedies = self._remedies()
        rows = [
            (str(path), line, bad.column, bad.reason + remedies.get(bad.setting, ""))
            for path, line, bad in found
        ]
        return pd.DataFrame(rows, columns=["file", "line", "column", "reason"])

    def _remedies(self) -> dict[str, str]:
        """What to do about scores beyond a scale, by its setting: one scale for all of them."""
        beyond: dict[str, list[float]] = {}
        for _, _, bad in self.found:
            if bad.setting:
                beyond.setdefault(bad.setting, []).append(bad.score)
        remedies = {}
        for setting, scores in beyond.items():
            fits = [f"[{a},{b}]" for a, b in COMMON_SCALES if a <= min(scores) <= max(scores) <= b]
            remedies[setting] = (
                f"; set {setting}={fits[0]}?" if fits else f"; set {setting} to the scores' scale"
            )
        return remedies

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
