"""The words that tables and results are told in, one list for each kind of thing, and how exact
their numbers must be."""

from enum import StrEnum
from typing import Literal, get_args

FinishReason = Literal["stop", "length", "refusal", "tool_call"]
FINISH_REASONS: tuple[FinishReason, ...] = get_args(FinishReason)

# A score may be so far beyond its range, relative to the range: cosines of float32 are rounded.
SCORE_SLACK = 1e-6
LEAST_PROBABILITY = 1e-9  # of being labelled


class Verdict(StrEnum):
    """Whether an estimate may be believed, from best to worst."""

    RELIABLE = "reliable"
    CAUTION = "caution"
    REFUSE = "refuse"


# What people read; tables have the values.
VERDICTS = {
    Verdict.RELIABLE: "reliable", Verdict.CAUTION: "caution", Verdict.REFUSE: "refused",
}  # fmt: skip


class Severity(StrEnum):
    """How grave a violation is: a note changes no verdict, a warning asks for caution, a critical
    one refuses."""

    NOTE = "note"
    WARNING = "warning"
    CRITICAL = "critical"


class Conclusion(StrEnum):
    """What a comparison supports of its first policy: `same` is no clear difference."""

    BETTER = "better"
    WORSE = "worse"
    SAME = "same"


class Evidence(StrEnum):
    """What checks an estimate: oracle labels on the policy's own answers, exact weights that
    stand, both, or nothing."""

    LABELS = "own labels"
    WEIGHTS = "exact weights"
    BOTH = "both"
    NONE = "none"


class EstimatorName(StrEnum):
    """How a policy's utility is estimated; docs/method.md has the formula of each."""

    DR_CPO = "dr-cpo"
    PPI = "ppi"
    DIRECT = "direct"
    IPS = "ips"
    SNIPS = "snips"
    CALIBRATED_IPS = "calibrated-ips"


class Sampling(StrEnum):
    """How the answers to label are chosen: all prompts alike, or those with more chance where
    larger residuals are expected."""

    UNIFORM = "uniform"
    ACTIVE = "active"


class Intervals(StrEnum):
    """What intervals and p-values hold for: one look, at a number of labels that was set before, or
    looks at any time."""

    FIXED = "fixed-time"
    ANYTIME = "anytime"


class WeightChoice(StrEnum):
    """Which importance weights are asked for: the exact ones where they stand, only the exact
    ones, or learned ones."""

    AUTO = "auto"
    SEQUENCE = "sequence"
    MARGINAL = "marginal"


class WeightKind(StrEnum):
    """Importance weights: exact likelihood ratios, learned from features, or none."""

    SEQUENCE = "sequence"
    MARGINAL = "marginal"
    NONE = "none"


class LogprobKind(StrEnum):
    """Of the distribution that really sampled, or before temperature and truncation. Unknown
    counts as raw."""

    SAMPLING = "sampling"
    RAW = "raw"


class Reach(StrEnum):
    """How far exact weights carry an estimate: by themselves, as an interval to be taken with
    caution, or not at all."""

    STANDS = "stands"
    WEAK = "weak"
    NONE = "none"


class Status(StrEnum):
    """The overlap of the logs with a policy, at a glance."""

    GOOD = "GOOD"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"


class Form(StrEnum):
    """Of the calibration: a non-decreasing curve of the judge's score."""

    ISOTONIC = "isotonic"


def counted(number: int, noun: str, many: str = "") -> str:
    """A count with its noun: `1 label`, `1,000 labels`."""
    return f"{number:,} {noun if number == 1 else many or noun + 's'}"


def percent(share: float) -> str:
    """A share as a percentage with one decimal, whatever its size, so that those in a column or a
    list compare at sight: `12.5 %`, `100.0 %`; a positive one that this would call 0 is `< 0.1 %`.
    """
    return "< 0.1 %" if 0 < share < 0.0005 else f"{100 * share:.1f} %"
