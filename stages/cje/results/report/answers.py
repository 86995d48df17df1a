"""Prompts and answers with their scores, and how each token of a logged answer departs.

The index (numbers and the beginnings of prompts) is read when the page opens; texts and tokens come
in chunks of some prompts each, unpacked when they are wanted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cje.data.tables import LOGGED
from cje.results.report.packing import packed, to_json
from cje.results.report.redaction import redacted
from cje.results.run import Run
from cje.results.view import RunView

CHUNK_LETTERS = 1 << 19  # of JSON: some milliseconds to unpack
EXCERPT = 160
HUNDREDTHS = 100  # log-ratios are whole hundredths of a nat
OUTSIDE = "x"  # a token that the target cannot give
SCORES = ("judge_raw", "calibrated_reward", "oracle_score")
DECIMALS = 6


@dataclass(frozen=True)
class Answers:
    """What the page holds: `index` and the chunks packed; `shown` of `total` prompts."""

    index: str
    texts: list[str]
    tokens: list[str]
    shown: int
    total: int


def answers(view: RunView, count: int) -> Answers:
    """The first `count` logged prompts with all that is known of their answers."""
    run = view.run
    logs = any_label(run.logs.iloc[:count].reset_index(drop=True))
    policies = [policy for policy in view.policies if policy != view.base]
    draws = run.draws[run.draws["uid"].isin(logs["uid"])].sort_values("draw", kind="stable")
    draws = any_label(draws)
    texts: list[str] = []
    tokens, places = [], []
    rows = zip(answer_rows(logs, draws, policies), token_rows(run, logs, policies), strict=True)
    for chunk in chunks(rows):
        places += [len(texts)] * len(chunk)
        texts.append(packed(f"[{','.join(text for text, _ in chunk)}]"))
        tokens.append(packed(f"[{','.join(token for _, token in chunk)}]"))
    weights = run.weights.reindex(index=logs["uid"], columns=policies)
    index = {
        "base": str(logs["policy"].iloc[0]) if len(logs) else "",
        "policies": policies,
        "refused": [policy in view.refused for policy in policies],
        "total": len(run.logs),
        "uids": logs["uid"].tolist(),
        "excerpts": [prompt[:EXCERPT] for prompt in logs["prompt"]],
        "chunks": places,
        "weights": [numbers(weights[policy]) for policy in policies],
        **index_scores(logs, draws, policies),
    }
    return Answers(packed(to_json(index)), texts, tokens, len(logs), len(run.logs))


def any_label(answers: pd.DataFrame) -> pd.DataFrame:
    """The answers with `oracle_score` of either kind, and `checks`: it only checks the estimate."""
    checks = answers["oracle_score"].isna() & answers["validation_score"].notna()
    known = answers["oracle_score"].fillna(answers["validation_score"])
    return answers.assign(oracle_score=known, checks=checks)


def index_scores(
    logs: pd.DataFrame, draws: pd.DataFrame, policies: Sequence[str]
) -> dict[str, list[list[float | None]]]:
    """By score, a list for the logs and one for each policy (means of its draws), prompt by
    prompt."""
    means = draws.groupby(["policy", "uid"])[list(SCORES)].mean()
    drawn = set(draws["policy"])
    found = {}
    for score in SCORES:
        columns = [numbers(logs[score])]
        for policy in policies:
            known = means.loc[policy, score] if policy in drawn else pd.Series(dtype=float)
            columns.append(numbers(known.reindex(logs["uid"])))
        found[score] = columns
    return found


def answer_rows(logs: pd.DataFrame, draws: pd.DataFrame, policies: Sequence[str]) -> Iterator[str]:
    """Prompt by prompt the JSON of its uid, its text and its answers, the logged one first; `g` is
    0 for the base policy's, which can have fresh ones too, else 1 and the place of the policy."""
    group = dict.fromkeys(logs["policy"], 0)
    group |= {policy: place for place, policy in enumerate(policies, 1)}
    fresh: dict[str, list[tuple[int, int, dict[str, Any]]]] = {uid: [] for uid in logs["uid"]}
    for row in records(draws):
        fresh[row["uid"]].append((group[row["policy"]], row["draw"], row))
    for row in records(logs):
        given = [(0, LOGGED, row), *sorted(fresh[row["uid"]], key=lambda item: item[:2])]
        found = [answer(place, draw, one) for place, draw, one in given]
        yield to_json({"u": row["uid"], "p": row["prompt"], "a": found})


