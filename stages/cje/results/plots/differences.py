"""Every policy against the base policy: the difference of the estimates, with its interval."""

import os
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from cje.results.plots.style import (
    IN_ROW,
    Keywords,
    drawing,
    interval_mark,
    message,
    policy_ticks,
    reach,
    rounded,
    row_font,
    wrap,
)
from cje.results.rows import DifferenceRow, EstimateRow
from cje.results.theme import AMBER, BLUE, GREY, INK, PAPER
from cje.results.words import differences_title, level, short, signed, signed_interval
from cje.vocabulary import Conclusion

MARKS: dict[Conclusion, Keywords] = {
    Conclusion.BETTER: {"color": BLUE, "marker": "o", "markerfacecolor": BLUE},
    Conclusion.WORSE: {"color": AMBER, "marker": "o", "markerfacecolor": AMBER},
    Conclusion.SAME: {"color": GREY, "marker": "o", "markerfacecolor": PAPER},
}
LEGEND = {
    Conclusion.BETTER: "better than the base", Conclusion.WORSE: "worse",
    Conclusion.SAME: "no clear difference",
}  # fmt: skip


def differences(
    path: str | os.PathLike[str],
    rows: Sequence[DifferenceRow],
    estimates: Sequence[EstimateRow],
    *,
    alpha: float = 0.05,
) -> None:
    """Every policy minus the base policy, best first, and those that are refused last.

    `rows`: with the base as policy b, without the refused policies. `estimates`: of all policies.
    """
    base = next(row.policy for row in estimates if row.is_base)
    refused = [row.policy for row in estimates if row.refused and not row.is_base]
    words = f"On the same prompts, {level(alpha)} intervals; clearly different where "
    words += f"p < {short(alpha)}, Holm-corrected for all pairs"
    title = differences_title(rows, wrap(base, 34, 1), 24)
    with drawing(path, title, words if rows else "") as figure:
        if not rows:
            message(figure, f"No policy can be compared with {wrap(base, 40, 1)}.")
            return
        axes = figure.subplots()
        _draw(axes, rows, refused)
        axes.set_xlabel(f"Expected oracle utility minus that of {wrap(base, 40, 1)}")
        seen = [one for one in Conclusion if any(row.conclusion == one for row in rows)]
        handles = [Line2D([], [], markersize=9, linewidth=2, **MARKS[one]) for one in seen]
        legend = [LEGEND[one] for one in seen]
        figure.legend(handles, legend, loc="outside lower center", ncols=3, fontsize=11)


def _draw(axes: Axes, rows: Sequence[DifferenceRow], refused: Sequence[str]) -> None:
    """A mark, its interval and its numbers a policy; of a refused one a word."""
    names = [*(row.policy_a for row in rows), *refused]
    ends = [end for row in rows for end in (row.difference, row.ci_low, row.ci_high)]
    axes.set(xlim=reach(ends, 0.0), ylim=(len(names) - 0.4, -0.6))
    axes.axvline(0, color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=0.6)  # above the grid
    size = row_font(len(names))
    text: Keywords = {"transform": axes.get_yaxis_transform(), "fontsize": size, **IN_ROW}
    for place, row in enumerate(rows):
        style = MARKS[row.conclusion]
        interval_mark(axes, place, row.difference, row.ci_low, row.ci_high, style, 10, 2.4)
        numbers = f"{signed(row.difference)}  {signed_interval(row.ci_low, row.ci_high)}"
        axes.text(1.02, place, numbers, color=INK, **text)
    for place in range(len(rows), len(names)):
        axes.text(1.02, place, "refused", color=GREY, **text)
    policy_ticks(axes, names, size)
    for label, name in zip(axes.get_yticklabels(), names, strict=True):
        label.set_color(GREY if name in refused else INK)
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def differences_data(rows: Sequence[DifferenceRow]) -> pd.DataFrame:
    """One row a policy: `policy`, `difference`, `ci_low`, `ci_high`, `conclusion`; `rows` as in
    `differences`."""
    table = [
        (row.policy_a, row.difference, row.ci_low, row.ci_high, str(row.conclusion)) for row in rows
    ]
    columns = ["policy", "difference", "ci_low", "ci_high", "conclusion"]
    frame = pd.DataFrame(table, columns=columns)
    return rounded(frame.astype({"difference": float, "ci_low": float, "ci_high": float}))
