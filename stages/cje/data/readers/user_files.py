"""The files that a user brings: where they are, and the rows in them as they are."""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cje.data.readers.bad_rows import BadRow, Row
from cje.errors import CJEError
from cje.settings import policy_name_problem, show_value
from cje.vocabulary import counted

SUFFIXES = (".jsonl", ".csv", ".parquet")
LOG_FILES = tuple(f"{name}{suffix}" for name in ("logs", "logged_data") for suffix in SUFFIXES)
# Folders of files by policy, and what a file's name may have after the policy's.
DRAWS = (("draws", "fresh_draws"), "_responses")
VALIDATION = (("validation", "probe_slice"), "_responses|_probe")
HELP = "data/inputs/README.md says what to put there"

BOM = b"\xef\xbb\xbf"
MARKS = (",", ";", "\t")  # between cells: spreadsheets take that of their country
STRUCTURED = ("target_policy_logprobs", "tokens", "token_logprobs", "metadata")  # JSON in a cell
UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # the marks at the start of such a file
LONGEST_CELL = 2**31 - 1  # characters; csv's own limit is below the longest prompts
BEGINNING = re.compile(rb"\[\s*(\{|$)|\{$")  # of an array of objects, or of an object in lines


def find_logs(folder: Path) -> Path:
    """The file of logs in `folder`; raises CJEError unless there is exactly one."""
    found = [folder / name for name in LOG_FILES if (folder / name).exists()]
    if not found:
        near = [p.name for p in sorted(folder.glob("log*")) if p.is_file() and p.suffix != ".dvc"]
        words = f" ({', '.join(near)} is none of them: save it as one of them)" if near else ""
        raise CJEError(f"{folder}: none of {', '.join(LOG_FILES)} is there{words}; {HELP}")
    if len(found) > 1:
        raise CJEError(f"{folder}: keep one of {', '.join(path.name for path in found)}")
    return found[0]


def unread_notes(folder: Path, logs: Path) -> list[str]:
    """Sentences about files that lie beside the logs and are read by nobody."""
    beside = (p for p in sorted(folder.iterdir()) if p.suffix in SUFFIXES and p != logs)
    return [
        f"{path} is not read; if it has answers of a policy, move it to {folder / DRAWS[0][0]}"
        for path in beside
    ]


def find_policy_files(folder: Path, names: Iterable[str], suffix: str) -> dict[str, Path]:
    """The files under the folders `names` by policy; raises CJEError for a file that does not fit.

    `suffix` is a regular expression for what may follow the policy in the name of a file.
    """
    files: dict[str, Path] = {}
    for path in (p for name in names for p in sorted((folder / name).glob("*"))):
        if path.name.startswith((".", "README")) or path.suffix == ".dvc":
            continue
        if path.suffix not in SUFFIXES:
            words = f"none of {', '.join(SUFFIXES)}; save it as one of them, or move it away"
            raise CJEError(f"{path}: {words}")
        policy = re.sub(f"({suffix})$", "", path.stem)
        if problem := policy_name_problem(policy):
            raise CJEError(f"{path}: {problem}; rename the file")
        if policy in files:
            raise CJEError(f"{path}: {policy} is in {files[policy]} too; keep one of the files")
        files[policy] = path
    return files


def raw_rows(path: Path) -> Iterator[tuple[int, Row | BadRow]]:
    """Line and content of each row of a .jsonl, .csv or .parquet file, null for NaN and an empty
    cell; BadRow for what is not a JSON object.

    The line of a Parquet row is its number, from 1. Raises CJEError where the file is unreadable.
    """
    try:
        if path.suffix == ".csv":
            yield from ((line, _from_cells(row)) for line, row in csv_rows(path))
        else:
            yield from parquet_rows(path) if path.suffix == ".parquet" else json_rows(path)
    except UnicodeDecodeError as error:
        words = f"not UTF-8 text: {error.reason} at byte {error.start}; save the file as UTF-8"
        raise CJEError(f"{path}: {words}") from error
    except (pa.ArrowException, OSError, KeyError, OverflowError) as error:
        reason = str(error).splitlines()[0]
        raise CJEError(f"{path}: cannot be read as {path.suffix[1:]}: {reason}") from error


