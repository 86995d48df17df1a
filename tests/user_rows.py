"""Rows of users' files for the tests, and the files read."""

import json

import pytest

from cje.data.readers.inputs import Inputs, read_inputs
from cje.errors import CJEError
from cje.settings import parse_settings


def chosen(**changes):
    fixed = {
        "source": "files",
        "base_model": "sim/base",
        "target_models": ["sim/better"],
        "judge_range": [0, 1],
        "oracle_range": [0, 1],
    }
    return parse_settings(fixed | changes)


def log(uid="p1", **changes) -> dict:
    row = {
        "uid": uid,
        "prompt": f"Prompt {uid}?",
        "answer": f"Logged {uid}.",
        "sequence_logp": -2.0,
        "target_policy_logprobs": {"clone": -3.0},
        "judge_score": 0.5,
    }
    return row | changes


def draw(uid="p1", **changes) -> dict:
    row = {"uid": uid, "prompt": f"Prompt {uid}?", "answer": f"Fresh {uid}.", "judge_score": 0.25}
    return row | changes


def without(row: dict, *names: str) -> dict:
    return {name: value for name, value in row.items() if name not in names}


def write(path, rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_bytes("".join(line + "\n" for line in lines).encode("utf-8"))


def read(folder, logs=None, draws=None, labels=(), **changes) -> Inputs:
    """Write the rows as users' files, one policy `clone`, and read them."""
    write(folder / "logs.jsonl", [log()] if logs is None else logs)
    write(folder / "draws" / "clone.jsonl", [draw()] if draws is None else draws)
    if labels:
        write(folder / "validation" / "clone.jsonl", labels)
    return read_inputs(folder, chosen(**changes))


def refusal(folder, **rows) -> str:
    with pytest.raises(CJEError) as caught:
        read(folder, **rows)
    return str(caught.value)
