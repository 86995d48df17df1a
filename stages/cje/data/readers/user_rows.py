"""A row of a user's file: what its columns are called, and whether it is sound.

A parsed row is a dict of our column names; `score` is the judge's score as given, on judge_range,
`ratings` the oracle's, one or of several raters. Null and NaN both mean that there is no value.
"""

import math
import re
from collections.abc import Iterable
from decimal import Decimal
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from cje.data.endings import finish_reason
from cje.data.metadata import metadata_of
from cje.data.readers.bad_rows import BadRow, Row
from cje.data.readers.conversations import (
    CLUSTERS,
    WORDS_FOR_NOTHING,
    Cluster,
    cluster_of,
    first_user_text,
    id_text,
    says_more,
    stands_for_nothing,
    turns_key,
)
from cje.data.readers.user_files import nan_as_null
from cje.data.schemas import LOGP_ROUNDING, LOGPROB_KINDS, VERY_UNLIKELY
from cje.data.tables import unicode_problem
from cje.settings import Settings, show_value
from cje.vocabulary import LEAST_PROBABILITY, SCORE_SLACK, counted

NOTHING = (*WORDS_FOR_NOTHING, "-", "na", "n/a")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
# A comma as the decimal mark, where it cannot part thousands.
COMMA = re.compile(r"[+-]?(0?,[0-9]+|[0-9]+,([0-9]{1,2}|[0-9]{4,}))")
ROUNDING = 0.01  # of a sum of log-probabilities, relative, and absolute near 0: servers round

# Our name of a column, and every name under which it is read.
NAMES = {
    "uid": ("uid", "prompt_id", "metadata.prompt_id"),
    "answer": ("answer", "response"),
    "sequence_logp": ("sequence_logp", "base_policy_logprob"),
    "score": ("judge_score", "judge_raw", "score"),
    "oracle_score": ("oracle_score", "oracle_label"),
    "draw": ("draw", "draw_idx"),
    "finish_reason": ("finish_reason", "stop_reason", "finishReason", "stopReason"),
}
READ = frozenset(
    "prompt action oracle_prob target_policy_logprobs logprob_kind tokens token_logprobs model "
    "prompt_tokens completion_tokens".split()
).union(CLUSTERS, *NAMES.values())
# What a row says about its answer, or which prompt it is about; the rest is metadata of the prompt.
KNOWN = READ | {"policy", "reason", "pi0", "calibrated_reward"}
SURE = 6  # letters of a name from which on one that differs by one of them is a slip
NEAR = 0.8  # of difflib's likeness, from which on a name may be meant for another


def parse_log(raw: Row, settings: Settings) -> Row:
    """A logged answer; `targets` maps policies to the log-probability of this answer, or None."""
    row = {
        "near": _check_names(raw),
        **_uid(raw),
        **_prompt(raw),
        "cluster": _cluster(raw, CLUSTERS),
        "metadata": metadata_of(raw, KNOWN),
        **_answer(raw, settings),
        "action": _text(raw, "action") or "base",
        "targets": _targets(raw),
        **_reply(raw),
    }
    if row["prompt"] is None:
        raise BadRow("prompt", f"missing; give prompt; {columns_in_words(raw)}")
    return row


def parse_draw(raw: Row, settings: Settings) -> Row:
    """A fresh answer; its uid or its prompt may be None, not both, and its draw may be None."""
    near = _check_names(raw)
    return {"near": near, **_place(raw), **_answer(raw, settings), **_reply(raw)}


def parse_label(raw: Row, settings: Settings) -> Row:
    """An oracle label on a fresh answer, whose text may be None, and the names in the file; without
    `ratings` if the column exists and is empty."""
    _check_names(raw)
    column, value = _pick(raw, "oracle_score")
    if value is None and not any(name in raw for name in NAMES["oracle_score"]):
        raise BadRow(column, "missing: a validation row is a label")
    return {
        **_place(raw),
        "answer": _text(raw, "answer", empty=True),
        "answer_column": _pick(raw, "answer")[0],
        "oracle_column": column,
        **_scores(raw, settings),
    }


