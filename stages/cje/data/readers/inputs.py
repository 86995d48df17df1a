"""Logs, draws and labels that users bring (`source: files`), checked and joined into our tables.

data/inputs/README.md says which files and columns there are. `user_files` finds and reads the
files, `user_rows` checks each row by itself, `ratings` joins what several raters said, this module
finds out which rows belong together, and `input_tables` makes the tables.
"""

import hashlib
import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd

from cje.data.readers.bad_rows import BadRow, BadRows, Row, refuse_bad_rows
from cje.data.readers.conversations import grouping, repeats
from cje.data.readers.input_tables import input_notes, input_summary, input_tables
from cje.data.readers.ratings import labelled, one_row_an_answer, repeat_answers
from cje.data.readers.user_files import (
    DRAWS,
    HELP,
    VALIDATION,
    find_logs,
    find_policy_files,
    raw_rows,
    unread_notes,
)
from cje.data.readers.user_rows import columns_in_words, parse_draw, parse_label, parse_log
from cje.data.tables import LOGGED, prompt_uids
from cje.errors import CJEError
from cje.settings import Settings, show_value


@dataclass(frozen=True)
class Inputs:
    """The users' files as the tables of `cje.data.tables`, and what was found in them.

    `targets` are the policies that have draws, sorted. `bad_rows` (file, line, column, reason) are
    the rows left out under `on_bad_row: skip`, `left_out` says how many of each file: {"logs":
    {"rows", "share"}, "draws": {policy: ...}, "validation": {policy: ...}}, files without any left
    out; `summary` counts; `notes` are sentences for people.
    """

    targets: list[str]
    prompts: pd.DataFrame
    logs: pd.DataFrame
    draws: pd.DataFrame
    target_logps: pd.DataFrame
    proxy_scores: pd.DataFrame
    oracle_labels: pd.DataFrame
    validation_labels: pd.DataFrame
    bad_rows: pd.DataFrame
    left_out: dict[str, dict[str, Any]]
    summary: dict[str, float]
    notes: list[str]


def read_inputs(folder: str | PathLike[str], settings: Settings) -> Inputs:
    """The logs, draws and labels under `folder` (data/inputs).

    Judge scores become utilities by `judge_range`; oracle scores stay on their own scale. Raises
    CJEError if a file is missing, unreadable or of no use, and, unless `on_bad_row` is skip, if a
    row is bad; all files are read first.
    """
    folder = Path(folder)
    logs_file = find_logs(folder)
    draw_files = find_policy_files(folder, *DRAWS)
    label_files = find_policy_files(folder, *VALIDATION)
    if not draw_files:
        raise CJEError(
            f"{folder / 'draws'}: no draws; give fresh answers of each target policy in "
            f"<policy>.jsonl, .csv or .parquet; {HELP}"
        )
    if stray := sorted(set(label_files) - set(draw_files)):
        raise CJEError(
            f"{label_files[stray[0]]}: there are no draws of {stray[0]} for these "
            "labels; add them, or move the file away"
        )

    bad = BadRows()
    logs = _read_logs(logs_file, settings, bad)
    if not logs:
        refuse_bad_rows(bad.frame(), settings)
        _refuse_useless(logs_file, logs, bad)
    prompts = _Prompts(logs)
    draws = {
        policy: _read_draws(draw_files[policy], label_files.get(policy), prompts, settings, bad)
        for policy in sorted(draw_files)
    }
    bad_rows = bad.frame()
    refuse_bad_rows(bad.without_unlogged(logs_file).frame(), settings)
    for path, rows in [(logs_file, logs), *((draw_files[p], draws[p]) for p in draw_files)]:
        _refuse_useless(path, rows, bad)

    kept = _sample([row["uid"] for row in logs], settings)
    beyond = len(logs) - len(kept)
    logs = [row for row in logs if row["uid"] in kept]
    for row in logs:
        row["policy"] = row["action"]
    for policy in draws:
        draws[policy] = [row for row in draws[policy] if row["uid"] in kept]
        for row in draws[policy]:
            row["policy"] = policy
        if not draws[policy]:
            raise CJEError(
                f"{draw_files[policy]}: no draw is for one of the {len(kept)} prompts kept; "
                "raise max_samples"
            )
    shares = {
        "logs": bad.share(logs_file),
        "draws": {policy: bad.share(path) for policy, path in draw_files.items()},
        "validation": {policy: bad.share(path) for policy, path in label_files.items()},
    }
    tables = input_tables(logs, draws, prompts.clusters, settings)
    return Inputs(
        targets=list(draws),
        bad_rows=bad_rows,
        left_out=_without_nothing(shares),
        summary=input_summary(tables, logs, draws)
        | {"prompts_left_out": beyond, "bad_rows": len(bad_rows)},
        notes=[*unread_notes(folder, logs_file), *input_notes(logs, draws, settings)],
        **tables,
    )


