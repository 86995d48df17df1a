"""Logs, draws and labels that users bring (`source: files`), checked and joined into our tables.

data/inputs/README.md says which files and columns there are; `user_files` checks each row by
itself, `ratings` joins what several raters said, this module finds what
belongs together.
"""

import hashlib
import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd

from cje.data.readers.conversations import grouping, repeats
from cje.data.readers.ratings import labelled, one_row_an_answer, repeat_answers
from cje.data.readers.user_files import (
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
from cje.data.schemas import NO_ANSWER, TABLES
from cje.data.tables import LOGGED, check_table, prompt_uids, to_unit
from cje.errors import CJEError
from cje.settings import Settings, show_value

SHOWN = 3  # bad rows that an error quotes


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
    tables = _tables(logs, draws, prompts, settings)
    return Inputs(
        targets=list(draws),
        bad_rows=bad_rows,
        left_out=_without_nothing(shares),
        summary=_summary(tables, logs, draws)
        | {"prompts_left_out": beyond, "bad_rows": len(bad_rows)},
        notes=_notes(logs, draws, settings),
        **tables,
    )


def _without_nothing(shares: Mapping[str, Any]) -> dict[str, Any]:
    """The nested mapping without what is empty in it."""
    found = {k: _without_nothing(v) if isinstance(v, Mapping) else v for k, v in shares.items()}
    return {k: v for k, v in found.items() if v not in (None, {})}


@dataclass
class _BadRows:
    """The bad rows of all files."""

    found: list[tuple[Path, int, BadRow]] = field(default_factory=list)
    rows: Counter[Path] = field(default_factory=Counter)  # of each file, in the order of reading

    def keep(self, rows: Iterable[Row], check: Callable[[Row], Row]) -> list[Row]:
        """`check(row)` of each row, without the rows that it refuses."""
        kept = []
        for row in rows:
            try:
                kept.append(check(row))
            except BadRow as problem:
                self.found.append((row["file"], row["line"], problem))
        return kept

    def read(self, path: Path, parse: Callable[..., Row], settings: Settings) -> list[Row]:
        """The good rows of a file, with their `file` and `line`."""
        self.rows[path] = 0

        def parsed(row: Row) -> Row:
            raw = row["raw"]
            self.rows[path] += 1
            if isinstance(raw, BadRow):
                raise raw
            return {"file": path, "line": row["line"], **parse(raw, settings)}

        rows = ({"file": path, "line": line, "raw": raw} for line, raw in raw_rows(path))
        return self.keep(rows, parsed)

    def frame(self) -> pd.DataFrame:
        """Columns file, line, column, reason, in the order of reading."""
        order = {path: i for i, path in enumerate(self.rows)}
        found = sorted(self.found, key=lambda item: (order[item[0]], item[1]))
        rows = [(str(path), line, bad.column, bad.reason) for path, line, bad in found]
        return pd.DataFrame(rows, columns=["file", "line", "column", "reason"])

    def share(self, path: Path) -> dict[str, float] | None:
        """How many rows of a file are bad, and which part of it; None where none is."""
        bad = sum(found == path for found, _, _ in self.found)
        return {"rows": bad, "share": bad / self.rows[path]} if bad else None


class _Prompts:
    """The logged prompts by uid, the uids by what was asked, and clusters that rows name."""

    def __init__(self, logs: Iterable[Row]):
        self.texts: dict[str, str] = {}
        self.asked: dict[str, str] = {}
        self.uids: dict[str, list[str]] = defaultdict(list)
        self.clusters: dict[str, str] = {}
        for row in logs:
            uid, asked = row["uid"], _same_text(row["asked"])
            self.texts[uid], self.asked[uid] = row["prompt"], asked
            self.uids[asked].append(uid)
            if row["cluster"] is not None:
                self.clusters[uid] = row["cluster"]

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


def _read_logs(path: Path, settings: Settings, bad: _BadRows) -> list[Row]:
    """The logged answers; `repeat` is the cluster of equal prompts without a uid."""
    rows = bad.read(path, parse_log, settings)
    repeated: list[str | None] = [None] * len(rows)
    if any(row["uid"] is not None for row in rows):
        rows = bad.keep(rows, _require_uid)
    else:
        uids = prompt_uids(row["asked"] for row in rows)
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
    bad: _BadRows,
) -> list[Row]:
    """The draws of a policy, each with its label in the validation file, or None, as `check`."""
    rows = bad.read(path, parse_draw, settings)
    if repeat_answers(rows):
        for row in rows:
            row["draw"] = 0
    rows = bad.keep(rows, _placer(prompts, {}))
    rows = labelled(one_row_an_answer(rows, bad.keep), bad.keep)
    checks = _read_labels(label_path, rows, prompts, settings, bad) if label_path else {}
    for row in rows:
        row["check"] = checks.get((row["uid"], row["draw"]))
    return rows


