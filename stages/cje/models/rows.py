"""Replies as rows of tables: the answer, the scores or the verdict in a reply, or why it has
none."""

from collections.abc import Iterable
from typing import Any, NamedTuple, overload

import numpy as np
import pandas as pd

from cje.judging import is_verdict_alone, parse_score
from cje.models.requests import CallFailed, Outcome, Reply, Request
from cje.settings import Policy

SAID_NOTHING = "the model refused and said nothing"
CALLED_A_TOOL = "the model called a tool and gave no answer"
EMPTY = "the model gave an empty answer, asked once more too"
SPENT = (
    "all of {setting}, {limit}, was spent before the first word of the {what}; "
    "set a larger {setting}"
)

CUT_VERDICT = (
    "the judge's words were cut at judge_max_tokens, {}, and what they say of a score may be a "
    "draft; set a larger judge_max_tokens"
)


class Verdict(NamedTuple):
    """A score and the judge's words on it; or None and why there is none."""

    score: float | None
    reason: str | None


class AnswerRow(NamedTuple):
    """The columns of table logs that a reply fills; without an answer, `reason` alone."""

    answer: str | None = None
    tokens: list[str] | None = None
    token_logprobs: np.ndarray | None = None
    sequence_logp: float | None = None
    logprob_kind: str | None = None
    finish_reason: str | None = None
    model: str | None = None
    address: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    token_ids: np.ndarray | None = None
    reasoning: str | None = None
    finish_reason_given: str | None = None
    reason: str | None = None


class ScoreRow(NamedTuple):
    """The columns of `Provider.score`: of an answer without a score, as they stand here."""

    token_logprobs: np.ndarray | None = None
    sequence_logp: float = np.nan
    logprob_kind: str | None = None


def read_verdict(outcome: Outcome, request: Request, score_range: tuple[float, float]) -> Verdict:
    """What the reply to a judgement says."""
    if isinstance(outcome, CallFailed):
        return Verdict(None, outcome.reason)
    if is_spent(outcome):
        limit = {"setting": "judge_max_tokens", "limit": request.max_tokens}
        return Verdict(None, SPENT.format(**limit, what="verdict"))
    if outcome.finish_reason == "length" and not is_verdict_alone(outcome.text):
        return Verdict(None, CUT_VERDICT.format(request.max_tokens))
    return Verdict(*parse_score(outcome.text, score_range))


def is_spent(outcome: Outcome) -> bool:
    """Whether thought took all the room, so that the same question again would fare no better."""
    if isinstance(outcome, CallFailed):
        return False
    return outcome.text is None and outcome.finish_reason == "length"


def why_missing(reply: Reply, max_tokens: int) -> str:
    """Why a reply contains no answer, and what to do about it."""
    if reply.finish_reason == "length":
        return SPENT.format(setting="max_tokens", limit=max_tokens, what="answer")
    reasons = {"refusal": SAID_NOTHING, "tool_call": CALLED_A_TOOL}
    return reasons.get(reply.finish_reason or "", EMPTY)


class SharedStrings:
    """One object for equal strings: answers have many tokens in common."""

    def __init__(self) -> None:
        self._strings: dict[str, str] = {}

    @overload
    def __call__(self, text: str) -> str: ...
    @overload
    def __call__(self, text: None) -> None: ...
    def __call__(self, text: str | None) -> str | None:
        return None if text is None else self._strings.setdefault(text, text)


def answer_row(
    outcome: Outcome, policy: Policy, address: str | None, shared: SharedStrings
) -> AnswerRow:
    """The row of a reply with an answer of the policy, from `address`."""
    if isinstance(outcome, CallFailed):
        return AnswerRow(reason=outcome.reason)
    logprobs, tokens, ids = outcome.token_logprobs, outcome.tokens, outcome.token_ids
    # Nobody knows what an added body does to the distribution that is sampled.
    kind = outcome.logprob_kind if not policy.extra_body else "raw"
    given = outcome.text is not None
    return AnswerRow(
        answer=outcome.text,
        tokens=tokens and [shared(token) for token in tokens],
        token_logprobs=None if logprobs is None else np.array(logprobs, dtype=float),
        sequence_logp=None if logprobs is None else float(np.sum(logprobs)),
        logprob_kind=None if logprobs is None else shared(kind),
        finish_reason=shared(outcome.finish_reason),
        model=shared(outcome.model),
        address=address,
        prompt_tokens=outcome.prompt_tokens,
        completion_tokens=outcome.completion_tokens,
        token_ids=None if ids is None else np.array(ids, dtype=np.int64),
        reasoning=outcome.reasoning,
        finish_reason_given=shared(outcome.finish_reason_given),
        reason=outcome.note if given else why_missing(outcome, policy.max_tokens),
    )


def score_row(outcome: Outcome) -> ScoreRow:
    """The row of a reply to a `score`."""
    if isinstance(outcome, CallFailed) or outcome.token_logprobs is None:
        return ScoreRow()
    logprobs = np.array(outcome.token_logprobs, dtype=float)
    return ScoreRow(logprobs, float(logprobs.sum()), outcome.logprob_kind)


def rows_frame(rows: Iterable[tuple[object, ...]], columns: tuple[str, ...]) -> pd.DataFrame:
    """The rows as objects: pandas would read whole numbers beside nulls as floats."""
    values: dict[str, list[Any]] = {column: [] for column in columns}
    for row in rows:
        for cells, cell in zip(values.values(), row, strict=True):
            cells.append(cell)
    return pd.DataFrame({c: pd.Series(cells, dtype=object) for c, cells in values.items()})
