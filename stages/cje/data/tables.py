"""The tables that the stages pass on, read and written with checks.

`cje.data.schemas` says what is in them. Every table is a Parquet file with one row per key. A null
number is NaN in pandas, a null text None or NaN, a null list None.
"""

import hashlib
import json
import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cje.data.schemas import DECIMALS, DIGITS, INTEGER, REAL, TABLES, TEXT, Column, Rule
from cje.data.schemas import LOGGED as LOGGED
from cje.errors import CJEError, writing

METRIC_DIGITS, METRIC_DECIMALS = 6, 12  # of metrics and CSV files
LARGEST_POWER = 300
Scores = TypeVar("Scores", float, np.ndarray, pd.Series)
POWERS = np.array([float(f"1e{k}") for k in range(-LARGEST_POWER, LARGEST_POWER + 1)])


def prompt_uids(texts: Iterable[str]) -> list[str]:
    """The uid of each prompt: a hash of its text, and a counter for repeats of the same text.

    The hash is the 16 hex digits of an 8-byte blake2b of the NFC-normalised UTF-8 text; the k-th
    repeat (k >= 1) of a text gets the suffix `-k`. Raises CJEError for text that is not Unicode.
    """
    seen: Counter[str] = Counter()
    uids = []
    for row, text in enumerate(texts):
        try:
            data = unicodedata.normalize("NFC", text).encode("utf-8")
        except UnicodeEncodeError as error:
            raise CJEError(f"prompt {row}: {unicode_problem(error)}") from None
        uid = hashlib.blake2b(data, digest_size=8).hexdigest()
        repeat = seen[uid]
        seen[uid] += 1
        uids.append(f"{uid}-{repeat}" if repeat else uid)
    return uids


def unicode_problem(error: UnicodeEncodeError) -> str:
    """Words for text that UTF-8 cannot hold."""
    code = ord(error.object[error.start])
    return f"half a surrogate pair (U+{code:04X}) at character {error.start}: not Unicode text"


def to_unit(score: Scores, scale: tuple[float, float]) -> Scores:
    """Scores on `scale` = (lo, hi) as utilities on [0, 1]: (score - lo) / (hi - lo)."""
    lo, hi = scale
    return (score - lo) / (hi - lo)


def empty_table(name: str) -> pd.DataFrame:
    """Table `name` without a row."""
    return pd.DataFrame({column.name: [] for column in TABLES[name].columns})


def check_table(df: pd.DataFrame, name: str) -> pd.DataFrame:
    """`df` with the columns, order and dtypes that `read_table` gives for table `name`.

    Raises CJEError where a column is missing and not optional, unknown or of another type, a value
    breaks its column's rule, or two rows share a key.
    """
    return _to_frame(_to_arrow(df, name, f"table {name}"), name)


def write_table(df: pd.DataFrame, name: str, path: str | PathLike[str]) -> None:
    """Check `df` as table `name` and write it as Parquet; the same rows give the same bytes, on
    every processor, since real numbers are rounded here (`rounded`).

    Rows keep their order. Raises CJEError as `check_table` does, with the file and the row.
    """
    path = Path(path)
    table = _to_arrow(df, name, str(path))
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, compression="zstd")


