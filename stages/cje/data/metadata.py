"""Metadata of prompts: what else a row of a file says, by which results can be sliced.

Stored with the prompt as JSON text, in the order of the file; null where there is none.
"""

import json
import math
from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from typing import Any

import pandas as pd

LONGEST = 200  # characters of a value: a longer one is a text, not a category


def metadata_of(row: Mapping[str, Any], known: Collection[str]) -> str | None:
    """The columns of a row that are not `known` and hold a short text, a number or a truth value;
    of a column `metadata` that holds an object, what is in it."""
    nested = row.get("metadata")
    named = [*row.items(), *(nested.items() if isinstance(nested, Mapping) else ())]
    found = {
        str(name): plain
        for name, value in named
        if name not in known and (plain := _plain(value)) is not None
    }
    return json.dumps(found, ensure_ascii=False) if found else None


def metadata_columns(texts: Iterable[str | None]) -> pd.DataFrame:
    """One row per prompt, one column per name, in the order of their first use; null where a prompt
    has no such value."""
    rows = [json.loads(text) if isinstance(text, str) else {} for text in texts]
    names = dict.fromkeys(name for row in rows for name in row)
    return pd.DataFrame(
        {name: pd.Series([row.get(name) for row in rows], dtype=object) for name in names},
        index=range(len(rows)),
    )


def _plain(value: Any) -> str | bool | int | float | None:
    """The value as JSON holds it; None if it is empty, not a scalar, or too long."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float | Decimal):
        number = float(value)
        return (int(number) if number == int(number) else number) if math.isfinite(number) else None
    if isinstance(value, str) and 0 < len(value) <= LONGEST:
        return value.encode("utf-8", "replace").decode("utf-8").strip() or None
    return None
