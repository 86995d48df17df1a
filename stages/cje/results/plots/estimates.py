"""Every policy's estimate with its interval and verdict."""

import os
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cje.results.plots.style import (
    IN_ROW,
    VERDICT_MARKS,
    Keywords,
    drawing,
    interval_mark,
    message,
    policy_ticks,
    reach,
    rounded,
    row_font,
)
from cje.results.rows import EstimateRow
from cje.results.theme import GREEN, GREY, INK
from cje.results.words import VERDICTS, counted, interval, level, named, number
from cje.vocabulary import Verdict

JUDGE: Keywords = {"color": INK, "marker": "|", "markerfacecolor": INK}
TRUTH: Keywords = {"color": GREEN, "marker": "D", "markerfacecolor": GREEN}


def estimates(
    path: str | os.PathLike[str], rows: Sequence[EstimateRow], *, title: str, alpha: float = 0.05
) -> None:
    """Every policy's estimate with its interval and verdict, beside the raw judge's mean score and
    the oracle's truth.

    `rows`: best first and the refused ones last; one without an estimate keeps its place. `title`:
    what verdicts and comparisons support. The axis is that of the policies that are not refused;
    what runs off it ends in an arrow.
    """
    with drawing(path, title, _verdict_counts(rows, alpha)) as figure:
        if not rows:
            message(figure, "No policy was estimated.")
            return
        axes = figure.subplots()
        axes.set(xlim=_limits(rows), ylim=(len(rows) - 0.4, -0.6))
        size = row_font(len(rows))
        for place, row in enumerate(rows):
            _estimate_row(axes, place, row, size)
            if row.truth is not None:
                mean, low, high = row.truth.oracle_truth, row.truth.ci_low, row.truth.ci_high
                interval_mark(axes, place + 0.24, mean, low, high, TRUTH, 7, 1.4)
            if (judge := row.raw_judge) is not None:
                interval_mark(axes, place - 0.24, judge, judge, judge, JUDGE, 9, 1.4)
        base = next((row.policy for row in rows if row.is_base), None)
        policy_ticks(axes, [named(row.policy, base) for row in rows], size)
        for label, row in zip(axes.get_yticklabels(), rows, strict=True):
            label.set_color(GREY if row.refused else INK)
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0, pad=9)  # of the arrows
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("Expected oracle utility")
        _legend(figure, rows)


def estimates_data(rows: Sequence[EstimateRow]) -> pd.DataFrame:
    """One row a policy: `policy`, `v_hat`, `ci_low`, `ci_high`, `verdict`, `raw_judge`,
    `oracle_truth`; empty where it is not known."""
    table = [
        (
            row.policy, row.v_hat, row.ci_low, row.ci_high, str(row.verdict), row.raw_judge,
            row.truth.oracle_truth if row.truth else None,
        )
        for row in rows
    ]  # fmt: skip
    columns = ["policy", "v_hat", "ci_low", "ci_high", "verdict", "raw_judge", "oracle_truth"]
    numbers = [name for name in columns if name not in ("policy", "verdict")]
    return rounded(pd.DataFrame(table, columns=columns).astype(dict.fromkeys(numbers, float)))


def _limits(rows: Sequence[EstimateRow]) -> tuple[float, float]:
    """The ends of the axis: estimates and truths of the policies that are not refused, and their
    raw judge as far as it makes the axis no longer than by a half."""
    kept = [row for row in rows if not row.refused]
    shown = kept if any(row.v_hat is not None for row in kept) else rows
    ends = [end for row in shown for end in (row.v_hat, row.ci_low, row.ci_high)]
    for row in shown:
        if row.truth is not None:
            ends += [row.truth.oracle_truth, row.truth.ci_low, row.truth.ci_high]
    low, high = reach([end for end in ends if end is not None])
    if any(row.raw_judge is not None for row in shown):
        room = (high - low) / 4
        judges = (row.raw_judge for row in shown if row.raw_judge is not None)
        low, high = reach([low, high], *(j for j in judges if low - room < j < high + room))
    return low, high


def _verdict_counts(rows: Sequence[EstimateRow], alpha: float) -> str:
    counts = [
        f"{sum(row.verdict == verdict for row in rows)} {VERDICTS[verdict]}" for verdict in Verdict
    ]
    policies = counted(len(rows), "policy", "policies")
    return f"{policies} with {level(alpha)} intervals: {', '.join(counts)}"


def _estimate_row(axes: Axes, place: int, row: EstimateRow, size: float) -> None:
    """The mark, its interval, and the numbers at the right, struck through if refused."""
    right = axes.get_yaxis_transform()
    if row.v_hat is None:
        axes.text(1.02, place, "no estimate", transform=right, fontsize=size, color=GREY)
        return
    style = VERDICT_MARKS[row.verdict]
    interval_mark(axes, place, row.v_hat, row.ci_low, row.ci_high, style, 10, 2.4)
    numbers = f"{number(row.v_hat)}   {interval(row.ci_low, row.ci_high)}"
    if row.refused:
        numbers = "".join(mark + "\N{COMBINING LONG STROKE OVERLAY}" for mark in numbers)
    text: Keywords = {"transform": right, "fontsize": size, "color": style["color"], **IN_ROW}
    axes.text(1.02, place, numbers, **text)


def _legend(figure: Figure, rows: Sequence[EstimateRow]) -> None:
    """The marks that are there, in words."""
    seen = [verdict for verdict in Verdict if any(row.verdict == verdict for row in rows)]
    handles = [Line2D([], [], markersize=9, linewidth=2, **VERDICT_MARKS[v]) for v in seen]
    words = [f"estimate: {VERDICTS[verdict]}" for verdict in seen]
    if any(row.truth for row in rows):
        handles.append(Line2D([], [], color=GREEN, marker="D", markersize=7, linewidth=1.4))
        words.append("oracle truth")
    if any(row.raw_judge is not None for row in rows):
        handles.append(Line2D([], [], linewidth=0, markersize=9, **JUDGE))
        words.append("raw judge")
    figure.legend(handles, words, loc="outside lower center", ncols=4, fontsize=11)