def read_table(
    path: str | PathLike[str], name: str, columns: Iterable[str] | None = None
) -> pd.DataFrame:
    """Read table `name`, or some `columns` of it; lists come as numpy arrays.

    Raises CJEError where the file is missing, is not Parquet, has other columns than the table,
    or holds a value that breaks a rule.
    """
    spec = TABLES[name]
    path = Path(path)
    remedy = f"the stage {spec.stage} makes this table: run dvc repro"
    columns = [c.name for c in spec.columns] if columns is None else list(columns)
    if not path.exists():
        raise CJEError(f"{path}: no such file; {remedy}")
    try:
        with pq.ParquetFile(path) as file:
            _check_schema(file.schema_arrow, name, str(path), remedy)
            table = file.read(columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise CJEError(f"{path}: not a readable Parquet file; {remedy}") from error
    table = table.select(columns)
    _check_values(table, name, str(path))
    return _to_frame(table, name)


def write_metrics(metrics: Mapping[str, object], path: str | PathLike[str]) -> None:
    """Write nested scalars as JSON in the order given; floats keep 6 significant digits.

    Entries that are None are left out. Raises CJEError for a list, NaN or infinity: DVC's tables
    of metrics drop or break on them.
    """
    path = Path(path)
    text = json.dumps(_scalars(metrics, str(path)), indent=2, ensure_ascii=False, allow_nan=False)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8", newline="\n")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file's object, such as metrics; raises CJEError where it is missing or not JSON."""
    remedy = "run dvc repro (what was paid for is kept)"
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CJEError(f"{path}: no such file; {remedy}") from None
    except ValueError as error:
        raise CJEError(f"{path}: not valid JSON ({error}); {remedy}") from None
    return found


def write_csv(df: pd.DataFrame, path: str | PathLike[str]) -> None:
    """Write `df` as CSV without its index; floats keep 6 significant digits, nulls are empty."""
    path = Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        df.to_csv(
            path, index=False, float_format=_csv_number, lineterminator="\n", encoding="utf-8"
        )


def rounded(values: np.ndarray, decimals: int | None = DECIMALS) -> np.ndarray:
    """Real numbers with DIGITS significant digits and at most `decimals` decimals (None: any).

    Multiplication, division and rounding to a whole number alone: every processor gives the same.
    """
    values = np.asarray(values, dtype=float)
    sizes = np.abs(values)
    if decimals is not None and not (sizes >= 10 ** (DIGITS - decimals)).any():
        scale = 10.0**decimals
        return np.rint(values * scale) / scale + 0.0  # + 0.0 turns -0.0 into 0.0
    magnitude = np.searchsorted(POWERS, sizes, side="right") - 1 - LARGEST_POWER
    places = DIGITS - 1 - magnitude
    places = np.clip(places, -LARGEST_POWER, LARGEST_POWER if decimals is None else decimals)
    scale = POWERS[np.abs(places) + LARGEST_POWER]
    with np.errstate(invalid="ignore", over="ignore"):
        many, few = np.rint(values * scale) / scale, np.rint(values / scale) * scale
    found = np.where(places >= 0, many, few)
    tiny = (decimals is None) & (sizes < POWERS[DIGITS - 1])  # beyond the powers: left as they are
    return np.where(np.isfinite(found) & ~tiny, found, values) + 0.0


def rounded_metric(value: float) -> float:
    """A number with METRIC_DIGITS significant digits and at most METRIC_DECIMALS decimals."""
    return float(f"{round(value, METRIC_DECIMALS):.{METRIC_DIGITS}g}") + 0.0


def _csv_number(value: float) -> str:
    return f"{rounded_metric(value):.{METRIC_DIGITS}g}"


def _scalars(value: object, where: str) -> object:
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise CJEError(f"{where}: {key!r}: the name of a metric must be text")
        return {k: _scalars(v, f"{where}: {k}") for k, v in value.items() if v is not None}
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        if not math.isfinite(value):
            raise CJEError(f"{where}: {value} is not a metric; leave it out or give a number")
        return rounded_metric(float(value))
    if isinstance(value, str):
        return value
    raise CJEError(f"{where}: a {type(value).__name__} is not a metric; write it as a table")


def _check_names(
    present: Iterable[str], name: str, where: str, remedy: str, optional: Iterable[str] = ()
) -> None:
    present, wanted = list(present), [c.name for c in TABLES[name].columns]
    missing = [c for c in wanted if c not in present and c not in optional]
    extra = sorted({str(c) for c in present if c not in wanted or present.count(c) > 1})
    for names, problem in ((missing, "missing"), (extra, "unknown or repeated")):
        if names:
            raise CJEError(f"{where}: column {', '.join(names)}: {problem}; {remedy}")


def _check_schema(schema: pa.Schema, name: str, where: str, remedy: str) -> None:
    _check_names(schema.names, name, where, remedy)
    for column in TABLES[name].columns:
        found = schema.field(column.name).type
        if found != column.type:
            raise CJEError(
                f"{where}: column {column.name}: type {found}, not {column.type}; {remedy}"
            )


def _to_arrow(df: pd.DataFrame, name: str, where: str) -> pa.Table:
    """`df` cast to the table's schema, with every check."""
    spec = TABLES[name]
    wanted = ", ".join(c.name for c in spec.columns)
    optional = [c.name for c in spec.columns if c.optional]
    _check_names(df.columns, name, where, f"the columns are {wanted}", optional)
    arrays = []
    for column in spec.columns:
        values = df.get(column.name, pd.Series(None, df.index, dtype=object))
        _check_dtype(values, column, where)
        if values.isna().all():  # pandas gives such a column any dtype
            arrays.append(pa.chunked_array([pa.nulls(len(values), column.type)]))
            continue
        try:
            array = pa.Array.from_pandas(values, type=column.type)
        except UnicodeEncodeError as error:
            problem = f"{unicode_problem(error)}, in {error.object[:40]!r}"
            raise CJEError(f"{where}: column {column.name}: {problem}") from None
        except (pa.ArrowException, TypeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise CJEError(f"{where}: column {column.name}: not {column.type}: {reason}") from error
        array = array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])
        arrays.append(_rounded_array(array, column))
    # No pandas metadata, so that equal rows are equal bytes on file.
    table = pa.Table.from_arrays(arrays, schema=spec.schema)
    _check_values(table, name, where)
    return table


