"""Words for numbers and names; what is not known is a dash."""

from collections.abc import Sequence

import pandas as pd

from cje.vocabulary import Evidence, Intervals, Verdict

VERDICTS = {
    Verdict.RELIABLE: "reliable", Verdict.CAUTION: "caution", Verdict.REFUSE: "refused",
}  # fmt: skip
UNKNOWN = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"


def number(value: float | None, form: str = ".3f") -> str:
    """A number in that format, with a real minus sign."""
    return UNKNOWN if value is None or pd.isna(value) else format(value, form).replace("-", MINUS)


def percent(value: float | None) -> str:
    """A share as a percentage of three digits."""
    return UNKNOWN if value is None or pd.isna(value) else f"{100 * value:.3g} %"


def interval(low: float | None, high: float | None, form: str = ".3f") -> str:
    """An interval's ends."""
    return UNKNOWN if pd.isna(low) else f"{number(low, form)} to {number(high, form)}"


def p_value(value: float | None) -> str:
    """A p-value, as small as it can be told."""
    if value is None or pd.isna(value):
        return "p not known"
    return "p < 0.001" if value < 0.001 else f"p = {value:.{3 if value < 0.1 else 2}f}"


def evidence(row: pd.Series) -> str:
    """What checks the number: `100 own labels`, `exact weights`, both, or `nothing`."""
    labels = counted(int(row["labels"]), "own label")
    return {
        Evidence.LABELS: labels,
        Evidence.WEIGHTS: "exact weights",
        Evidence.BOTH: f"{labels} and exact weights",
        Evidence.NONE: "nothing",
    }[Evidence(row["evidence"])]


def listed(names: Sequence[str], most: int | None = None, last: str = "and") -> str:
    """Names in a sentence: `a, b and c`; of more than `most` the first ones, `a, b and 3 more`."""
    if most is not None and len(names) > most:
        names = [*names[: most - 1], f"{len(names) - most + 1} more"]
    return f" {last} ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def counted(count: int, noun: str, many: str = "") -> str:
    """A count with its noun: `1 label`, `1,000 labels`."""
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"


def title(rows: pd.DataFrame, rivals: Sequence[str]) -> str:
    """Which policy is best, as far as it can be told: `rows` with `v_hat` and `verdict`, best
    first; `rivals`: those beside the first that no other beats."""
    kept = rows[rows["verdict"] != Verdict.REFUSE]
    if kept.empty:
        return "No estimate may be believed" if len(rows) else "Estimates"
    name, value = str(kept.index[0]), number(kept["v_hat"].iloc[0])
    care = ", to be taken with caution" if kept["verdict"].iloc[0] == Verdict.CAUTION else ""
    others = len(kept) - 1
    if not others:
        return f"{name} is worth {value}{care}"
    if not rivals:
        return f"{name} is the best, at {value}{care}"
    if len(rivals) == others:
        return f"No clear winner: {name} has the highest estimate, {value}"
    return f"{name} has the highest estimate, {value}, and rivals within chance"


def differences_title(rows: pd.DataFrame, base: str, most: int | None = None) -> str:
    """What the comparisons with the base allow to say: `rows` with `difference` and `told`, best
    first; names of more than `most` letters are cut."""
    if rows.empty:
        return f"Nothing to compare with {base}"
    better = rows[rows["told"] == "better"]
    if better.empty:
        return f"No policy is ahead of {base} beyond chance"
    name, more = str(better.index[0]), len(better) - 1
    if most is not None and len(name) > most:
        name = name[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"
    first = f"{name} is ahead of {base} by {number(better['difference'].iloc[0])}"
    return first + (f", and {more} more {'is' if more == 1 else 'are'}" if more else "")


def looks(intervals: Intervals) -> str:
    """How often one may look at the intervals while labels come in."""
    if intervals is Intervals.ANYTIME:
        return (
            "Intervals and p-values are valid at any time, however often one looks while labels "
            "come in; they are about 1.6 times as wide as for one look."
        )
    return (
        "Intervals and p-values are for one look, at a number of labels set beforehand; who looks "
        "while labels come in, and stops when it looks good, needs intervals: anytime."
    )
