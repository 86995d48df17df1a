"""Logs, draws and labels that users bring (`source: files`), checked and joined into our tables.

data/inputs/README.md says which files and columns there are; `cje.user_files` checks each row
by itself, this module what rows must be to each other.
"""

import hashlib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

import pandas as pd

from cje.errors import CJEError
from cje.settings import Settings, show_value
from cje.tables import LOGGED, TABLES, check_table, prompt_uids, to_unit
from cje.user_files import (
    DRAWS,
    HELP,
    VALIDATION,
    BadRow,
    Row,
    find_logs,
    find_policy_files,
    parse_draw,
    parse_label,
    parse_log,
    raw_rows,
)

SHOWN = 3  # bad rows that an error quotes


@dataclass(frozen=True)
class Inputs:
    """The users' files as the tables of `cje.tables`, and what was found in them.

    `targets` are the policies that have draws, sorted. `bad_rows` (file, line, column, reason) are
    the rows left out under `on_bad_row: skip`; `summary` counts; `notes` are sentences for people.
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
    summary: dict[str, float]
    notes: list[str]


def read_inputs(folder: str | PathLike, settings: Settings) -> Inputs:
    """The logs, draws and labels under `folder` (data/inputs).

    Judge scores become utilities by `judge_range`; oracle scores stay on their own scale. Raises
    CJEError where a file is missing, unreadable or of no use, and, unless `on_bad_row` is skip,
    where a row is bad; all files are read first.
    """
    folder = Path(folder)
    logs_file = find_logs(folder)
    draw_files = find_policy_files(folder, *DRAWS)
    label_files = find_policy_files(folder, *VALIDATION)
    if not draw_files:
        raise CJEError(
            f"{folder / 'draws'}: no draws; give fresh answers of each target policy in "
            f"<policy>.jsonl or .parquet; {HELP}"
        )
    if stray := sorted(set(label_files) - set(draw_files)):
        raise CJEError(
            f"{label_files[stray[0]]}: {stray[0]} has no draws that these labels "
            "could be of; add them, or move the file away"
        )

    bad = _BadRows()
    logs = _read_logs(logs_file, settings, bad)
    prompts = _Prompts(logs)
    draws = {
        policy: _read_draws(draw_files[policy], label_files.get(policy), prompts, settings, bad)
        for policy in sorted(draw_files)
    }
    bad_rows = bad.frame()
    _refuse_bad_rows(bad_rows, settings)
    for path, rows in [(logs_file, logs), *((draw_files[p], draws[p]) for p in draw_files)]:
        _refuse_useless(path, rows)

    kept = _sample([row["uid"] for row in logs], settings)
    left_out = len(logs) - len(kept)
    logs = [row | {"policy": row["action"], "draw": LOGGED} for row in logs if row["uid"] in kept]
    for policy in draws:
        draws[policy] = [row | {"policy": policy} for row in draws[policy] if row["uid"] in kept]
        if not draws[policy]:
            raise CJEError(
                f"{draw_files[policy]}: no draw is for one of the {len(kept)} prompts kept; "
                "raise max_samples"
            )
    return _join(logs, draws, bad_rows, left_out, settings)


@dataclass
class _BadRows:
    """The bad rows of all files."""

    found: list[tuple[Path, int, BadRow]] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)  # in the order of reading

    def keep(self, rows: Iterable[Row], check: Callable[[Row], Row]) -> list[Row]:
        """`check(row)` of each row, without the rows that it refuses."""
        kept = []
        for row in rows:
            try:
                kept.append(check(row))
            except BadRow as problem:
                self.found.append((row["file"], row["line"], problem))
        return kept

    def read(self, path: Path, parse: Callable, settings: Settings) -> list[Row]:
        """The good rows of a file, with their `file` and `line`."""
        self.files.append(path)

        def parsed(row: Row) -> Row:
            raw = row["raw"]
            if isinstance(raw, BadRow):
                raise raw
            return {"file": path, "line": row["line"], **parse(raw, settings)}

        rows = ({"file": path, "line": line, "raw": raw} for line, raw in raw_rows(path))
        return self.keep(rows, parsed)

    def frame(self) -> pd.DataFrame:
        """Columns file, line, column, reason, in the order of reading."""
        order = {path: i for i, path in enumerate(self.files)}
        found = sorted(self.found, key=lambda item: (order[item[0]], item[1]))
        rows = [(str(path), line, bad.column, bad.reason) for path, line, bad in found]
        return pd.DataFrame(rows, columns=["file", "line", "column", "reason"])


class _Prompts:
    """The logged prompts by uid, and the uids by the prompt's text."""

    def __init__(self, logs: Iterable[Row]):
        self.texts: dict[str, str] = {}
        self.uids: dict[str, list[str]] = defaultdict(list)
        for row in logs:
            self.texts[row["uid"]] = row["prompt"]
            self.uids[_same_text(row["prompt"])].append(row["uid"])