def _pick(raw: Row, column: str) -> tuple[str, Any]:
    """The name in the file and the value of one of our columns; the value is None if it is
    missing."""
    names = NAMES.get(column)
    if names is None:
        return column, raw.get(column)
    found = None
    for name in names:
        value = raw.get(name) if "." not in name else nan_as_null(_nested(raw, name))
        if value is None:
            continue
        if found and value != found[1]:
            raise BadRow(name, f"{show_value(value)}, but {found[0]} is {show_value(found[1])}")
        found = found or (name, value)
    return found or (names[0], None)


def columns_in_words(raw: Row) -> str:
    """The columns of a row, in words."""
    return f"the row has {', '.join(map(show_value, raw)) or 'no columns'}"


def _check_names(raw: Row) -> tuple[tuple[str, str], ...]:
    """Columns that are not read and have nearly the name of one that is, with that name; raises
    BadRow where it is a slip: one letter is wrong in the name of a column that is not there."""
    return _near_names(tuple(raw))


@lru_cache(maxsize=1024)
def _near_names(columns: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    found = []
    for name in columns:
        near = [] if name in KNOWN else get_close_matches(name, sorted(READ), n=1, cutoff=NEAR)
        for known in near:
            if len(known) >= SURE and _one_edit(name, known) and known not in columns:
                raise BadRow(name, f"unknown column; did you mean {known}? Rename it")
            found.append((name, known))
    return tuple(found)


def _one_edit(one: str, other: str) -> bool:
    """Whether one letter more, less, other or changed with the next makes one name the other."""
    for _ in range(2):  # without what both begin with, then, backwards, what both end with
        same = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
        start = min(len(one), len(other)) if same is None else same
        one, other = one[start:][::-1], other[start:][::-1]
    return max(len(one), len(other)) <= 1 or (len(one) == 2 and one == other[::-1])


def _nested(raw: Row, name: str) -> Any:
    value: Any = raw
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _text(raw: Row, column: str, empty: bool = False) -> str | None:
    value: str | None
    name, value = _pick(raw, column)
    if value is not None:
        _check_text(name, value, empty)
    return value


def _prompt(raw: Row) -> Row:
    """The prompt's text, None where there is none; of a list of messages its first user turn.
    `prompt_key` is what equal prompts have in common: the text, or all turns of a conversation."""
    _, value = _pick(raw, "prompt")
    if not isinstance(value, list):
        if value is not None:
            _check_text("prompt", value)
        return {"prompt": value, "prompt_key": value, "says_more": False}
    text, more = first_user_text(value), says_more(value)
    if text is None:
        raise BadRow("prompt", "a list without a first user turn that is text")
    return {"prompt": text, "prompt_key": turns_key(value) if more else text, "says_more": more}


def _cluster(raw: Row, names: Iterable[str]) -> Cluster:
    name, cluster = cluster_of(raw, names)
    given = raw.get("cluster")
    if name != "cluster" and not stands_for_nothing(given):
        raise BadRow("cluster", f"{show_value(given)} is neither text nor a whole number")
    return name, cluster


def _answer(raw: Row, settings: Settings) -> Row:
    """The answer and its scores; a failed answer has neither."""
    row = {"answer": _text(raw, "answer", empty=True), **_scores(raw, settings)}
    if row["answer"] is None and (row["score"] is not None or row["ratings"]):
        name = _pick(raw, "answer")[0]
        reason = "missing; give answer or response, or no score where the answer failed"
        raise BadRow(name, f"{reason}; {columns_in_words(raw)}")
    return row | {"reason": None if row["answer"] is not None else "not given"}


def _check_text(name: str, value: Any, empty: bool = False) -> None:
    if not isinstance(value, str):
        raise BadRow(name, f"{show_value(value)} is not text")
    if not (value or empty):
        raise BadRow(name, "empty")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadRow(name, unicode_problem(error)) from None


def _as_number(name: str, value: Any) -> float:
    """`value` as a float, infinite or not; not NaN."""
    if isinstance(value, str):
        text = value.strip()
        text = text.replace(",", ".") if COMMA.fullmatch(text) else text
        value = float(text) if NUMBER.fullmatch(text) else value
    if not isinstance(value, int | float | Decimal):  # truth values are whole numbers
        raise BadRow(name, f"{show_value(value)} is not a number; {_instead(value)}")
    try:
        number = float(value)
    except OverflowError:
        raise BadRow(name, f"{show_value(value)} is too large") from None
    if math.isnan(number):
        raise BadRow(name, "NaN is not a number; leave out the list if a value is unknown")
    return number


def _instead(value: Any) -> str:
    """What to write in place of a value that is no number."""
    text = value.strip() if isinstance(value, str) else ""
    percent = text.removesuffix("%").strip().replace(",", ".")
    if text.endswith("%") and NUMBER.fullmatch(percent):
        number = float(percent)
        return f"write {number / 100:g}, or {number:g} on a scale of [0,100]"
    if NUMBER.fullmatch(text.replace(",", ".", 1)):
        return f"write {text.replace(',', '.', 1)}"
    if isinstance(value, str) and text.casefold() in NOTHING:
        return "write null, or leave the column out, where there is none"
    return "write a number, or null where there is none"


def _digits(value: Any) -> str:
    """A value as the file has it, with all digits of a number."""
    return str(value) if isinstance(value, float | Decimal) else show_value(value)


def _whole(raw: Row, column: str) -> int | None:
    name, value = _pick(raw, column)
    if value is None:
        return None
    number = _as_number(name, value)
    if not (0 <= number < 2**63 and number == int(number)):
        raise BadRow(name, f"{show_value(value)} is not a whole number, 0 or more")
    return int(number)


def _logp(name: str, value: Any, sampled: bool) -> float:
    """A log-probability; -inf only where the answer was not `sampled` from this policy. A token's
    must be above VERY_UNLIKELY, and a sequence's must not equal it: a sum may be lower."""
    number = -math.inf if value in ("-Infinity", "-inf") else _as_number(name, value)
    if number > LOGP_ROUNDING:
        raise BadRow(name, f"{show_value(value)} is above 0, which a log-probability cannot be")
    if sampled and number == -math.inf:
        raise BadRow(name, "-inf: an answer cannot come from a policy that never gives it")
    of_token = name == "token_logprobs"
    if number == VERY_UNLIKELY or (of_token and number < VERY_UNLIKELY):
        raise BadRow(
            name,
            f"{number:g} is a server's sentinel for a token whose log-probability it does not "
            "give; leave out the row's log-probabilities",
        )
    return number


def _choice(raw: Row, column: str, choices: tuple[str, ...]) -> str | None:
    value: str | None
    name, value = _pick(raw, column)
    if value is not None and value not in choices:
        raise BadRow(name, f"{show_value(value)} is not {' or '.join(choices)}")
    return value


def _uid(raw: Row) -> Row:
    name, value = _pick(raw, "uid")
    value = id_text(value) or value
    if value is not None:
        _check_text(name, value)
    return {"uid": value, "uid_column": name}


def _place(raw: Row) -> Row:
    """Which prompt, and which draw of it, a row is about."""
    row = {
        **_uid(raw),
        **_prompt(raw),
        "cluster": _cluster(raw, ("cluster",)),
        "draw": _whole(raw, "draw"),
    }
    if row["uid"] is None and row["prompt"] is None:
        raise BadRow(
            "uid", f"missing; give {', '.join(NAMES['uid'])} or prompt; {columns_in_words(raw)}"
        )
    return row


def _reply(raw: Row) -> Row:
    tokens = _list(raw, "tokens")
    for token in tokens or ():
        _check_text("tokens", token, empty=True)
    logprobs = _list(raw, "token_logprobs")
    if logprobs is not None:
        logprobs = [_logp("token_logprobs", value, sampled=True) for value in logprobs]
        if tokens is not None and len(tokens) != len(logprobs):
            words = f"{len(logprobs)} of them, but {counted(len(tokens), 'token')}"
            raise BadRow("token_logprobs", f"{words}; give one for each token, or leave them out")
        if not logprobs and _pick(raw, "answer")[1]:
            raise BadRow("token_logprobs", "empty, though there is an answer; leave them out")

    name, value = _pick(raw, "sequence_logp")
    sequence_logp = None if value is None else _logp(name, value, sampled=True)
    if logprobs is not None:
        total = min(math.fsum(logprobs), 0.0)
        if sequence_logp is None:
            sequence_logp = total
        elif not math.isclose(sequence_logp, total, rel_tol=ROUNDING, abs_tol=ROUNDING):
            reason = f"{sequence_logp:g} is not the sum of token_logprobs, {total:g}"
            raise BadRow(name, reason)
    _, ended = _pick(raw, "finish_reason")
    return {
        "tokens": tokens,
        "token_logprobs": logprobs,
        "sequence_logp": sequence_logp,
        "logprob_kind": _choice(raw, "logprob_kind", LOGPROB_KINDS),
        "finish_reason": finish_reason(ended),
        "finish_reason_given": ended if isinstance(ended, str) and ended.isprintable() else None,
        "model": _text(raw, "model"),
        "prompt_tokens": _whole(raw, "prompt_tokens"),
        "completion_tokens": _whole(raw, "completion_tokens"),
    }


def _list(raw: Row, column: str) -> list[Any] | None:
    name, value = _pick(raw, column)
    if value is not None and not isinstance(value, list):
        raise BadRow(name, f"{show_value(value)} is not a list")
    return value


def _targets(raw: Row) -> dict[str, float | None]:
    name, value = _pick(raw, "target_policy_logprobs")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadRow(name, f"{show_value(value)} is not an object {{policy: log-probability}}")
    return {
        policy: None
        if nan_as_null(logp) is None
        else _logp(f"{name}.{policy}", logp, sampled=False)
        for policy, logp in value.items()
    }


def _scores(raw: Row, settings: Settings) -> Row:
    """The judge's score, the oracle's ratings, and their probability of being given."""
    judge, score = _pick(raw, "score")
    oracle, given = _pick(raw, "oracle_score")
    ratings = map(nan_as_null, given) if isinstance(given, list) else [given]
    ratings = [_score(oracle, value, "oracle_range", settings.oracle_range) for value in ratings]
    return {
        "score": _score(judge, score, "judge_range", settings.judge_range),
        "ratings": [rating for rating in ratings if rating is not None],
        "oracle_prob": _probability(raw),
    }


def _probability(raw: Row) -> float | None:
    name, value = _pick(raw, "oracle_prob")
    if value is None:
        return None
    prob = _as_number(name, value)
    if not LEAST_PROBABILITY <= prob <= 1 + SCORE_SLACK:
        raise BadRow(name, f"{_digits(value)} is not from {LEAST_PROBABILITY:g} to 1")
    return min(prob, 1.0)


def _score(name: str, value: Any, setting: str, scale: tuple[float, float]) -> float | None:
    """A score on its scale, if there is one; rounding errors beyond the scale are cut off."""
    if value is None:
        return None
    number = _as_number(name, value)
    lo, hi = scale
    noise = SCORE_SLACK * (hi - lo)
    if not lo - noise <= number <= hi + noise:
        words = f"{_digits(value)} is outside {setting} [{lo:g}, {hi:g}]"
        raise BadRow(name, words, beyond=(setting, number))
    return min(max(number, lo), hi)
