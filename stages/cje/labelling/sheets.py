"""The rows of a filled list, whatever a spreadsheet did to the file.

Reads CSV in any encoding and with any separator that spreadsheets write, XLSX and similar formats,
and JSONL. Columns are found by name, in any order and among others; lines above the names are
ignored.
"""

import codecs
import csv
import io
import json
import re
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from cje.data.readers.user_files import json_problem
from cje.errors import CJEError
from cje.settings import show_value

WORKBOOKS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
TEXTS = (".csv", ".tsv", ".txt")
NEEDED = ("id", "label")
COLUMNS = (*NEEDED, "note", "rater", "prompt", "answer")
MARKS = (",", ";", "\t", "|")
LONGEST_CELL = 1 << 30
SHEET = re.compile(r"xl/worksheets/[^/]+\.xml")
CELL = re.compile(rb"<c [^>]*[^/>]>.*?</c>", re.DOTALL)
VALUE = re.compile(rb"<v>|<v [^/]*>|<is>")


@dataclass(frozen=True)
class Sheet:
    """Line (of the file, or row of the sheet) and cells by lower-case column name of every row that
    is not empty; `notes` are sentences on how it was read, `garbled` whether its letters other than
    ASCII may not be those that were written."""

    rows: list[tuple[int, dict[str, Any]]]
    notes: list[str]
    garbled: bool = False


def read_sheet(path: Path) -> Sheet:
    """The rows of a filled list. Raises CJEError where the file cannot be read, or has no row of
    column names with id and label."""
    suffix = path.suffix.lower()
    try:
        if suffix in WORKBOOKS:
            return _workbook(path)
        data = path.read_bytes()
    except FileNotFoundError:
        raise CJEError(f"{path}: no such file") from None
    if data[:4] == b"PK\x03\x04":
        raise CJEError(f"{path}: this is a workbook; rename it to .xlsx or .ods")
    text, notes = _decoded(path, data)
    if suffix in (".jsonl", ".json", ".ndjson"):
        return Sheet(_json_rows(path, text), notes, garbled=bool(notes))
    if suffix not in TEXTS:
        raise CJEError(f"{path}: give a .csv, .xlsx, .ods or .jsonl file")
    return Sheet(_text_rows(path, text), notes, garbled=bool(notes))


def _decoded(path: Path, data: bytes) -> tuple[str, list[str]]:
    """The text of a file, and notes on how it was read."""
    encoding = _encoding(data)
    try:
        return data.decode(encoding), []
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            words = f"not {encoding.upper()} text at byte {error.start}; save it as CSV UTF-8"
            raise CJEError(f"{path}: {words}") from None
    # Spreadsheets on Windows write CSV so; ids and numbers are the same in every such code page.
    return data.decode("cp1252", "replace"), [
        f"{path} is not UTF-8: it was read as Windows-1252, which may have garbled letters in notes"
    ]


def _encoding(data: bytes) -> str:
    """By the byte order mark, or by where the zeros are."""
    marks = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16"}
    for mark, encoding in (marks | {codecs.BOM_UTF16_BE: "utf-16"}).items():
        if data.startswith(mark):
            return encoding
    head = data[:200]
    if head[1::2].count(0) > len(head) // 3:
        return "utf-16-le"
    return "utf-16-be" if head[::2].count(0) > len(head) // 3 else "utf-8"


def _text_rows(path: Path, text: str) -> list[tuple[int, dict[str, Any]]]:
    limit = csv.field_size_limit(LONGEST_CELL)
    try:
        for mark in MARKS:
            rows, problem = _csv_rows(text, mark)
            if (start := _header(rows)) is None:
                continue
            if problem:
                raise CJEError(f"{path}:{problem}")
            return _below(path, rows, start, ragged=True)
    finally:
        csv.field_size_limit(limit)
    raise CJEError(_no_header(path))


