"""Labels from a filled list: every row is checked, and a file with a bad row changes nothing."""

import math
import re
import string
import unicodedata
from collections.abc import Container, Iterable
from dataclasses import dataclass
from datetime import date, time, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from cje.errors import CJEError
from cje.labelling.files import unguarded
from cje.labelling.kept import Labels, Mark, rater_name
from cje.labelling.sheets import read_sheet
from cje.labelling.tasks import answer_id
from cje.settings import Settings, show_value
from cje.vocabulary import counted

SKIP = "skip"
SHOWN = 10  # bad rows that an error quotes
LONGEST_CELL = 32_000  # characters, about: spreadsheets cut a longer text
THOUSANDS = re.compile(r"\d{1,3}(,\d{3})+")
INVISIBLE = "\N{NO-BREAK SPACE}\N{ZERO WIDTH SPACE}\N{ZERO WIDTH NO-BREAK SPACE}\N{WORD JOINER}"
NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)")


class BadRow(Exception):
    """Why a row cannot be used: the column and the reason."""


@dataclass(frozen=True)
class Imported:
    """What an import did: the marks that are `new`, those that `corrected` an earlier one of the
    same rater, each with that one, how many rows were `unchanged` and how many had no label yet
    (`empty`); `elsewhere`, the labels of answers that are not on the list now; `notes`, sentences
    on how the file was read."""

    new: list[Mark]
    corrected: list[tuple[Mark, Mark]]
    unchanged: int
    empty: int
    elsewhere: int
    notes: list[str]


def import_labels(
    path: Path, rows: pd.DataFrame, labels: Labels, settings: Settings, rater: str
) -> Imported:
    """Take the labels in the file at `path` over into `labels`; `rows` is the list of answers, and
    `rater` the rater of rows without one in a column `rater`.

    Raises CJEError with the line and reason of each bad row, and then takes nothing.
    """
    sheet = read_sheet(path)
    known = dict(zip(rows["id"], rows["uid"], strict=True))
    known |= {mark.id: mark.uid for mark in labels.marks if mark.id not in known}
    columns = ("prompt", "answer")
    listed = {row["id"]: row for row in rows[["id", *columns]].to_dict("records")}
    lost = []
    marks: dict[tuple[str, str], tuple[int, Mark]] = {}
    problems, empty = [], 0
    for line, row in sheet.rows:
        try:
            mark = _mark(row, known, settings, rater, path.name)
            if mark is None:
                empty += 1
                if _text(row.get("id")) and _text(row.get("note")):
                    lost.append(line)
                continue
            for column in columns if mark.id in listed else ():
                _check_same(mark.id, column, row, listed[mark.id][column], sheet.garbled)
            before, other = marks.setdefault((mark.id, mark.rater), (line, mark))
            if (other.label, other.skip) != (mark.label, mark.skip):
                raise BadRow(f"label: {_said(mark)}, but {_said(other)} on line {before}")
            if other.note != mark.note:
                raise BadRow(f"note: differs from line {before}, for the same id")
        except BadRow as problem:
            problems.append(f"{path}:{line}: {problem}")
    if problems:
        more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        count = counted(len(problems), "bad row")
        raise CJEError("\n".join([*problems[:SHOWN], *more, f"{count}: nothing was imported"]))
    notes = list(sheet.notes)
    if lost:
        lines = ", ".join(map(str, lost[:SHOWN])) + (", ..." if len(lost) > SHOWN else "")
        notes.append(f"{path}: notes without a label are not kept: line {lines}")
    return _added([mark for _, mark in marks.values()], labels, listed, empty, notes)


def _added(
    marks: Iterable[Mark], labels: Labels, listed: Container[str], empty: int, notes: list[str]
) -> Imported:
    new, corrected, unchanged, elsewhere = [], [], 0, 0
    with labels.locked():
        labels.refresh()
    for mark in marks:
        elsewhere += mark.id not in listed
        before = labels.current.get(mark.id, {}).get(mark.rater)
        if before is None:
            new.append(mark)
        elif (before.label, before.skip, before.note) == (mark.label, mark.skip, mark.note):
            unchanged += 1
        elif (before.label, before.skip) == (mark.label, mark.skip) and not mark.note:
            unchanged += 1  # an emptied note does not remove the earlier one
        else:
            corrected.append((before, mark))
    labels.add([*new, *(mark for _, mark in corrected)])
    return Imported(new, corrected, unchanged, empty, elsewhere, notes)


