"""Which policies differ: a heat map of Holm-corrected p-values."""

import os
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from cje.results.plots.style import (
    P_LEVELS,
    Keywords,
    drawing,
    message,
    policy_ticks,
    rounded,
    row_font,
    wrap,
)
from cje.results.rows import DifferenceRow, EstimateRow, by_pair
from cje.results.theme import GREY, INK, PALE, PAPER, ROW_BETTER, ROW_WORSE
from cje.results.words import counted, named, p_value, short, signed
from cje.vocabulary import Conclusion


def comparison_heatmap(
    path: str | os.PathLike[str],
    differences: Sequence[DifferenceRow],
    estimates: Sequence[EstimateRow],
    *,
    alpha: float = 0.05,
) -> None:
    """Which policies differ: Holm-corrected p-values of all pairs.

    `differences`: every pair of policies that are not refused, once. `estimates`: of all policies,
    best first and the refused ones last; pairs with a refused one are hatched, without a number.
    """
    clear = sum(row.conclusion != Conclusion.SAME for row in differences)
    title = f"{clear} of {counted(len(differences), 'pair')} of policies "
    title += f"clearly different (Holm-corrected p < {short(alpha)})"
    subtitle = "Each cell: row minus column and p-value;  * p < 0.05   ** p < 0.01   *** p < 0.001"
    if len(estimates) < 2:
        title, subtitle = "No pair of policies to compare", ""
    with drawing(path, title, subtitle) as figure:
        if len(estimates) < 2:
            message(figure, "A comparison needs two policies or more.")
            return
        axes, key = figure.subplots(2, 1, height_ratios=[1.0, 0.07])
        _cells(axes, by_pair(differences), [row.policy for row in estimates])
        _label_axes(axes, estimates)
        _p_value_key(key, any(row.refused for row in estimates))


def comparison_data(differences: Sequence[DifferenceRow], order: Sequence[str]) -> pd.DataFrame:
    """The p-values in long form: `policy_a`, `policy_b`, `p_value`; both orders of a pair, by
    policies in `order`."""
    found = by_pair(differences)
    pairs = [(a, b) for a in order for b in order if (a, b) in found]
    rows = [(a, b, found[a, b].p_value_corrected) for a, b in pairs]
    return rounded(pd.DataFrame(rows, columns=["policy_a", "policy_b", "p_value"]))


def _cells(axes: Axes, found: dict[tuple[str, str], DifferenceRow], order: Sequence[str]) -> None:
    """A square a pair, row minus column."""
    count = len(order)
    size = min(15.0, max(5.0, 96.0 / count))
    for i, a in enumerate(order):
        for j, b in enumerate(order):
            if i != j:
                _comparison_cell(axes, (i, j), found.get((a, b)), size)
    axes.set(xlim=(0, count), ylim=(count, 0))


def _label_axes(axes: Axes, estimates: Sequence[EstimateRow]) -> None:
    """The policies' names beside the rows, and above the columns where they fit."""
    count, base = len(estimates), next((row.policy for row in estimates if row.is_base), None)
    names = [named(row.policy, base) for row in estimates]
    rows = [
        f"{name} (refused)" if row.refused else name
        for name, row in zip(names, estimates, strict=True)
    ]
    columns, shared = _column_labels(names, count)
    if not shared:
        rows = [f"{i + 1}. {name}" for i, name in enumerate(rows)]
    axes.xaxis.tick_top()
    policy_ticks(axes, rows, row_font(count), offset=0.5)
    axes.set_xticks(np.arange(count) + 0.5, columns, fontsize=row_font(count))
    for labels in (axes.get_yticklabels(), axes.get_xticklabels()):
        for label, row in zip(labels, estimates, strict=True):
            label.set_color(GREY if row.refused else INK)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _comparison_cell(
    axes: Axes, corner: tuple[int, int], found: DifferenceRow | None, size: float
) -> None:
    """One coloured square: direction by hue, p-value by depth, both in words; a hatched one where a
    policy is refused."""
    row, column = corner
    middle: Keywords = {"ha": "center", "va": "center", "fontsize": size, "linespacing": 1.25}
    square: Keywords = {"edgecolor": PAPER, "linewidth": 2}
    if found is None:
        axes.add_patch(Rectangle((column, row), 1, 1, facecolor=PAPER, hatch="////", **square))
        text = axes.text(column + 0.5, row + 0.5, "refused", color=GREY, **middle)
        text.set_bbox({"facecolor": PAPER, "edgecolor": "none", "pad": 1.5})
        return
    level = sum(found.p_value_corrected >= limit for limit in P_LEVELS)
    colour = PALE
    if level < len(P_LEVELS):
        colour = (ROW_BETTER if found.difference > 0 else ROW_WORSE)[level]
    axes.add_patch(Rectangle((column, row), 1, 1, facecolor=colour, **square))
    stars = "*" * (len(P_LEVELS) - level)
    words = f"{signed(found.difference)}{stars}\n{p_value(found.p_value_corrected)}"
    axes.text(column + 0.5, row + 0.5, words, color=_ink_on(colour), **middle)


def _ink_on(colour: str) -> str:
    """The colour of words that can be read on a square."""
    return PAPER if colour in (ROW_BETTER[0], ROW_WORSE[0]) else INK


def _column_labels(order: Sequence[str], count: int) -> tuple[list[str], bool]:
    """The policies' names where they fit above the columns, else the rows' numbers."""
    width = int(78 / count * 13 / row_font(count))
    longest = max(max(map(len, wrap(name, width, 3).split("\n"))) for name in order)
    if longest <= width and max(map(len, order)) <= 3 * width and width >= 6:
        return [wrap(name, width, 3) for name in order], True
    return [f"{i + 1}." for i in range(count)], False


def _p_value_key(axes: Axes, refused: bool) -> None:
    """The colours' meaning, from "row better" through "no clear difference" to "row worse"."""
    limits = [f"p < {short(limit)}" for limit in P_LEVELS]
    colours = [*ROW_BETTER, PALE, *reversed(ROW_WORSE)]
    words = [*limits, "p ≥ 0.05", *reversed(limits)]
    for place, (colour, word) in enumerate(zip(colours, words, strict=True)):
        axes.add_patch(Rectangle((place, 0), 1, 1, facecolor=colour, edgecolor=PAPER))
        axes.text(
            place + 0.5, 0.5, word, ha="center", va="center", fontsize=9, color=_ink_on(colour)
        )
    axes.text(-0.1, 0.5, "row better", ha="right", va="center", fontsize=11, color=ROW_BETTER[0])
    axes.text(7.1, 0.5, "row worse", ha="left", va="center", fontsize=11, color=ROW_WORSE[0])
    if refused:
        axes.add_patch(Rectangle((8.6, 0), 0.9, 1, facecolor=PAPER, edgecolor=PAPER, hatch="////"))
        axes.text(9.6, 0.5, "refused", ha="left", va="center", fontsize=11, color=GREY)
    axes.set(xlim=(-1.2, 10.5 if refused else 8.2), ylim=(0, 1))
    axes.set_axis_off()
