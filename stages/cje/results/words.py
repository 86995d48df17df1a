"""Words for numbers and names, the same on the screen, in figures, notebook, report and export.

What is not known is `UNKNOWN` everywhere. Numbers have a fixed number of digits by what they are:
three decimals for utilities, scores, correlations and p-values, one for percentages.
"""

import math
from collections.abc import Sequence

from cje import vocabulary
from cje.results.rows import DifferenceRow, EstimateRow
from cje.vocabulary import VERDICTS as VERDICTS
from cje.vocabulary import (
    Conclusion,
    Evidence,
    Intervals,
    Status,
    Verdict,
    WeightKind,
)
from cje.vocabulary import counted as counted

STATUSES = {Status.GOOD: "good", Status.WARNING: "warning", Status.CRITICAL: "critical"}
WEIGHTS = {WeightKind.SEQUENCE: "exact", WeightKind.MARGINAL: "learned", WeightKind.NONE: "none"}
WEIGHT_MEANINGS = {
    WeightKind.SEQUENCE: "the ratio of the answers' probabilities under policy and base (sequence)",
    WeightKind.MARGINAL: "from judge scores and fresh answers (marginal); they check nothing",
    WeightKind.NONE: "the estimate uses no weights: it rests on labels, or on nothing",
}
CONCLUSIONS = {
    Conclusion.BETTER: "better", Conclusion.WORSE: "worse",
    Conclusion.SAME: "no clear difference",
}  # fmt: skip
UNKNOWN = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"


def known(value: float | None) -> bool:
    """Whether there is a number."""
    return value is not None and not math.isnan(value)


def formatted(value: float | None, form: str) -> str:
    """A number in that format, with a real minus sign."""
    if value is None or math.isnan(value):
        return UNKNOWN
    return format(value, form).replace("-", MINUS)


def number(value: float | None) -> str:
    """A utility, a score, a correlation: `0.500`."""
    return formatted(value, ".3f")


def signed(value: float | None) -> str:
    """A difference of utilities: `+0.500`."""
    return formatted(value, "+.3f")


def weight(value: float | None) -> str:
    """An importance weight: `1.00`."""
    return formatted(value, ".2f")


def short(value: float | None) -> str:
    """A setting, or a label on the oracle's own scale, with the digits that it has: `0.05`."""
    return formatted(value, "g")


def count(value: float | None) -> str:
    """A whole number: `1,000`."""
    return formatted(value, ",.0f")


def percent(value: float | None) -> str:
    """A share that was found, as a percentage with one decimal: `12.5 %`."""
    return vocabulary.percent(value) if value is not None and known(value) else UNKNOWN


def set_percent(share: float) -> str:
    """A share that was set, as a percentage with the digits that it has: `5 %`."""
    return f"{short(100 * share)} %"


def level(alpha: float) -> str:
    """The level of intervals: `95 %`."""
    return set_percent(1 - alpha)


def dollars(value: float | None, digits: int = 2) -> str:
    """US dollars: `12.50`."""
    return formatted(value, f",.{digits}f")


def tick(value: float, digits: int) -> str:
    """A number beside an axis, with the digits that its steps need."""
    return formatted(value, f".{digits}f")


def interval(low: float | None, high: float | None) -> str:
    """An interval's ends: `0.400 to 0.600`."""
    return f"{number(low)} to {number(high)}" if known(low) else UNKNOWN


def signed_interval(low: float | None, high: float | None) -> str:
    """The ends of a difference's interval: `+0.100 to +0.200`."""
    return f"{signed(low)} to {signed(high)}" if known(low) else UNKNOWN


def plus_minus(value: float, se: float) -> str:
    """A mean with its standard error: `0.500 ± 0.010`."""
    return f"{number(value)} ± {number(se)}"


def p_value(value: float | None) -> str:
    """A p-value in a sentence: `p = 0.012`, `p < 0.001`."""
    found = bare_p_value(value)
    return f"p = {found}" if found[0].isdigit() else f"p {found}"


def bare_p_value(value: float | None) -> str:
    """A p-value under a heading that says so: `0.012`, `< 0.001`."""
    if value is None or math.isnan(value):
        return UNKNOWN
    return "< 0.001" if value < 0.001 else number(value)


def evidence(row: EstimateRow) -> str:
    """What checks the number: `100 own labels`, `exact weights`, both, or `nothing`."""
    labels = counted(row.labels, "own label")
    return {
        Evidence.LABELS: labels,
        Evidence.WEIGHTS: "exact weights",
        Evidence.BOTH: f"{labels} and exact weights",
        Evidence.NONE: "nothing",
    }[row.evidence]


def named(policy: str, base: str | None) -> str:
    """The policy's name, marked where it is the base policy under another one."""
    return f"{policy} (base)" if policy == base and policy != "base" else policy


def listed(names: Sequence[str], most: int | None = None, last: str = "and") -> str:
    """Names in a sentence: `a, b and c`; of more than `most` the first ones, `a, b and 3 more`."""
    if most is not None and len(names) > most:
        names = [*names[: most - 1], f"{len(names) - most + 1} more"]
    return f" {last} ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def sentence(text: str) -> str:
    """A text with a capital letter and a full stop."""
    return f"{text[0].upper()}{text[1:]}."


def title(rows: Sequence[EstimateRow], rivals: Sequence[str]) -> str:
    """Which policy is best, as far as the comparisons support it: `rows` best first; `rivals`:
    those beside the first that no other beats."""
    kept = [row for row in rows if not row.refused]
    if not kept:
        return "No estimate can be trusted" if rows else "Estimates"
    name, value = kept[0].policy, number(kept[0].v_hat)
    care = ", to be taken with caution" if kept[0].verdict == Verdict.CAUTION else ""
    others = len(kept) - 1
    if not others:
        return f"{name} is worth {value}{care}"
    if not rivals:
        return f"{name} is the best, at {value}{care}"
    if len(rivals) == others:
        return f"No clear winner: {name} has the highest estimate, {value}"
    tied = "another is" if len(rivals) == 1 else "others are"
    return f"{name} has the highest estimate ({value}), but {tied} statistically tied with it"


def differences_title(rows: Sequence[DifferenceRow], base: str, most: int | None = None) -> str:
    """What the comparisons with the base support: `rows` best first; names of more than `most`
    letters are cut."""
    if not rows:
        return f"Nothing to compare with {base}"
    better = [row for row in rows if row.conclusion == Conclusion.BETTER]
    if not better:
        return f"No policy is ahead of {base} beyond chance"
    name, more = better[0].policy_a, len(better) - 1
    if most is not None and len(name) > most:
        name = name[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"
    first = f"{name} is ahead of {base} by {number(better[0].difference)}"
    return first + (f", and {more} more {'is' if more == 1 else 'are'}" if more else "")


def looks(intervals: Intervals) -> str:
    """How often one may look at the intervals while labels come in."""
    if intervals is Intervals.ANYTIME:
        return (
            "Intervals and p-values are valid at any time, however often one looks while labels "
            "come in; they are about 1.6 times as wide as for one look."
        )
    return (
        "Intervals and p-values are for one look, at a number of labels set beforehand; to look "
        "while labels come in, and stop when the result is clear, set intervals: anytime."
    )
