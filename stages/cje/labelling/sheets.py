"""Rows of a filled list, whatever a spreadsheet made of the file.

CSV in any of the encodings and with any of the marks between fields that spreadsheets write, XLSX
and its kin, JSONL. Columns are found by their names, in whatever order and among whatever others;
lines above them are left out.
"""

import codecs
import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cje.errors import CJEError

WORKBOOKS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
TEXTS = (".csv", ".tsv", ".txt")
NEEDED = ("id", "label")
MARKS = (",", ";", "\t", "|")
LONGEST_CELL = 1 << 30


@dataclass(frozen=True)
class Sheet:
    """Line (of the file, or row of the sheet) and cells by lower-case column name of every row that
    is not empty; `notes` are sentences on how it was read."""

    rows: list[tuple[int, dict[str, Any]]]
    notes: list[str]


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
        raise CJEError(f"{path}: a workbook; name it .xlsx, or .ods")
    text, notes = _decoded(path, data)
    if suffix in (".jsonl", ".json", ".ndjson"):
        return Sheet(_json_rows(path, text), notes)
    if suffix not in TEXTS:
        raise CJEError(f"{path}: give a .csv, .xlsx, .ods or .jsonl file")
    return Sheet(_text_rows(path, text), notes)


def _decoded(path: Path, data: bytes) -> tuple[str, list[str]]:
    """The text of a file, and what is to be said of how it was read."""
    encoding = _encoding(data)
    try:
        return data.decode(encoding), []
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            words = f"not {encoding.upper()} text at byte {error.start}; save it as CSV UTF-8"
            raise CJEError(f"{path}: {words}") from None
    # Spreadsheets on Windows write CSV so; ids and numbers are the same in every such code page.
    return data.decode("cp1252", "replace"), [
        f"{path} is not UTF-8: it was read as Windows-1252, which may have spoilt letters in notes"
    ]


def _encoding(data: bytes) -> str:
    """By the mark at the start, or by where the zeros are."""
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
            rows = list(_csv_rows(text, mark))
            if (start := _header(rows)) is not None:
                return _below(path, rows, start)
    except csv.Error as error:
        raise CJEError(f"{path}: cannot be read as CSV: {error}") from None
    finally:
        csv.field_size_limit(limit)
    raise CJEError(_no_header(path))


def _csv_rows(text: str, mark: str) -> Iterator[tuple[int, list[str]]]:
    """First line and cells of every row."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark)
    before = 0
    for cells in reader:
        yield before + 1, cells
        before = reader.line_num


def _workbook(path: Path) -> Sheet:
    from python_calamine import CalamineError, CalamineWorkbook

    try:
        with CalamineWorkbook.from_path(str(path)) as book:
            for name in book.sheet_names:
                cells = book.get_sheet_by_name(name).to_python(skip_empty_area=False)
                rows = list(enumerate(cells, 1))
                if (start := _header(rows)) is not None:
                    return Sheet(_below(path, rows, start), [])
    except (CalamineError, OSError) as error:
        if isinstance(error, FileNotFoundError) or not path.exists():
            raise FileNotFoundError(path) from None
        raise CJEError(f"{path}: cannot be read as a workbook: {error}") from None
    raise CJEError(_no_header(path))


def _header(rows: Sequence[tuple[int, Sequence[Any]]]) -> int | None:
    """The place of the row of column names."""
    for place, (_, cells) in enumerate(rows):
        names = [_name(cell) for cell in cells]
        if all(names.count(name) == 1 for name in NEEDED):
            return place
    return None


def _below(path: Path, rows: Sequence, start: int) -> list[tuple[int, dict[str, Any]]]:
    """The rows under the column names that have anything in them."""
    names = [_name(cell) for cell in rows[start][1]]
    for name in ("note", "rater", "prompt", "answer"):
        if names.count(name) > 1:
            raise CJEError(f"{path}:{rows[start][0]}: two columns are named {name}; keep one")
    found = []
    for line, cells in rows[start + 1 :]:
        row = {name: cell for name, cell in zip(names, cells, strict=False) if name}
        if any(str(cell).strip() for cell in cells if cell is not None):
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
        except ValueError as error:
            raise CJEError(f"{path}:{number}: not valid JSON: {error}; fix the line") from None
        if not isinstance(row, dict):
            raise CJEError(f"{path}:{number}: not an object of columns; fix the line")
        row = {_name(name): value for name, value in row.items()}
        if not ("rubric" in row and "id" not in row):  # the head of the list
            found.append((number, row))
    return found
