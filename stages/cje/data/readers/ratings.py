"""Oracle labels in users' files: one answer may have several raters, in a list or in rows that
repeat it. The label is their mean.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from cje.data.readers.bad_rows import BadRow, Row
from cje.data.tables import LOGGED
from cje.settings import show_value

Keep = Callable[[Iterable[Row], Callable[[Row], Row]], list[Row]]

# What rows about the same answer must agree on if they have it, and its column.
AGREED = {
    "prompt_key": "prompt",
    "action": "action",
    "score": "judge_score",
    "sequence_logp": "sequence_logp",
    "targets": "target_policy_logprobs",
    "oracle_prob": "oracle_prob",
}
NOTHING: tuple[object, ...] = (None, {})


def repeat_answers(rows: Sequence[Row]) -> bool:
    """Whether rows without a draw that share a prompt are ratings of one answer, not further draws:
    no prompt has two answers, and ratings of one differ between its rows."""
    answers, ratings = defaultdict(set), defaultdict(set)
    for row in rows:
        if row["draw"] is not None:
            return False
        prompt = row["uid"] or row["prompt_key"]
        answers[prompt].add(row["answer"])
        ratings[prompt].add(tuple(row["ratings"]))
    one_answer = all(len(found) == 1 for found in answers.values())
    return one_answer and any(len(found - {()}) > 1 for found in ratings.values())


def one_row_an_answer(rows: Sequence[Row], keep: Keep) -> list[Row]:
    """One row per `uid` and `draw`: the first, with the ratings of those that repeat its answer.

    A file in which a repeated answer is rated has a row for each rater. In any other file a second
    row is bad (`keep`); in both, so is one with another answer, or with other facts about the same.
    `twins` counts the rows that say the same as the first, ratings and all.
    """
    first: dict[tuple[str, int], Row] = {}
    pairs = [(row, first.setdefault((row["uid"], row["draw"]), row)) for row in rows]
    by_raters = any(
        row is not one and row["answer"] == one["answer"] and (row["ratings"] or one["ratings"])
        for row, one in pairs
    )

    def fold(row: Row) -> Row:
        one = first[row["uid"], row["draw"]]
        if row is one:
            return row
        if row["answer"] != one["answer"] or not by_raters:
            raise _repeated(row, one)
        for name, column in AGREED.items():
            given, known = row.get(name), one.get(name)
            if given in NOTHING or given == known:
                continue
            if known not in NOTHING:
                reason = f"{show_value(given)}, but {show_value(known)} on line {one['line']}"
                raise BadRow(column, f"{reason}, for the same answer")
            one[name] = given
        own = one.setdefault("own_ratings", list(one["ratings"]))
        one["twins"] = one.get("twins", 0) + (row["ratings"] == own)
        one["ratings"] += row["ratings"]
        return row

    return [row for row in keep(rows, fold) if row is first[row["uid"], row["draw"]]]


def labelled(rows: list[Row], keep: Keep) -> list[Row]:
    """The rows, which get `oracle_score`, the mean of their ratings, and how many `raters` it has.

    If one label has an oracle_prob, those without are bad (`keep`).
    """

    def check(row: Row) -> Row:
        if row["ratings"] and row["oracle_prob"] is None:
            raise BadRow("oracle_prob", "missing, though other labelled rows have it")
        return row

    if any(row["ratings"] and row["oracle_prob"] is not None for row in rows):
        rows = keep(rows, check)
    for row in rows:
        row["oracle_score"] = _mean(row["ratings"])
        row["raters"] = len(row["ratings"]) or None
    return rows


def _mean(ratings: Sequence[float]) -> float | None:
    if not ratings:
        return None
    mean = math.fsum(ratings) / len(ratings)
    return min(max(mean, min(ratings)), max(ratings))  # whatever the rounding


def _repeated(row: Row, one: Row) -> BadRow:
    uid, where = show_value(row["uid"]), f"is on line {one['line']} already"
    if row["answer"] != one["answer"]:
        where += ", with another answer"
    if row["draw"] == LOGGED:
        return BadRow(row["uid_column"], f"{uid} {where}")
    return BadRow("draw", f"{row['draw']} of uid {uid} {where}")