def _read_labels(
    path: Path, draws: list[Row], prompts: _Prompts, settings: Settings, bad: _BadRows
) -> dict[tuple[str, int], Row]:
    """The labels in a validation file, by uid and draw; without those that the draws have too."""
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
            raise BadRow(label["oracle_column"], f"of an answer that failed, {where}")
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

    labels = bad.keep(bad.read(path, parse_label, settings), _placer(prompts, only))
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

    Without a uid the prompt tells; of one that was logged m times, the first m rows belong to its m
    uids. Without a draw, it is the one that the uid has (`only`), else rows are numbered as they
    come.
    """
    count: Counter[Any] = Counter()

    def place(row: Row) -> Row:
        uid, draw, asked = row["uid"], row["draw"], row["asked"] and _same_text(row["asked"])
        if uid is None:
            uids = prompts.uids.get(asked)
            if not uids:
                raise BadRow("prompt", "no good row of the logs has this prompt")
            nth = count[asked, draw]
            count[asked, draw] += 1
            if draw is None:
                uid = uids[nth % len(uids)]
                draw = only.get(uid, nth // len(uids))
            else:
                uid = uids[min(nth, len(uids) - 1)]
        else:
            if uid not in prompts.texts:
                reason = f"{show_value(uid)} is in no good row of the logs"
                raise BadRow(row["uid_column"], reason)
            if asked not in (None, prompts.asked[uid]):
                raise BadRow("prompt", f"differs from the log's prompt of uid {show_value(uid)}")
            if draw is None:
                draw = only.get(uid, count[uid])
                count[uid] += 1
        prompts.agree(uid, row["cluster"][1])
        row.update(uid=uid, draw=draw, prompt=prompts.texts[uid])
        return row

    return place


def _refuse_bad_rows(bad_rows: pd.DataFrame, settings: Settings) -> None:
    if bad_rows.empty or settings.on_bad_row == "skip":
        return
    shown = [f"{r.file}:{r.line}: {r.column}: {r.reason}" for r in bad_rows[:SHOWN].itertuples()]
    rows = "1 bad row" if len(bad_rows) == 1 else f"{len(bad_rows)} bad rows"
    raise CJEError("\n".join([*shown, f"{rows} in all: fix them, or set on_bad_row=skip"]))


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


def _tables(
    logs: list[Row], draws: dict[str, list[Row]], prompts: _Prompts, settings: Settings
) -> dict[str, pd.DataFrame]:
    """The tables of the rows that are left, by name; every row has its `policy` and `draw`."""
    fresh = [row for rows in draws.values() for row in rows]
    asked = [
        {
            "uid": row["uid"],
            "prompt": row["prompt"],
            "source": "files",
            "cluster": prompts.clusters.get(row["uid"], row["repeat"]),
            "metadata": row["metadata"],
        }
        for row in logs
    ]
    own, checks = _labels(logs, logs), []
    for rows in draws.values():
        labels = _labels(rows, rows)
        others = _labels([row | row["check"] for row in rows if row["check"]], rows)
        own += labels or others
        checks += others if labels else []
    tables = {
        "prompts": asked,
        "logs": logs,
        "draws": fresh,
        "target_logps": [_target_logp(row, policy) for policy in draws for row in logs],
        "proxy_scores": [_judged(row, settings) for row in (*logs, *fresh)],
        "oracle_labels": own,
        "validation_labels": checks,
    }
    return {name: _frame(found, name) for name, found in tables.items()}


def _summary(
    tables: Mapping[str, pd.DataFrame], logs: list[Row], draws: dict[str, list[Row]]
) -> dict[str, float]:
    """What there is, in numbers."""
    fresh = [row for rows in draws.values() for row in rows]
    labels = len(tables["oracle_labels"])
    on_logs = int((tables["oracle_labels"]["draw"] == LOGGED).sum())
    logps = tables["target_logps"]["sequence_logp"]
    return {
        "logs": len(logs),
        "draws": len(fresh),
        "targets": len(draws),
        "clusters": tables["prompts"]["cluster"].nunique(),
        "oracle_labels": on_logs,
        "labelled_share": on_logs / len(logs),
        "draw_labels": labels - on_logs,
        "validation_labels": len(tables["validation_labels"]),
        "logs_without_answer": sum(row["answer"] is None for row in logs),
        "draws_without_answer": sum(row["answer"] is None for row in fresh),
        "logs_without_judge_score": _unjudged(logs),
        "draws_without_judge_score": _unjudged(fresh),
        "logs_without_logp": sum(row["sequence_logp"] is None for row in logs),
        "target_logps_missing": int(logps.isna().sum()),
        "target_logps_outside_support": int((logps == -math.inf).sum()),
        "policies_without_draws": len(_without_draws(logs, draws)),
    }


def _unjudged(rows: Iterable[Row]) -> int:
    """How many answers have no judge score."""
    return sum(row["score"] is None and row["answer"] is not None for row in rows)


def _without_draws(logs: Iterable[Row], draws: Iterable[str]) -> list[str]:
    """The policies that score logged answers and have given none of their own."""
    scored = {policy for row in logs for policy in row["targets"]}
    return sorted(scored - {row["action"] for row in logs} - set(draws))


def _notes(logs: list[Row], draws: dict[str, list[Row]], settings: Settings) -> list[str]:
    """What people should know of their files, in sentences."""
    everything = [*logs, *(row for rows in draws.values() for row in rows)]
    checks = [row["check"] for row in everything if row.get("check")]
    scores = [row["score"] for row in everything]
    labels = [row["oracle_score"] for row in (*everything, *checks)]
    notes = [
        *_scale_note(scores, "judge_range", settings.judge_range),
        *_scale_note(labels, "oracle_range", settings.oracle_range),
    ]
    if without := _without_draws(logs, draws):
        notes.append(f"left aside, for they have no draws: {', '.join(without)}")
    if more := sum(row["says_more"] for row in logs):
        notes.append(f"prompts that hold more than a user turn, which alone is shown: {more:,}")
    return notes


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


def _labels(rows: list[Row], among: list[Row]) -> list[Row]:
    """The labelled rows, with the probability that they had to be among a policy's answers."""
    found = [row | {"reason": None} for row in rows if row["oracle_score"] is not None]
    answers = sum(row["answer"] is not None for row in among)
    return [
        row if row["oracle_prob"] is not None else row | {"oracle_prob": len(found) / answers}
        for row in found
    ]


def _judged(row: Row, settings: Settings) -> Row:
    """The judge's score as a utility, or why there is none."""
    judged = {name: row[name] for name in ("uid", "policy", "draw")}
    if row["score"] is None:
        return judged | {"reason": NO_ANSWER if row["answer"] is None else "not given"}
    return judged | {"judge_raw": to_unit(row["score"], settings.judge_range)}


def _scale_note(
    scores: Iterable[float | None], setting: str, scale: tuple[float, float]
) -> list[str]:
    """A doubt, where all scores lie in the lowest tenth of their scale."""
    top = max((score for score in scores if score is not None), default=None)
    lo, hi = scale
    if top is None or top > lo + (hi - lo) / 10:
        return []
    return [f"no score is above {top:g} on {setting} [{lo:g}, {hi:g}]: is that their scale?"]