def _without_nothing(shares: Mapping[str, Any]) -> dict[str, Any]:
    """The nested mapping without its empty entries."""
    found = {k: _without_nothing(v) if isinstance(v, Mapping) else v for k, v in shares.items()}
    return {k: v for k, v in found.items() if v not in (None, {})}


class _Prompts:
    """The logged prompts by uid, the uids by the key of the prompt, and clusters that rows name."""

    def __init__(self, logs: Iterable[Row]):
        self.texts: dict[str, str] = {}
        self.keys: dict[str, str] = {}
        self.uids: dict[str, list[str]] = defaultdict(list)
        self.clusters: dict[str, str] = {}
        for row in logs:
            uid, key = row["uid"], _same_text(row["prompt_key"])
            self.texts[uid], self.keys[uid] = row["prompt"], key
            self.uids[key].append(uid)
            if row["cluster"] is not None:
                self.clusters[uid] = row["cluster"]

    @property
    def some(self) -> str:
        """The first few uids, in words."""
        first = list(islice(self.texts, 3))
        return ", ".join(map(show_value, first)) + (", ..." if len(self.texts) > len(first) else "")

    @cached_property
    def _spaced_alike(self) -> set[str]:
        return {" ".join(known.split()) for known in self.uids}

    def but_for_space(self, key: str) -> str:
        """A remedy, where a prompt is logged with other white space around or in it."""
        if " ".join(key.split()) in self._spaced_alike:
            return ", but for white space; write it as there, or give both files a uid"
        return ""

    def agree(self, uid: str, cluster: str | None) -> None:
        """Note the cluster that a row names; raises BadRow where another row names another."""
        known = self.clusters.get(uid, cluster)
        if cluster not in (None, known):
            given = f"{show_value(cluster)}, but {show_value(known)}"
            raise BadRow("cluster", f"{given} in another row of uid {show_value(uid)}")
        if known is not None:
            self.clusters[uid] = known