def _rounded_array(array: pa.ChunkedArray, column: Column) -> pa.ChunkedArray:
    """The column with its real numbers rounded; other columns as they are."""
    decimals = None if column.own_scale else DECIMALS
    if column.type == REAL:
        numbers = pa.array(rounded(array.to_numpy(), decimals), REAL, from_pandas=True)
        return pa.chunked_array([numbers])
    if column.type == pa.list_(REAL):
        lists = array.combine_chunks()
        given = lists.flatten()
        numbers = pa.array(rounded(given.to_numpy(zero_copy_only=False), decimals), REAL)
        numbers = pc.if_else(pc.is_null(given), given, numbers)  # the rules speak of nulls
        offsets = pc.subtract(lists.offsets, lists.offsets[0])
        found = pa.ListArray.from_arrays(offsets, numbers, type=column.type, mask=lists.is_null())
        return pa.chunked_array([found])
    return array


def _check_dtype(values: pd.Series, column: Column, where: str) -> None:
    """Arrow would read text and truth values as numbers; here they are errors."""
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return
    kind = pd.api.types.infer_dtype(values, skipna=True)
    if kind not in ("integer", "floating", "mixed-integer-float", "empty"):
        raise CJEError(f"{where}: column {column.name}: {kind} values, not {column.type}")


def _check_values(table: pa.Table, name: str, where: str) -> None:
    spec = TABLES[name]
    for column in spec.columns:
        if column.name not in table.column_names:
            continue
        array = table[column.name]
        if not column.null:
            nulls = pc.is_null(array, nan_is_null=pa.types.is_floating(column.type))
            _raise_at(nulls, "null, but a value is required", column, array, where)
        if column.choices:
            bad = pc.invert(pc.is_in(array, pa.array([*column.choices, None], TEXT)))
            _raise_at(bad, f"must be {' or '.join(column.choices)}", column, array, where)
        if column.name in spec.key and column.type == TEXT:
            empty = pc.fill_null(pc.equal(array, ""), False)
            _raise_at(empty, "must not be empty", column, array, where)
        if column.rule:
            _check_rule(array, column, column.rule, where)
    if set(spec.key) <= set(table.column_names):
        repeats = table.select(spec.key).to_pandas().duplicated().to_numpy()
        if repeats.any():
            row = int(repeats.argmax())
            key = ", ".join(f"{k}={table[k][row].as_py()!r}" for k in spec.key)
            raise CJEError(f"{where}: row {row}: {key}: a second row with this key")


def _check_rule(array: pa.ChunkedArray, column: Column, rule: Rule, where: str) -> None:
    if pa.types.is_list(column.type):
        owners, values = pc.list_parent_indices(array), pc.list_flatten(array)
        null_inside = pc.is_null(values, nan_is_null=True)
        if pc.any(null_inside).as_py():
            row = owners[pc.index(null_inside, True).as_py()].as_py()
            raise CJEError(f"{where}: row {row}: {column.name}: a null inside the list")
    else:
        owners, values = None, array
    present = pc.invert(pc.is_null(values, nan_is_null=pa.types.is_floating(values.type)))
    filled = pc.if_else(present, values, pa.scalar(0, values.type)).to_numpy()
    bad = present.to_numpy() & ~rule.holds(filled)
    if bad.any():
        at = int(bad.argmax())
        row = at if owners is None else owners[at].as_py()
        raise CJEError(f"{where}: row {row}: {column.name}: {filled[at].item()!r} {rule.words}")


def _raise_at(
    bad: pa.ChunkedArray, words: str, column: Column, array: pa.ChunkedArray, where: str
) -> None:
    row = pc.index(bad, True).as_py()
    if row >= 0:
        value = array[row].as_py()
        given = "" if value is None else f"{value!r} "
        raise CJEError(f"{where}: row {row}: {column.name}: {given}{words}")


def _to_frame(table: pa.Table, name: str) -> pd.DataFrame:
    df = table.to_pandas(ignore_metadata=True)
    for column in TABLES[name].columns:
        if column.type == INTEGER and column.null and column.name in df:
            df[column.name] = df[column.name].astype("Int64")  # with nulls and without
    return df
