"""Which policies differ: a heat map of Holm-corrected p-values."""

import os
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from cje.results.plots.style import (
    P_LEVELS,
    PALE,
    ROW_BETTER,
    ROW_WORSE,
    Keywords,
    counted,
    drawing,
    marked,
    message,
    number,
    policy_ticks,
    rounded,
    row_font,
    wrap,
)
from cje.results.theme import GREY, INK
from cje.vocabulary import Verdict


def comparison_heatmap(
    path: str | os.PathLike[str],
    p_values: pd.DataFrame,
    differences: pd.DataFrame,
    verdicts: pd.Series,
    *,
    base: str | None = None,
    alpha: float = 0.05,
) -> None:
    """Which policies differ: Holm-corrected p-values of all pairs, best policy first and the
    refused ones last.

    `p_values`: square, policy by policy, NaN where two are not compared. `differences`: square, row
    policy's estimate minus column policy's; it also gives the order. `verdicts`: indexed by policy;
    pairs with a refused one are hatched, without a number. `base`: the policy that wrote the logs.
    """
    refused = {name for name in differences.index if verdicts[name] == Verdict.REFUSE}
    standing = differences.drop(columns=list(refused)).mean(axis=1)
    standing = standing.sort_values(ascending=False, kind="stable")
    order = sorted(standing.index, key=refused.__contains__)
    pairs = [
        p_values.loc[a, b]
        for i, a in enumerate(order)
        for b in order[i + 1 :]
        if not {a, b} & refused and np.isfinite(p_values.loc[a, b])
    ]
    title = f"{sum(p < alpha for p in pairs)} of {counted(len(pairs), 'pair')} of policies "
    title += f"clearly different (Holm-corrected p < {alpha:g})"
    subtitle = "Each cell: row minus column and p-value;  * p < 0.05   ** p < 0.01   *** p < 0.001"
    if len(order) < 2:
        title, subtitle = "No pair of policies to compare", ""
    with drawing(path, title, subtitle) as figure:
        if len(order) < 2:
            message(figure, "A comparison needs two policies or more.")
            return
        axes, key = figure.subplots(2, 1, height_ratios=[1.0, 0.07])
        count = len(order)
        size = min(15.0, max(5.0, 96.0 / count))
        for i, a in enumerate(order):
            for j, b in enumerate(order):
                if i != j:
                    out_of_play = bool({a, b} & refused)
                    cell = (p_values.loc[a, b], differences.loc[a, b])
                    _comparison_cell(axes, (i, j), *cell, out_of_play, size)
        axes.set(xlim=(0, count), ylim=(count, 0))
        axes.xaxis.tick_top()
        names = marked(order, base)
        rows = [
            f"{name} (refused)" if policy in refused else name
            for name, policy in zip(names, order, strict=True)
        ]
        columns, shared = _column_labels(names, count)
        if not shared:
            rows = [f"{i + 1}. {name}" for i, name in enumerate(rows)]
        policy_ticks(axes, rows, row_font(count), offset=0.5)
        axes.set_xticks(np.arange(count) + 0.5, columns, fontsize=row_font(count))
        for labels in (axes.get_yticklabels(), axes.get_xticklabels()):
            for label, name in zip(labels, order, strict=True):
                label.set_color(GREY if name in refused else INK)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        _p_value_key(key, bool(refused))


def comparison_data(p_values: pd.DataFrame) -> pd.DataFrame:
    """The p-values in long form: `policy_a`, `policy_b`, `p_value`; both orders of a pair, no
    diagonal, pairs without a p-value left out."""
    rows = [
        (a, b, p_values.loc[a, b])
        for a in p_values.index
        for b in p_values.columns
        if a != b and np.isfinite(p_values.loc[a, b])
    ]
    return rounded(pd.DataFrame(rows, columns=["policy_a", "policy_b", "p_value"]))


def _comparison_cell(
    axes: Axes,
    corner: tuple[int, int],
    p_value: float,
    difference: float,
    refused: bool,
    size: float,
) -> None:
    """One coloured square: direction by hue, p-value by depth, both in words."""
    row, column = corner
    level = sum(p_value >= limit for limit in P_LEVELS)
    colour = PALE
    if not refused and level < len(P_LEVELS) and np.isfinite(p_value):
        colour = (ROW_BETTER if difference > 0 else ROW_WORSE)[level]
    square: Keywords = {"facecolor": colour, "edgecolor": "white", "linewidth": 2}
    if refused:
        square |= {"facecolor": "white", "hatch": "////"}
    axes.add_patch(Rectangle((column, row), 1, 1, **square))
    if refused:
        words = "refused"
    elif not np.isfinite(difference) and not np.isfinite(p_value):
        words = "n/a"
    else:
        words = number(difference, "+.3f")
        words += "*" * (len(P_LEVELS) - level if np.isfinite(p_value) else 0)
        words += "\n" + _p_words(p_value)
    ink = GREY if refused else "white" if colour in (ROW_BETTER[0], ROW_WORSE[0]) else INK
    text = axes.text(
        column + 0.5, row + 0.5, words, ha="center", va="center", color=ink, fontsize=size,
        linespacing=1.25,
    )  # fmt: skip
    if refused:
        text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1.5})


def _p_words(p_value: float) -> str:
    if not np.isfinite(p_value):
        return "p n/a"
    return "p<0.001" if p_value < 0.001 else f"p={p_value:.{3 if p_value < 0.1 else 2}f}"


def _column_labels(order: Sequence[str], count: int) -> tuple[list[str], bool]:
    """The policies' names where they fit above the columns, else the rows' numbers."""
    width = int(78 / count * 13 / row_font(count))
    longest = max(max(map(len, wrap(name, width, 3).split("\n"))) for name in order)
    if longest <= width and max(map(len, order)) <= 3 * width and width >= 6:
        return [wrap(name, width, 3) for name in order], True
    return [f"{i + 1}." for i in range(count)], False


def _p_value_key(axes: Axes, refused: bool) -> None:
    """The colours' meaning, from "row better" through "no clear difference" to "row worse"."""
    limits = [f"p < {limit:g}" for limit in P_LEVELS]
    colours = [*ROW_BETTER, PALE, *reversed(ROW_WORSE)]
    words = [*limits, "p ≥ 0.05", *reversed(limits)]
    for place, (colour, word) in enumerate(zip(colours, words, strict=True)):
        ink = "white" if colour in (ROW_BETTER[0], ROW_WORSE[0]) else INK
        axes.add_patch(Rectangle((place, 0), 1, 1, facecolor=colour, edgecolor="white"))
        axes.text(place + 0.5, 0.5, word, ha="center", va="center", fontsize=9, color=ink)
    axes.text(-0.1, 0.5, "row better", ha="right", va="center", fontsize=11, color=ROW_BETTER[0])
    axes.text(7.1, 0.5, "row worse", ha="left", va="center", fontsize=11, color=ROW_WORSE[0])
    if refused:
        axes.add_patch(
            Rectangle((8.6, 0), 0.9, 1, facecolor="white", edgecolor="white", hatch="////")
        )
        axes.text(9.6, 0.5, "refused", ha="left", va="center", fontsize=11, color=GREY)
    axes.set(xlim=(-1.2, 10.5 if refused else 8.2), ylim=(0, 1))
    axes.set_axis_off()