def _same_text(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _read_logs(path: Path, settings: Settings, bad: _BadRows) -> list[Row]:
    rows = bad.read(path, parse_log, settings)
    if any(row["uid"] is not None for row in rows):
        rows = bad.keep(rows, _require_uid)
    else:
        uids = prompt_uids(row["prompt"] for row in rows)
        rows = [row | {"uid": uid} for row, uid in zip(rows, uids, strict=True)]
    first: dict[str, int] = {}

    def unique(row: Row) -> Row:
        line = first.setdefault(row["uid"], row["line"])
        if line != row["line"]:
            raise BadRow(row["uid_column"], f"{show_value(row['uid'])} is on line {line} already")
        return row

    return _with_probs(bad.keep(rows, unique), [], bad)[0]


def _read_draws(
    path: Path,
    label_path: Path | None,
    prompts: _Prompts,
    settings: Settings,
    bad: _BadRows,
) -> list[Row]:
    """The draws of a policy; the labels of its validation file become those of its draws."""
    rows = bad.read(path, parse_draw, settings)
    labels = bad.read(label_path, parse_label, settings) if label_path else []
    rows = bad.keep(rows, _placer(prompts))
    labels = bad.keep(labels, _placer(prompts))
    rows, labels = _with_probs(rows, labels, bad)
    by_key = {(row["uid"], row["draw"]): row for row in rows}

    def attach(label: Row) -> Row:
        uid = show_value(label["uid"])
        draw = by_key.get((label["uid"], label["draw"]))
        if draw is None:
            raise BadRow("draw", f"this policy has no draw {label['draw']} of uid {uid}")
        if label["answer"] not in (None, draw["answer"]):
            reason = f"differs from the draw's, {draw['file']}:{draw['line']}"
            raise BadRow(label["answer_column"], reason)
        if draw["oracle_score"] not in (None, label["oracle_score"]):
            raise BadRow(
                label["oracle_column"],
                f"{label['oracle_score']:g}, but {draw['oracle_score']:g} on the draw, "
                f"{draw['file']}:{draw['line']}",
            )
        draw["oracle_score"] = label["oracle_score"]
        draw["oracle_prob"] = label["oracle_prob"]
        return label

    bad.keep(labels, attach)
    return rows


def _require_uid(row: Row) -> Row:
    if row["uid"] is None:
        raise BadRow(row["uid_column"], "missing, though other rows have it")
    return row


def _with_probs(rows: list[Row], labels: list[Row], bad: _BadRows) -> tuple[list, list]:
    """Rows and labels; where one label has an oracle_prob, those without are bad."""

    def check(row: Row) -> Row:
        if row["oracle_score"] is not None and row["oracle_prob"] is None:
            raise BadRow("oracle_prob", "missing, though other labelled rows have it")
        return row

    labelled = [row for row in (*rows, *labels) if row["oracle_score"] is not None]
    if all(row["oracle_prob"] is None for row in labelled):
        return rows, labels
    return bad.keep(rows, check), bad.keep(labels, check)


def _placer(prompts: _Prompts) -> Callable[[Row], Row]:
    """A check of one file's rows that finds each row's uid and draw among the logged prompts.

    Without a uid the prompt's text tells; of a text that was logged m times, the first m rows
    belong to its m uids. Without a draw, a prompt's rows are numbered as they come.
    """
    count: Counter = Counter()
    first: dict[tuple[str, int], int] = {}

    def place(row: Row) -> Row:
        uid, draw, text = row["uid"], row["draw"], row["prompt"] and _same_text(row["prompt"])
        if uid is None:
            uids = prompts.uids.get(text)
            if not uids:
                raise BadRow("prompt", "no good row of the logs has this prompt")
            nth = count[text, draw]
            count[text, draw] += 1
            if draw is None:
                uid, draw = uids[nth % len(uids)], nth // len(uids)
            else:
                uid = uids[min(nth, len(uids) - 1)]
        else:
            if uid not in prompts.texts:
                reason = f"{show_value(uid)} is in no good row of the logs"
                raise BadRow(row["uid_column"], reason)
            if text is not None and text != _same_text(prompts.texts[uid]):
                raise BadRow("prompt", f"differs from the log's prompt of uid {show_value(uid)}")
            if draw is None:
                draw = count[uid]
                count[uid] += 1
        line = first.setdefault((uid, draw), row["line"])
        if line != row["line"]:
            raise BadRow("draw", f"{draw} of uid {show_value(uid)} is on line {line} already")
        return row | {"uid": uid, "draw": draw, "prompt": prompts.texts[uid]}

    return place


def _refuse_bad_rows(bad_rows: pd.DataFrame, settings: Settings) -> None:
    if bad_rows.empty or settings.on_bad_row == "skip":
        return
    shown = [f"{r.file}:{r.line}: {r.column}: {r.reason}" for r in bad_rows[:SHOWN].itertuples()]
    rows = "1 bad row" if len(bad_rows) == 1 else f"{len(bad_rows)} bad rows"
    raise CJEError("\n".join([*shown, f"{rows} in all: mend them, or set on_bad_row=skip"]))


def _refuse_useless(path: Path, rows: list[Row]) -> None:
    if not rows:
        raise CJEError(f"{path}: no good row; {HELP}")
    if all(row["score"] is None for row in rows):
        raise CJEError(f"{path}: no row has a judge_score (or judge_raw, or score); {HELP}")


def _sample(uids: list[str], settings: Settings) -> set[str]:
    """At most max_samples uids, chosen by a hash of seed and uid, whatever the rows' order."""

    def rank(uid: str) -> bytes:
        return hashlib.blake2b(f"{settings.seed}:{uid}".encode(), digest_size=8).digest()

    return set(sorted(uids, key=rank)[: settings.max_samples])


def _join(
    logs: list[Row],
    draws: dict[str, list[Row]],
    bad_rows: pd.DataFrame,
    left_out: int,
    settings: Settings,
) -> Inputs:
    """The tables of the rows that are left; every row has its `policy` and `draw`."""
    fresh = [row for rows in draws.values() for row in rows]
    target_rows = [_target_logp(row, policy) for policy in draws for row in logs]
    labels = _labels(logs)
    validation = [label for rows in draws.values() for label in _labels(rows)]
    scored = {p for row in logs for p in row["targets"]} - {row["action"] for row in logs}
    without_draws = sorted(scored - set(draws))
    logps = [row["sequence_logp"] for row in target_rows]
    summary = {
        "logs": len(logs),
        "draws": len(fresh),
        "targets": len(draws),
        "oracle_labels": len(labels),
        "labelled_share": len(labels) / len(logs),
        "validation_labels": len(validation),
        "logs_without_judge_score": sum(row["score"] is None for row in logs),
        "draws_without_judge_score": sum(row["score"] is None for row in fresh),
        "logs_without_logp": sum(row["sequence_logp"] is None for row in logs),
        "target_logps_missing": sum(logp is None for logp in logps),
        "target_logps_outside_support": sum(logp == -float("inf") for logp in logps),
        "policies_without_draws": len(without_draws),
        "prompts_left_out": left_out,
        "bad_rows": len(bad_rows),
    }
    everything = [*logs, *fresh]
    notes = [
        *_scale_note([row["score"] for row in everything], "judge_range", settings.judge_range),
        *_scale_note(
            [row["oracle_score"] for row in everything], "oracle_range", settings.oracle_range
        ),
    ]
    if without_draws:
        notes.append(f"left aside, for they have no draws: {', '.join(without_draws)}")
    return Inputs(
        targets=list(draws),
        prompts=_frame([row | {"source": "files", "checks": None} for row in logs], "prompts"),
        logs=_frame(logs, "logs"),
        draws=_frame(fresh, "draws"),
        target_logps=_frame(target_rows, "target_logps"),
        proxy_scores=_frame([_judged(row, settings) for row in everything], "proxy_scores"),
        oracle_labels=_frame(labels, "oracle_labels"),
        validation_labels=_frame(validation, "validation_labels"),
        bad_rows=bad_rows,
        summary=summary,
        notes=notes,
    )


def _frame(rows: list[Row], name: str) -> pd.DataFrame:
    columns = [column.name for column in TABLES[name].columns]
    # As objects: pandas would else read a column of whole numbers and nulls as floats.
    data = {c: pd.Series([row.get(c) for row in rows], dtype=object) for c in columns}
    return check_table(pd.DataFrame(data), name)


def _target_logp(row: Row, policy: str) -> Row:
    """The log-probability of a logged answer under `policy`; under its own it is the log's."""
    given = row["targets"].get(policy)
    own = given is None and policy == row["action"]
    logp = row["sequence_logp"] if own else given
    return {
        "uid": row["uid"],
        "policy": policy,
        "token_logprobs": row["token_logprobs"] if own else None,
        "sequence_logp": logp,
        "logprob_kind": None if logp is None else row["logprob_kind"],
    }


def _labels(rows: list[Row]) -> list[Row]:
    """The labelled ones of a policy's rows, with their inclusion probability."""
    labelled = [row for row in rows if row["oracle_score"] is not None]
    share = len(labelled) / len(rows)
    return [
        row if row["oracle_prob"] is not None else row | {"oracle_prob": share} for row in labelled
    ]


def _judged(row: Row, settings: Settings) -> Row:
    score = row["score"]
    unit = None if score is None else to_unit(score, settings.judge_range)
    return row | {"judge_raw": unit, "reason": "not given" if score is None else None}


def _scale_note(
    scores: Iterable[float | None], setting: str, scale: tuple[float, float]
) -> list[str]:
    """A doubt, where all scores lie in the lowest tenth of their scale."""
    top = max((score for score in scores if score is not None), default=None)
    lo, hi = scale
    if top is None or top > lo + (hi - lo) / 10:
        return []
    return [f"no score is above {top:g} on {setting} [{lo:g}, {hi:g}]: is that their scale?"]