def _mark(
    row: dict[str, Any], known: dict[str, str], settings: Settings, rater: str, via: str
) -> Mark | None:
    """The row as a mark; None where there is no label yet."""
    name = _id(row.get("id"), known)
    value, note = _blank_as_none(row.get("label")), _text(row.get("note"))
    if not name:
        if value is None:
            return None  # a line of the heading, or one of the user's own
        raise BadRow("id: missing; take it from the list")
    if name not in known and not _is_answer(name, row):
        raise BadRow(f"id: {show_value(name)} is not on the list; take it from labels/todo.csv")
    if value is None:
        return None
    given: dict[str, Any] = {
        "id": name, "uid": known.get(name, ""),
        "rater": _rater(row.get("rater")) or rater,
        "note": note, "via": via,
    }  # fmt: skip
    if isinstance(value, str) and value.strip().casefold() == SKIP:
        if not note:
            raise BadRow("note: missing; a skip needs a reason")
        return Mark(**(given | {"skip": note, "note": ""}))
    scale = settings.oracle_range
    return Mark(**given, label=number(value, scale), scale=scale)


def number(value: Any, scale: tuple[float, float]) -> float:
    """A label as a number on the scale; a decimal comma is allowed. Raises BadRow for anything
    else."""
    if isinstance(value, date | time | timedelta):
        raise BadRow(
            f"label: {value}: the spreadsheet turned the number into a date; format the column as "
            "text or number, and enter it again"
        )
    if isinstance(value, str):
        text = _visible(unicodedata.normalize("NFKC", value)).removeprefix("'").replace(" ", "")
        text = text.replace("\N{MINUS SIGN}", "-")
        if THOUSANDS.fullmatch(text) and scale[1] >= 1000:
            raise BadRow(f"label: {show_value(value)} is ambiguous; leave out the comma")
        if not NUMBER.fullmatch(text):
            raise BadRow(f"label: {show_value(value)} is neither a number nor {SKIP}")
        value = float(text.replace(",", "."))
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadRow(f"label: {show_value(value)} is neither a number nor {SKIP}")
    lo, hi = scale
    if not lo <= value <= hi:
        raise BadRow(f"label: {value:g} is outside oracle_range [{lo:g}, {hi:g}]")
    return float(value) + 0.0  # no -0


def _check_same(name: str, column: str, row: dict[str, Any], listed: str, garbled: bool) -> None:
    """Raises BadRow where a text of the row is not that of its id on the list, as where a sheet was
    sorted by one column alone; blanks do not count, and of a `garbled` file ASCII letters alone."""
    cell = row.get(column)
    if not isinstance(cell, str) or not cell.strip():
        return  # a spreadsheet has turned it into a number or a date
    given, known = (_comparable(text, garbled) for text in (unguarded(cell), listed))
    longest = len(given) if len(cell) >= LONGEST_CELL else None
    if given != known[:longest] and not _same_number(cell, listed):
        raise BadRow(
            f"{column}: not the {column} of id {name} on the list; sort whole rows, not one "
            f"column, or take the column {column} out if you changed its texts"
        )


def _comparable(text: str, garbled: bool) -> str:
    """The text with single blanks between its words, and without what files do not keep."""
    if garbled:
        return re.sub("[^0-9A-Za-z]", "", text)
    text = unicodedata.normalize("NFC", text)
    return " ".join("".join(c for c in text if c.isprintable() or c.isspace()).split())


def _same_number(given: str, known: str) -> bool:
    """Whether both are one number: a spreadsheet writes 1.50 as 1.5."""
    try:
        return float(given.replace(",", ".")) == float(known.replace(",", "."))
    except ValueError:
        return False


def _is_answer(name: str, row: dict[str, Any]) -> bool:
    """Whether the row's texts match its id, which then comes from an earlier list."""
    prompt, answer = row.get("prompt"), row.get("answer")
    if not (isinstance(prompt, str) and isinstance(answer, str)):
        return False
    return answer_id(unguarded(prompt), unguarded(answer)) == name


def _id(value: Any, known: Container[str]) -> str:
    """The id without what spreadsheets and autocorrection add: a text mark, a capital letter."""
    name = _text(value)
    plain = name.strip("'\"").casefold()
    return plain if name not in known and plain in known else name


def _rater(value: Any) -> str:
    try:
        return rater_name(_text(value)) if _text(value) else ""
    except CJEError as problem:
        raise BadRow(f"rater: {problem}") from None


def _text(value: Any) -> str:
    return "" if value is None else _visible(str(value))


def _visible(text: str) -> str:
    """The text without invisible characters at its ends, such as zero-width spaces."""
    return text.strip(string.whitespace + INVISIBLE)


def _blank_as_none(value: Any) -> Any:
    if isinstance(value, float) and math.isnan(value):
        return None
    return None if isinstance(value, str) and not value.strip() else value


def _said(mark: Mark) -> str:
    return f"{mark.label:g}" if mark.label is not None else SKIP
