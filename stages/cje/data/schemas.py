"""What the tables between the stages contain: their columns, the values allowed, their keys.

Every table has one row per key. Scores are stored as they were given; utilities are on [0, 1].
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from cje.vocabulary import FINISH_REASONS, LogprobKind, Severity

LOGGED = -1  # `draw` of a logged answer, where logged and fresh answers share a table

VERY_UNLIKELY = -9999.0  # OpenAI's sentinel and vLLM's lowest value: not a log-probability
LOGPROB_KINDS = tuple(kind.value for kind in LogprobKind)
SEVERITIES = tuple(severity.value for severity in Severity)
NO_ANSWER = "there is no answer"  # why a judge gives no score
CALL_KINDS = ("answer", "judgement", "score")
LOGP_ROUNDING = 1e-9  # a log-probability may exceed 0 by this much: sums of rounded terms do
# The digits of a real number that are written: processors differ in those beyond.
DECIMALS, DIGITS = 9, 10

TEXT, INTEGER, REAL = pa.string(), pa.int64(), pa.float64()


@dataclass(frozen=True)
class Rule:
    """What the values of a column must be: the words for it, and a function that gives a mask of
    the good ones."""

    words: str
    holds: Callable[[np.ndarray], np.ndarray]


UNIT = Rule("must be from 0 to 1", lambda v: (v >= 0) & (v <= 1))
PROBABILITY = Rule("must be above 0 and at most 1", lambda v: (v > 0) & (v <= 1))
FINITE = Rule("must be finite", np.isfinite)
LOGP = Rule("must be at most 0 (-inf is allowed)", lambda v: v <= LOGP_ROUNDING)
SAMPLED_LOGP = Rule("must be finite and at most 0", lambda v: np.isfinite(v) & (v <= LOGP_ROUNDING))
COUNT = Rule("must be 0 or more", lambda v: v >= 0)
NOT_NEGATIVE = Rule("must be finite and 0 or more", lambda v: np.isfinite(v) & (v >= 0))
COUNTED = Rule("must be 1 or more", lambda v: v >= 1)
COUNT_OR_LOGGED = Rule(f"must be {LOGGED} (the logged answer) or more", lambda v: v >= LOGGED)


@dataclass(frozen=True)
class Column:
    """A column of a table: `rule` is for numbers, `choices` for text. A frame may lack an
    `optional` one, which is then null. A real number keeps DIGITS significant digits, and of those
    no more than DECIMALS decimals unless it is on a scale of its own (`own_scale`)."""

    name: str
    type: pa.DataType = TEXT
    null: bool = False
    optional: bool = False
    rule: Rule | None = None
    choices: tuple[str, ...] = ()
    own_scale: bool = False


@dataclass(frozen=True)
class Table:
    """The columns of a table, its key (no two rows share it), and the stage that makes it."""

    columns: tuple[Column, ...]
    key: tuple[str, ...]
    stage: str

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([pa.field(c.name, c.type, c.null) for c in self.columns])


_KEY = ("uid", "policy", "draw")
_UID, _PROMPT, _POLICY = Column("uid"), Column("prompt"), Column("policy")
_DRAW = Column("draw", INTEGER, rule=COUNT)
_ANY_ANSWER = Column("draw", INTEGER, rule=COUNT_OR_LOGGED)
_JUDGE_RAW = Column("judge_raw", REAL, null=True, rule=UNIT, own_scale=True)
_LOGPROB_KIND = Column("logprob_kind", null=True, choices=LOGPROB_KINDS)
_PROMPT_TOKENS = Column("prompt_tokens", INTEGER, null=True, rule=COUNT)
_COMPLETION_TOKENS = Column("completion_tokens", INTEGER, null=True, rule=COUNT)
_ADDRESS = Column("address", null=True, optional=True)  # who answered; null: in this process
_REASON = Column("reason", null=True)  # why an answer or a reply is null
_SCORE_REASON = Column("reason", null=True)  # why a score is what it is, or why there is none
_ANSWER = Column("answer", null=True)
_REFERENCE = Column("reference", null=True)  # an answer that a judge may compare with
_CLUSTER = Column("cluster", null=True, optional=True)  # what it shares with other prompts
_METADATA = Column("metadata", null=True, optional=True)  # what else its row said of it, as JSON
_LABEL = (
    Column("oracle_score", REAL, rule=FINITE, own_scale=True),
    Column("oracle_prob", REAL, rule=PROBABILITY, own_scale=True),
    Column("raters", INTEGER, null=True, optional=True, rule=COUNTED),  # whose mean the score is
    Column("reason", null=True, optional=True),  # why the score is what it is
    Column("ratings", pa.list_(REAL), null=True, optional=True, rule=FINITE, own_scale=True),
)
_REPLY = (
    Column("tokens", pa.list_(TEXT), null=True),
    Column("token_logprobs", pa.list_(REAL), null=True, rule=SAMPLED_LOGP),
    Column("sequence_logp", REAL, null=True, rule=SAMPLED_LOGP),
    _LOGPROB_KIND,
    Column("finish_reason", null=True, choices=FINISH_REASONS),
    Column("finish_reason_given", null=True, optional=True),  # in the provider's own word
    Column("model", null=True),
    _ADDRESS,
    _PROMPT_TOKENS,
    _COMPLETION_TOKENS,
    Column("token_ids", pa.list_(INTEGER), null=True, rule=COUNT),
    Column("reasoning", null=True, optional=True),  # what the model thought before its answer
    _REASON,
)

TABLES = {
    "prompts": Table(
        (
            _UID,
            _PROMPT,
            Column("source"),
            Column("checks", null=True),
            _REFERENCE,
            _CLUSTER,
            _METADATA,
        ),
        key=("uid",),
        stage="load_prompts",
    ),
    "logs": Table(
        (_UID, _PROMPT, _ANSWER, Column("action"), *_REPLY),
        key=("uid",),
        stage="generate_logs",
    ),
    "draws": Table(
        (_UID, _PROMPT, _POLICY, _DRAW, _ANSWER, *_REPLY),
        key=_KEY,
        stage="draw_targets",
    ),
    "target_logps": Table(
        (
            _UID,
            _POLICY,
            Column("token_logprobs", pa.list_(REAL), null=True, rule=LOGP),
            Column("sequence_logp", REAL, null=True, rule=LOGP),
            _LOGPROB_KIND,
        ),
        key=("uid", "policy"),
        stage="draw_targets",
    ),
    "proxy_scores": Table(
        (_UID, _POLICY, _ANY_ANSWER, _JUDGE_RAW, _SCORE_REASON),
        key=_KEY,
        stage="proxy_score",
    ),
    "oracle_labels": Table((_UID, _POLICY, _ANY_ANSWER, *_LABEL), key=_KEY, stage="oracle_label"),
    "validation_labels": Table((_UID, _POLICY, _ANY_ANSWER, *_LABEL), key=_KEY, stage="validate"),
    "calls": Table(
        (
            Column("key"),
            Column("stage"),
            Column("kind", choices=CALL_KINDS),
            Column("model"),
            _ADDRESS,
            _PROMPT_TOKENS,
            _COMPLETION_TOKENS,
            Column("cost_usd", REAL, null=True, rule=NOT_NEGATIVE),
            _REASON,
        ),
        key=("key",),
        stage="generate_logs",
    ),
    "rescored": Table(
        (
            _UID,
            Column("tokens", INTEGER, rule=COUNT),
            Column("sequence_logp", REAL, rule=LOGP),
            Column("rescored_logp", REAL, rule=LOGP),
            Column("largest_gap", REAL, rule=COUNT),
        ),
        key=("uid",),
        stage="draw_targets",
    ),
    "rewards": Table(
        (
            _UID,
            _POLICY,
            _ANY_ANSWER,
            Column("fold", INTEGER, rule=COUNT),
            _JUDGE_RAW,
            Column("calibrated_reward", REAL, null=True, rule=UNIT),
            Column("oracle_score", REAL, null=True, rule=UNIT),
        ),
        key=_KEY,
        stage="calibrate",
    ),
    "influence": Table(
        (_UID, _POLICY, Column("psi", REAL, rule=FINITE)),
        key=("uid", "policy"),
        stage="estimate",
    ),
    "weights": Table(
        (_UID, _POLICY, Column("weight", REAL, null=True, rule=NOT_NEGATIVE)),
        key=("uid", "policy"),
        stage="estimate",
    ),
    "violations": Table(
        (
            Column("policy", null=True),
            Column("code"),
            Column("severity", choices=SEVERITIES),
            Column("message"),
            Column("remedy"),
        ),
        key=("policy", "code", "message"),
        stage="estimate",
    ),
}
