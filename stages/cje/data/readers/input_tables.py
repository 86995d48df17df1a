"""The rows of users' files as our tables, and what people should know of them."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping

import pandas as pd

from cje.data.readers.bad_rows import Row
from cje.data.readers.conversations import stands_for_nothing
from cje.data.schemas import LOGGED, NO_ANSWER, TABLES
from cje.data.tables import check_table, to_unit
from cje.settings import Settings
from cje.vocabulary import counted


def input_tables(
    logs: list[Row],
    draws: dict[str, list[Row]],
    clusters: Mapping[str, str],
    settings: Settings,
) -> dict[str, pd.DataFrame]:
    """The tables by name: of the rows `logs` and `draws` (by policy), each with its `policy` and
    `draw`, and the `clusters` of prompts by uid."""
    fresh = [row for rows in draws.values() for row in rows]
    prompts = [
        {
            "uid": row["uid"],
            "prompt": row["prompt"],
            "source": "files",
            "cluster": clusters.get(row["uid"], row["repeat"]),
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
        "prompts": prompts,
        "logs": logs,
        "draws": fresh,
        "target_logps": [_target_logp(row, policy) for policy in draws for row in logs],
        "proxy_scores": [_judged(row, settings) for row in (*logs, *fresh)],
        "oracle_labels": own,
        "validation_labels": checks,
    }
    return {name: _frame(found, name) for name, found in tables.items()}


def input_summary(
    tables: Mapping[str, pd.DataFrame], logs: list[Row], draws: dict[str, list[Row]]
) -> dict[str, float]:
    """How many rows of each kind there are, and how many lack what."""
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


def input_notes(logs: list[Row], draws: dict[str, list[Row]], settings: Settings) -> list[str]:
    """What people should know of their files, in sentences."""
    everything = [*logs, *(row for rows in draws.values() for row in rows)]
    checks = [row["check"] for row in everything if row.get("check")]
    scores = [row["score"] for row in everything]
    labels = [row["oracle_score"] for row in (*everything, *checks)]
    notes = [
        *_scale_note(scores, "judge_range", settings.judge_range),
        *_scale_note(labels, "oracle_range", settings.oracle_range),
    ]
    if len(actions := list(dict.fromkeys(row["action"] for row in logs))) > 1:
        file = logs[0]["file"]
        notes.append(
            f"{file}: the column action names {', '.join(actions)}: all rows count as answers of "
            f"{actions[0]}, the base policy; keep the rows of one policy"
        )
    alone = [row for row in logs if row["cluster"] is None and row["repeat"] is None]
    texts = Counter(row["prompt_key"] for row in alone)
    if repeated := len(alone) - len(texts):
        notes.append(
            f"{counted(repeated, 'prompt')} with the text of an earlier one under another uid: "
            "each counts as independent of it; give both the same cluster if they are not"
        )
    if (base := actions[0]) in draws:
        notes.append(
            f"draws of {base}: taken as more answers of the base policy, beside the logged ones; "
            "rename the file if another policy gave them"
        )
    if without := _without_draws(logs, draws):
        notes.append(f"ignored, as they have no draws: {', '.join(without)}")
    for path, name, known in sorted(
        {(str(r["file"]), *near) for r in everything for near in r["near"]}
    ):
        notes.append(f"{path}: the column {name} is not read; did you mean {known}?")
    for policy, rows in {logs[0]["action"]: logs, **draws}.items():
        notes += _twins_note(policy, rows)
        words = Counter(row["answer"] for row in rows if row["answer"] is not None)
        for word, count in words.items():
            if count > 1 and word and stands_for_nothing(word):
                notes.append(
                    f"answers of {policy}: {count:,} are the word {word}: give null where an "
                    "answer failed; as a text it is judged like any other"
                )
    for policy, rows in draws.items():
        same = Counter(
            (row["uid"], row["answer"], row["score"], row["oracle_score"])
            for row in rows
            if row["answer"] is not None and not row["numbered"]
        )
        if twice := sum(same.values()) - len(same):
            notes.append(
                f"draws of {policy}: {counted(twice, 'row')} with the uid, answer and scores of "
                "an earlier row: each counts as another draw; remove what is there twice by mistake"
            )
    if more := sum(row["says_more"] for row in logs):
        notes.append(
            f"prompts with more turns than the first user turn, the only one used: {more:,}"
        )
    return notes


def _twins_note(policy: str, rows: Iterable[Row]) -> list[str]:
    """What to know where the rows of a file seem to be there twice, and not of several raters:
    those without a rating are, too."""
    twins = [(row["twins"], not row["ratings"]) for row in rows if row.get("twins")]
    if not any(unrated for _, unrated in twins):
        return []
    return [
        f"answers of {policy}: {counted(sum(count for count, _ in twins), 'row')} with nothing new "
        "beside an earlier one: a label that is there twice counts once, as of two raters; remove "
        "what is there twice by mistake"
    ]


def _frame(rows: list[Row], name: str) -> pd.DataFrame:
    columns = [column.name for column in TABLES[name].columns]
    # As objects: otherwise pandas would read a column of whole numbers and nulls as floats.
    data = {c: pd.Series([row.get(c) for row in rows], dtype=object) for c in columns}
    return check_table(pd.DataFrame(data), name)


def _target_logp(row: Row, policy: str) -> Row:
    """The log-probability of a logged answer under `policy`; under its own policy it is that of the
    log."""
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
    """The labelled rows, with their probability of being labelled `among` a policy's answers."""
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
    """A question, if all scores lie in the lowest tenth of their scale."""
    top = max((score for score in scores if score is not None), default=None)
    lo, hi = scale
    if top is None or top > lo + (hi - lo) / 10:
        return []
    return [f"no score is above {top:g} on {setting} [{lo:g}, {hi:g}]: is that their scale?"]