def _same_text(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _read(
    path: Path, bad: BadRows, parse: Callable[[Row, Settings], Row], settings: Settings
) -> list[Row]:
    """The good rows of a file, with their `file` and `line`."""
    bad.rows[path] = 0

    def parsed(row: Row) -> Row:
        raw = row["raw"]
        bad.rows[path] += 1
        if isinstance(raw, BadRow):
            raise raw
        bad.columns.setdefault(path, columns_in_words(raw))
        return {"file": path, "line": row["line"], **parse(raw, settings)}

    rows = ({"file": path, "line": line, "raw": raw} for line, raw in raw_rows(path))
    return bad.keep(rows, parsed)


def _read_logs(path: Path, settings: Settings, bad: BadRows) -> list[Row]:
    """The logged answers; `repeat` is the cluster of equal prompts without a uid."""
    rows = _read(path, bad, parse_log, settings)
    repeated: list[str | None] = [None] * len(rows)
    if any(row["uid"] is not None for row in rows):
        rows = bad.keep(rows, _require_uid)
    else:
        uids = prompt_uids(row["prompt_key"] for row in rows)
        for row, uid in zip(rows, uids, strict=True):
            row["uid"] = uid
        repeated = repeats(uids)
    groups = grouping([row["cluster"] for row in rows])
    for row, cluster, repeat in zip(rows, groups, repeated, strict=False):
        row.update(draw=LOGGED, cluster=cluster, repeat=repeat)
    return labelled(one_row_an_answer(rows, bad.keep), bad.keep)


def _read_draws(
    path: Path,
    label_path: Path | None,
    prompts: _Prompts,
    settings: Settings,
    bad: BadRows,
) -> list[Row]:
    """The draws of a policy, each with its label in the validation file, or None, in `check`."""
    rows = _read(path, bad, parse_draw, settings)
    if repeat_answers(rows):
        for row in rows:
            row["draw"] = 0
    for row in rows:
        row["numbered"] = row["draw"] is not None
    rows = bad.keep(rows, _placer(prompts, {}))
    rows = labelled(one_row_an_answer(rows, bad.keep), bad.keep)
    checks = _read_labels(label_path, rows, prompts, settings, bad) if label_path else {}
    for row in rows:
        row["check"] = checks.get((row["uid"], row["draw"]))
    return rows


def _read_labels(
    path: Path, draws: list[Row], prompts: _Prompts, settings: Settings, bad: BadRows
) -> dict[tuple[str, int], Row]:
    """The labels in a validation file, by uid and draw; without those that the draws already
    have."""
    by_key = {(row["uid"], row["draw"]): row for row in draws}
    count = Counter(row["uid"] for row in draws)
    only = {row["uid"]: row["draw"] for row in draws if count[row["uid"]] == 1}

    def of_a_draw(label: Row) -> Row:
        draw = by_key.get((label["uid"], label["draw"]))
        if draw is None:
            uid = show_value(label["uid"])
            raise BadRow("draw", f"this policy has no draw {label['draw']} of uid {uid}")
        where = f"{draw['file']}:{draw['line']}"
        if draw["answer"] is None:
            raise BadRow(label["oracle_column"], f"the answer failed, {where}")
        if label["answer"] not in (None, draw["answer"]):
            raise BadRow(label["answer_column"], f"differs from the draw's, {where}")
        return label | {"answer": draw["answer"]}

    def same_score(label: Row) -> Row:
        draw = by_key[label["uid"], label["draw"]]
        given, known = label["oracle_score"], draw["oracle_score"]
        if known is not None and not math.isclose(given, known, rel_tol=1e-9, abs_tol=1e-9):
            where = f"{draw['file']}:{draw['line']}"
            reason = f"{given:.12g}, but {known:.12g} on the draw, {where}"
            raise BadRow(label["oracle_column"], reason)
        return label

    labels = bad.keep(_read(path, bad, parse_label, settings), _placer(prompts, only))
    labels = bad.keep([label for label in labels if label["ratings"]], of_a_draw)
    labels = labelled(one_row_an_answer(labels, bad.keep), bad.keep)
    found = {(label["uid"], label["draw"]): label for label in bad.keep(labels, same_score)}
    return {key: label for key, label in found.items() if by_key[key]["oracle_score"] is None}


def _require_uid(row: Row) -> Row:
    if row["uid"] is None:
        raise BadRow(row["uid_column"], "missing, though other rows have it")
    return row


def _placer(prompts: _Prompts, only: Mapping[str, int]) -> Callable[[Row], Row]:
    """A check of one file's rows that finds each row's uid and draw among the logged prompts.

    A row without a uid is placed by its prompt; of a prompt that was logged m times, the first m
    rows belong to its m uids. A row without a draw is the only one of its uid (`only`), or rows are
    numbered as they come.
    """
    count: Counter[Any] = Counter()

    def place(row: Row) -> Row:
        uid, draw = row["uid"], row["draw"]
        key = row["prompt_key"] and _same_text(row["prompt_key"])
        if uid is None:
            uids = prompts.uids.get(key)
            if not uids:
                words = f"no good row of the logs has this prompt{prompts.but_for_space(key)}"
                raise BadRow("prompt", words, unlogged=True)
            nth = count[key, draw]
            count[key, draw] += 1
            if draw is None:
                uid = uids[nth % len(uids)]
                draw = only.get(uid, nth // len(uids))
            else:
                uid = uids[min(nth, len(uids) - 1)]
        else:
            if uid not in prompts.texts:
                reason = (
                    f"{show_value(uid)} is in no good row of the logs; theirs are {prompts.some}"
                )
                raise BadRow(row["uid_column"], reason, unlogged=True)
            if key not in (None, prompts.keys[uid]):
                raise BadRow("prompt", f"differs from the log's prompt of uid {show_value(uid)}")
            if draw is None:
                draw = only.get(uid, count[uid])
                count[uid] += 1
        prompts.agree(uid, row["cluster"][1])
        row.update(uid=uid, draw=draw, prompt=prompts.texts[uid])
        return row

    return place


def _refuse_useless(path: Path, rows: list[Row], bad: BadRows) -> None:
    if not rows:
        words = "no good row" if bad.rows[path] else "the file is empty"
        raise CJEError(f"{path}: {words}; {HELP}")
    if all(row["score"] is None for row in rows):
        words = f"no row has a judge_score (or judge_raw, or score); {bad.columns[path]}; {HELP}"
        raise CJEError(f"{path}: {words}")


def _sample(uids: list[str], settings: Settings) -> set[str]:
    """At most max_samples uids, chosen by a hash of seed and uid, whatever the order of the
    rows."""

    def rank(uid: str) -> bytes:
        return hashlib.blake2b(f"{settings.seed}:{uid}".encode(), digest_size=8).digest()

    return set(sorted(uids, key=rank)[: settings.max_samples])