def answer(place: int, draw: int, row: dict[str, Any]) -> dict[str, Any]:
    """One answer; what is not known is left out."""
    found = {
        "g": place,
        "d": draw,
        "a": text(row["answer"]),
        "f": text(row["finish_reason"]),
        "n": None if pd.isna(row["completion_tokens"]) else int(row["completion_tokens"]),
        "j": rounded(row["judge_raw"]),
        "r": rounded(row["calibrated_reward"]),
        "y": rounded(row["oracle_score"]),
        "c": 1 if row["checks"] else None,
        "why": redacted(row["reason"]) if text(row["reason"]) else None,
        "jw": why(row["judge_reason"], row["judge_raw"]),
        "yw": why(row["oracle_reason"], row["oracle_score"]),
    }
    return {key: value for key, value in found.items() if value is not None}


def why(reason: Any, score: float | None) -> str | None:
    """Why a score is what it is; without a score, why there is none, which may name addresses."""
    if not text(reason):
        return None
    return redacted(reason) if pd.isna(score) else reason


def token_rows(run: Run, logs: pd.DataFrame, policies: Sequence[str]) -> Iterator[str]:
    """Prompt by prompt the JSON of the logged answer's tokens, of their log-probabilities under the
    base policy, and of the log-ratios by policy; nulls where they are not known."""
    scored = run.target_logps[run.target_logps["uid"].isin(logs["uid"])]
    targets = {(row["uid"], row["policy"]): row for row in records(scored)}
    for row in records(logs):
        ratios, sums = [], []
        for policy in policies:
            target = targets.get((row["uid"], policy))
            ratios.append(log_ratios(row, target))
            sums.append(None if target is None else total(row, target))
        base = row["token_logprobs"]
        tokens = row["tokens"]
        found = {
            "t": None if tokens is None else [str(token) for token in tokens],
            "b": None if base is None else hundredths(np.asarray(base, dtype=float)),
            "r": ratios,
            "s": sums,
        }
        yield to_json(found)


def log_ratios(log: dict[str, Any], target: dict[str, Any] | None) -> list[int | str] | None:
    """Target minus base, token by token, in hundredths of a nat; None where the tokens or one of
    their log-probabilities are not known."""
    if target is None:
        return None
    parts = (log["tokens"], log["token_logprobs"], target["token_logprobs"])
    if any(part is None for part in parts) or len({len(part) for part in parts}) > 1:
        return None
    base, other = (np.asarray(part, dtype=float) for part in parts[1:])
    return None if np.isnan(other - base).any() else hundredths(other - base)


def hundredths(values: np.ndarray) -> list[int | str]:
    """Values in whole hundredths that add up to their rounded sum: each is the step of the rounded
    running sum, so within 0.01 of its value. -inf is `OUTSIDE`, and adds nothing."""
    known = np.isfinite(values)
    running = np.rint(HUNDREDTHS * np.cumsum(np.where(known, values, 0.0))).astype(int)
    steps = np.diff(running, prepend=0).tolist()
    return [step if fine else OUTSIDE for step, fine in zip(steps, known, strict=True)]


def total(log: dict[str, Any], target: dict[str, Any]) -> float | str | None:
    """The log-ratio of the whole answer."""
    ratio = target["sequence_logp"] - log["sequence_logp"]
    if np.isneginf(ratio):
        return OUTSIDE
    return None if pd.isna(ratio) else round(float(ratio), 2)


def chunks(rows: Iterator[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """Runs of rows of about `CHUNK_LETTERS`."""
    chunk: list[tuple[str, str]] = []
    letters = 0
    for row in rows:
        chunk.append(row)
        letters += len(row[0]) + len(row[1])
        if letters >= CHUNK_LETTERS:
            yield chunk
            chunk, letters = [], 0
    if chunk:
        yield chunk


def records(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """A frame's rows as dictionaries, one at a time."""
    columns = list(frame)
    for values in zip(*(frame[column].tolist() for column in columns), strict=True):
        yield dict(zip(columns, values, strict=True))


def numbers(values: pd.Series) -> list[float | None]:
    """Rounded numbers, null where they are not known."""
    return [rounded(value) for value in values.tolist()]


def rounded(value: Any) -> float | None:
    """A number for the page; null where it is not known."""
    return None if pd.isna(value) else round(float(value), DECIMALS)


def text(value: Any) -> str | None:
    """Text, or null."""
    return value if isinstance(value, str) else None