def _csv_rows(text: str, mark: str) -> tuple[list[tuple[int, list[str]]], str | None]:
    """First line and cells of every row; and the line and reason where they end too early, as an
    open quote takes all that follows into one cell."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    rows, before = [], 0
    try:
        for cells in reader:
            rows.append((before + 1, cells))
            before = reader.line_num
    except csv.Error as error:
        return rows, f"{before + 1}: a quote in the row that starts here is not closed ({error})"
    return rows, None


def _workbook(path: Path) -> Sheet:
    from python_calamine import CalamineError, CalamineWorkbook

    lists: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    try:
        with CalamineWorkbook.from_path(str(path)) as book:
            for name in book.sheet_names:
                cells = book.get_sheet_by_name(name).to_python(skip_empty_area=False)
                rows = list(enumerate(cells, 1))
                if (start := _header(rows)) is not None:
                    lists[name] = _below(path, rows, start)
    except (CalamineError, OSError) as error:
        if isinstance(error, FileNotFoundError) or not path.exists():
            raise FileNotFoundError(path) from None
        raise CJEError(f"{path}: cannot be read as a workbook: {error}") from None
    if not lists:
        raise CJEError(_no_header(path))
    if len(lists) > 1:
        names = " and ".join(lists)
        raise CJEError(f"{path}: the sheets {names} have columns id and label; keep one of them")
    (found,) = lists.values()
    return Sheet(found, _without_value(path))


def _without_value(path: Path) -> list[str]:
    """A sentence where cells of a workbook have a formula and no value, which reads as empty."""
    if path.suffix.lower() not in (".xlsx", ".xlsm"):
        return []
    with zipfile.ZipFile(path) as book:
        sheets = [book.read(name) for name in book.namelist() if SHEET.fullmatch(name)]
    cells = [cell for sheet in sheets for cell in CELL.findall(sheet)]
    lost = sum(b't="e"' in cell or (b"<f" in cell and not VALUE.search(cell)) for cell in cells)
    if not lost:
        return []
    return [
        f"{path}: cells that are an error, or a formula without a value, count as empty: {lost}"
    ]


def _header(rows: Sequence[tuple[int, Sequence[Any]]]) -> int | None:
    """The index of the row of column names."""
    for place, (_, cells) in enumerate(rows):
        names = [_name(cell) for cell in cells]
        if all(name in names for name in NEEDED):
            return place
    return None


def _below(
    path: Path, rows: Sequence[tuple[int, Sequence[Any]]], start: int, *, ragged: bool = False
) -> list[tuple[int, dict[str, Any]]]:
    """The rows under the column names that have anything in them. `ragged`: rows can have more
    cells than there are names, which no spreadsheet does."""
    names = [_name(cell) for cell in rows[start][1]]
    for name in COLUMNS:
        if names.count(name) > 1:
            raise CJEError(f"{path}:{rows[start][0]}: two columns are named {name}; keep one")
    found = []
    for line, cells in rows[start + 1 :]:
        row = {name: cell for name, cell in zip(names, cells, strict=False) if name}
        if any(str(cell).strip() for cell in cells if cell is not None):
            if ragged and len(cells) > len(names):
                raise CJEError(
                    f"{path}:{line}: {len(cells)} cells under {len(names)} column names; put a "
                    "number with a decimal comma in quotes"
                )
            found.append((line, row))
    return found


def _name(cell: Any) -> str:
    return str(cell).strip().strip("\ufeff").casefold()


def _no_header(path: Path) -> str:
    return f"{path}: no row has the column names id and label; put them back above the answers"


def _json_rows(path: Path, text: str) -> list[tuple[int, dict[str, Any]]]:
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise CJEError(f"{path}:{number}: {json_problem(error)}") from None
        if not isinstance(row, dict):
            words = "not a JSON object; JSON Lines has one object per line"
            raise CJEError(f"{path}:{number}: {words}")
        row = {_name(name): value for name, value in row.items()}
        if not ("rubric" in row and "id" not in row):  # the head of the list
            _check_keys(f"{path}:{number}", row)
            found.append((number, row))
    return found


def _check_keys(where: str, row: Iterable[str]) -> None:
    """Raise CJEError for a JSON object without id or label, or with another key that is meant to be
    one: a table has its column names once, where a missing one shows."""
    for name in NEEDED:
        near = get_close_matches(name, [key for key in row if key not in COLUMNS], cutoff=0.75)
        if near:
            raise CJEError(f"{where}: unknown key {show_value(near[0])}; did you mean {name}?")
        if name not in row:
            raise CJEError(f"{where}: {name}: missing; every line but the first needs id and label")
