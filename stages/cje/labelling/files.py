"""The list as files that people fill in: labels/todo.csv for a spreadsheet, labels/todo.jsonl."""

import csv
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from cje.errors import CJEError, writing
from cje.judging import load_rubric
from cje.labelling.kept import FOLDER, Labels
from cje.labelling.sheets import read_sheet
from cje.settings import Settings

TODO = "todo"  # the name of the files; todo-2 where somebody has filled in the first, and so on
HEADER = ["id", "prompt", "answer", "label", "note"]
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would compute
GUARD = "'"


def waiting(rows: pd.DataFrame, labels: Labels) -> pd.DataFrame:
    """The rows of the list that need more raters than have labelled or skipped them."""
    done = [len(labels.current.get(name, {})) for name in rows["id"]]
    return rows[rows["raters"].to_numpy() > done]


def write_lists(rows: pd.DataFrame, settings: Settings) -> Path:
    """Write the answers to label as CSV and JSONL, each with the rubric and the scale; they do not
    reveal which policy gave an answer or what the judge says of it. Files that somebody has begun
    to fill in are left alone. Returns the path of the CSV."""
    name, number = TODO, 1
    while any(filled(FOLDER / f"{name}{suffix}") for suffix in (".csv", ".jsonl")):
        number += 1
        name = f"{TODO}-{number}"
    words = rubric_words(settings)
    head = [*words.splitlines(), "", *instructions(settings)]
    columns = list(HEADER)
    if rows["reference"].notna().any():
        columns.insert(2, "reference")
    table = rows.assign(label="", note="", reference=rows["reference"].fillna(""))[columns]
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\r\n")
    points = [re.sub(r"^[-*] ", "\N{BULLET} ", line) for line in head]
    out.writerows([plain(line)] if line else [] for line in points)
    out.writerow(columns)
    out.writerows([plain(str(value)) for value in row] for row in table.itertuples(index=False))
    # The mark at the start tells spreadsheets that it is UTF-8.
    path = FOLDER / f"{name}.csv"
    _write(path, text.getvalue().encode("utf-8-sig", "replace"))
    first = {"rubric": words, "scale": list(settings.oracle_range)}
    lines = [first, *(_json_row(row) for row in rows.to_dict("records"))]
    texts = [json.dumps(row, ensure_ascii=False) + "\n" for row in lines]
    _write(path.with_suffix(".jsonl"), "".join(texts).encode("utf-8"))
    return path


def filled(path: Path) -> bool:
    """Whether somebody has written into the list; one that cannot be read counts as filled."""
    if not path.exists():
        return False
    try:
        rows = read_sheet(path).rows
    except CJEError:
        return True
    return any(row.get(name) not in (None, "") for _, row in rows for name in ("label", "note"))


def instructions(settings: Settings) -> list[str]:
    """How to fill the file in, in lines."""
    lo, hi = (f"{end:g}" for end in settings.oracle_range)
    return [
        f"Write a number from {lo} to {hi} under label. Work from the top down and do not leave "
        "any out: the order is random.",
        "If you cannot label an answer, write skip under label and the reason under note. You "
        "can stop after any row.",
        "Then: cje label --import THIS_FILE",
        "",
    ]


def rubric_words(settings: Settings) -> str:
    """How the oracle is to judge."""
    oracle = settings.oracle
    return load_rubric(oracle.rubric, oracle.rubric_setting).criteria(oracle.score_range)


def plain(text: str) -> str:
    """The text for a cell of a spreadsheet, so that it is not computed as a formula."""
    return GUARD + text if text.startswith(FORMULA) else text


def unguarded(text: str) -> str:
    """The text of a cell as it was before `plain`."""
    return text[1:] if text.startswith(GUARD) and text[1:].startswith(FORMULA) else text


def _json_row(row: Mapping[str, Any]) -> dict[str, Any]:
    reference = {"reference": row["reference"]} if isinstance(row["reference"], str) else {}
    return {
        "id": row["id"], "prompt": row["prompt"], **reference, "answer": row["answer"],
        "label": None, "note": "",
    }  # fmt: skip


def _write(path: Path, data: bytes) -> None:
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