def parquet_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Number, from 1, and columns of each row of a file, or of a folder of them as Spark writes it,
    null for NaN; raises CJEError for a column that is there twice, and what Arrow raises for what
    it cannot read."""
    if path.is_dir():
        table = pq.read_table(path)
    else:  # alone, since a data set takes folders above it, such as run=3, for columns
        with pq.ParquetFile(path) as file:
            table = file.read()
    if twice := _repeated(table.schema.names):
        raise CJEError(f"{path}: column {twice}: there twice; keep one of them")
    rows = table.to_pylist(maps_as_pydicts="strict")
    yield from ((number, _without_nan(row)) for number, row in enumerate(rows, 1))


def json_rows(path: Path) -> Iterator[tuple[int, Row | BadRow]]:
    """Line and content of each row of a file of JSON Lines, as `raw_rows` gives them; raises
    CJEError for a file that is none."""
    if path.is_dir():
        raise CJEError(f"{path}: a folder; write its parts into one file of this name")
    with path.open("rb") as file:
        if problem := beginning_problem(file.readline()):
            raise CJEError(f"{path}: {problem}")
        file.seek(0)
        yield from _json_rows(file)


def _from_cells(cells: dict[str, str]) -> Row | BadRow:
    """A row of a CSV file: an empty cell is nothing, and what has a structure is JSON."""
    row: Row = {name: cell if cell.strip() else None for name, cell in cells.items()}
    for name in STRUCTURED:
        if isinstance(text := row.get(name), str) and text.lstrip().startswith(("{", "[")):
            try:
                row[name] = json.loads(text)
            except ValueError as error:
                return BadRow(name, f"not valid JSON ({error}); write a list or an object as JSON")
    return row


def csv_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """First line and columns of each row of a CSV file with a header, its cells parted by commas,
    semicolons or tabs; columns without a name, such as an index, are left out.

    Raises CJEError for a column that is there twice, for a row with other cells than the header,
    and for a quote that is not closed.
    """
    limit = csv.field_size_limit(LONGEST_CELL)
    line = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            file.seek(0)
            reader = csv.reader(file, delimiter=max(MARKS, key=header.count), strict=True)
            names = [name.strip() for name in next(reader, [])]
            if twice := _repeated(filter(None, names)):
                raise CJEError(f"{path}:1: column {twice}: there twice; rename one of them")
            line = reader.line_num + 1
            for cells in reader:
                while len(cells) > len(names) and not cells[-1]:
                    del cells[-1]
                if cells and len(cells) != len(names):
                    raise CJEError(
                        f"{path}:{line}: {counted(len(cells), 'cell')}, where the header has "
                        f"{len(names)}; write a text with commas or line breaks in double quotes"
                    )
                if cells:
                    columns = zip(names, cells, strict=True)
                    yield line, {name: cell for name, cell in columns if name}
                line = reader.line_num + 1
    except csv.Error as error:
        words = f"quotes that do not close ({error}); write those inside a quoted text twice"
        raise CJEError(f"{path}:{line}: {words}") from None
    finally:
        csv.field_size_limit(limit)


def _repeated(names: Iterable[str]) -> str | None:
    """The first name that is there twice."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def beginning_problem(line: bytes) -> str | None:
    """What is wrong with a file of JSON Lines, by its first line; None for nothing."""
    if line.startswith(UTF_16) or b"\0" in line:
        return "UTF-16 text or no text; save the file as UTF-8"
    if BEGINNING.match(line.removeprefix(BOM).strip()):
        return "JSON, but not JSON Lines; write one JSON object per line"
    return None


def json_problem(error: json.JSONDecodeError) -> str:
    """Why a line is not JSON: `Unterminated string at character 8`."""
    reason = re.sub("( starting)? at$", "", error.msg)
    return f"not valid JSON: {reason} at character {error.pos}; write one JSON object per line"


def _json_rows(lines: Iterator[bytes]) -> Iterator[tuple[int, Row | BadRow]]:
    for number, line in enumerate(lines, 1):
        text = line.removeprefix(BOM).strip() if number == 1 else line.strip()
        if not text:
            continue
        try:
            row = json.loads(text.decode("utf-8"), object_pairs_hook=_object)
        except BadRow as problem_of_key:
            yield number, problem_of_key
        except UnicodeDecodeError as error:
            problem = f"not UTF-8 text: {error.reason} at byte {error.start}"
            yield number, BadRow("row", f"{problem}; save the file as UTF-8")
        except json.JSONDecodeError as error:
            yield number, BadRow("row", json_problem(error))
        except (ValueError, RecursionError):
            yield (
                number,
                BadRow(
                    "row", "not valid JSON: a number too long or nested too deep; write it shorter"
                ),
            )
        else:
            if isinstance(row, dict):
                yield number, _without_nan(row)
            else:
                reason = f"{show_value(row)} is not an object of columns"
                yield number, BadRow("row", f"{reason}; write one JSON object per line")


def _object(pairs: list[tuple[str, Any]]) -> Row:
    """An object; raises BadRow for a key with two values."""
    found: Row = {}
    for key, value in pairs:
        if found.setdefault(key, value) != value and value == value:
            words = f"there twice, {show_value(found[key])} and {show_value(value)}; keep one"
            raise BadRow(key, words)
    return found


def _without_nan(row: Row) -> Row:
    return {name: nan_as_null(value) for name, value in row.items()}


def nan_as_null(value: Any) -> Any:
    """The value, or None for NaN, which data frames write where there is nothing."""
    return None if isinstance(value, float | Decimal) and value != value else value
