"""How well the logs reach each policy."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from cje.results.plots.style import (
    CURVE_POINTS,
    IN_ROW,
    Keywords,
    drawing,
    finite,
    message,
    policy_ticks,
    ridge,
    rounded,
    row_font,
    wrap,
)
from cje.results.rows import OverlapRow
from cje.results.theme import (
    INK,
    PALE_BAR,
    PAPER,
    QUIET,
    STATUS_COLOURS,
)
from cje.results.words import STATUSES, UNKNOWN, named, percent, short, weight
from cje.vocabulary import Status, WeightKind

STROKES: tuple[Any, ...] = (  # of curves whose policies have the same status, so the same colour
    "solid", (0, (6, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)), (0, (10, 3)),
    (0, (3, 1.2, 1, 1.2, 1, 1.2)),
)  # fmt: skip
ON_WHITE = {"facecolor": PAPER, "edgecolor": "none", "pad": 1.5}  # words that a line may cross


def weight_dashboard(
    path: str | os.PathLike[str],
    weights: Mapping[str, np.ndarray],
    rows: Sequence[OverlapRow],
    *,
    ess_good: float = 0.3,
    ess_critical: float = 0.05,
) -> None:
    """How well the logs overlap with each policy: sample size, weights, and who carries them.

    `weights`: policy to the mean-one importance weights that its estimate used, (n,). `rows`: of
    all policies, from top to bottom; learned weights are hatched. `ess_good`, `ess_critical`:
    thresholds of the effective sample size. A policy absent from `weights` uses none: its exact
    weights are a pale bar. Colours are those of statuses.
    """
    weights = {row.policy: finite(weights[row.policy]) for row in rows if row.policy in weights}
    weights = {name: values for name, values in weights.items() if values.size}
    title, subtitle = _titles(rows, weights)
    with drawing(path, title, subtitle) as figure:
        if not rows:
            message(figure, "No policy was estimated.")
            return
        upper = 0.55 + 0.09 * len(rows)
        grid = figure.add_gridspec(2, 3, width_ratios=[1.0, 1.0, 1.05], height_ratios=[upper, 1.0])
        bars = figure.add_subplot(grid[0, 0])
        spread = figure.add_subplot(grid[0, 1], sharey=bars)
        numbers = figure.add_subplot(grid[0, 2], sharey=bars)
        size = row_font(len(rows), biggest=12)
        _ess_bars(bars, rows, weights, (ess_critical, ess_good), size)
        _weight_histograms(spread, rows, weights)
        _weight_numbers(numbers, rows, weights, size)
        base = next((row.policy for row in rows if row.is_base), None)
        policy_ticks(bars, [named(row.policy, base) for row in rows], size, width=20)
        bars.set_ylim(len(rows) - 0.4, -0.6)
        curves, key = figure.add_subplot(grid[1, :2]), figure.add_subplot(grid[1, 2])
        _concentration_curves(curves, key, rows, weights)


def _titles(rows: Sequence[OverlapRow], weights: Mapping[str, np.ndarray]) -> tuple[str, str]:
    """How large effective samples are, and how many policies have which status."""
    used = [row for row in rows if row.policy in weights]
    shares = [row.ess for row in used if row.ess is not None]
    if not shares:
        return "Overlap: no policy's estimate uses weights", "Estimates from own labels need none"
    low, high = percent(min(shares)), percent(max(shares))
    title = "Overlap: effective sample size is "
    title += f"{low} of the logs" if low == high else f"{low} to {high} of the logs"
    words = [f"{sum(row.status == status for row in used)} {STATUSES[status]}" for status in Status]
    unused = len(rows) - len(used)
    return title, f"Policies by status: {', '.join(words)}; {unused} use no weights"


def weights_data(weights: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Concentration curves: `policy`, `rank_share` (the heaviest share of logs), `weight_share`
    (the share of all weight they carry); at most 50 points a policy, log-spaced."""
    frames = []
    for name, values in weights.items():
        rank, share = _concentration(finite(values))
        frames.append(pd.DataFrame({"policy": name, "rank_share": rank, "weight_share": share}))
    empty = pd.DataFrame({"policy": [], "rank_share": [], "weight_share": []})
    return rounded(pd.concat(frames)) if frames else empty


def _ess_bars(
    axes: Axes,
    rows: Sequence[OverlapRow],
    weights: Mapping[str, np.ndarray],
    thresholds: tuple[float, float],
    size: float,
) -> None:
    for place, row in enumerate(rows):
        if row.policy in weights and row.ess is not None:
            _ess_bar(axes, place, row, row.ess, size)
            continue
        words = UNKNOWN if row.policy in weights else "no weights used"
        if row.policy not in weights and row.exact_ess is not None:
            axes.barh(place, 100 * row.exact_ess, height=0.62, color=PALE_BAR)
            words = f"{percent(row.exact_ess)}, not used"
        aside: Keywords = {"fontsize": size, "color": QUIET, "style": "italic", **IN_ROW}
        axes.text(100 * max(thresholds) + 2, place, words, **aside)
    for threshold in thresholds:
        axes.axvline(100 * threshold, color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=0.5)
    axes.set(xlim=(0, 100), title="ESS, % of logs")
    axes.set_xticks([*(100 * np.array(thresholds)), 100])
    axes.xaxis.set_major_formatter("{x:g}")
    axes.tick_params(axis="y", length=0)


def _ess_bar(axes: Axes, place: int, row: OverlapRow, ess: float, size: float) -> None:
    """The bar of the weights used, and its share in words, inside or beside it."""
    colour, share = STATUS_COLOURS[row.status], 100 * ess
    learned = row.weights == WeightKind.MARGINAL
    fill: Keywords = {"facecolor": PAPER, "edgecolor": colour, "hatch": "////"}
    axes.barh(place, share, height=0.62, **(fill if learned else {"color": colour}))
    words: Keywords = {"fontsize": size, "color": INK, "bbox": ON_WHITE, **IN_ROW}
    if learned and share > 60:  # beside its own bar it would leave the chart
        axes.text(97, place, f"{percent(ess)}, learned", ha="right", **words)
    elif learned:
        axes.text(share + 2, place, f"{percent(ess)}, learned", ha="left", **words)
    elif share > 75:
        axes.text(share - 2, place, percent(ess), ha="right",
                  **words | {"color": PAPER, "bbox": None})  # fmt: skip
    else:
        axes.text(share + 2, place, percent(ess), ha="left", **words)


def _weight_histograms(
    axes: Axes, rows: Sequence[OverlapRow], weights: Mapping[str, np.ndarray]
) -> None:
    """Ridges of log10 of the positive weights; what is off the chart stands in the end bins."""
    logs = {name: np.log10(values[values > 0]) for name, values in weights.items()}
    pooled = np.concatenate([np.zeros(1), *logs.values()])
    low, high = max(pooled.min() - 0.1, -4.0), min(pooled.max() + 0.1, 4.0)
    edges = np.linspace(min(low, -0.5), max(high, 0.5), 61)
    axes.axvline(0, color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=0.5)
    for place, row in enumerate(rows):
        if row.policy in logs:
            inside = np.clip(logs[row.policy], edges[0], edges[-1])
            ridge(axes, place, inside, edges, STATUS_COLOURS[row.status])
    powers = np.arange(np.ceil(edges[0]), np.floor(edges[-1]) + 1)
    axes.set_xticks(powers, [short(10.0**power) for power in powers])
    axes.set(xlim=(edges[0], edges[-1]), title="Weights (log scale)")
    axes.tick_params(axis="y", length=0, labelleft=False)
    axes.spines["left"].set_visible(False)


def _weight_numbers(
    axes: Axes, rows: Sequence[OverlapRow], weights: Mapping[str, np.ndarray], size: float
) -> None:
    columns = {"mean": 0.24, "max": 0.56, "zeros": 0.88}
    right = axes.get_yaxis_transform()
    for word, place in columns.items():
        axes.text(place, 1.02, word, transform=axes.transAxes, ha="right", fontweight="bold")
    for place, row in enumerate(rows):
        if row.policy not in weights:
            continue
        numbers = (weight(row.mean_weight), percent(row.max_share), percent(row.zero_share))
        for x, words in zip(columns.values(), numbers, strict=True):
            axes.text(x, place, words, transform=right, ha="right", fontsize=size, **IN_ROW)
    axes.set_axis_off()


def _concentration(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of logs, heaviest first, and the share of all weight that they carry."""
    total = weights.sum()
    if not total > 0:
        return np.array([]), np.array([])
    carried = np.cumsum(np.sort(weights)[::-1]) / total
    ranks = np.unique(np.geomspace(1, weights.size, CURVE_POINTS).round().astype(int))
    return ranks / weights.size, np.minimum(carried[ranks - 1], 1.0)


def _concentration_curves(
    axes: Axes, key: Axes, rows: Sequence[OverlapRow], weights: Mapping[str, np.ndarray]
) -> None:
    """How concentrated the weights are; the key lists the most concentrated policy first."""
    carried, lines = {}, _lines([row for row in rows if row.policy in weights])
    for name, values in weights.items():
        rank, share = _concentration(values)
        if rank.size:
            axes.plot(100 * rank, 100 * share, linewidth=2.2, **lines[name])
            carried[name] = np.interp(0.01, rank, share)
    if carried:
        equal = np.geomspace(0.01, 100, 100)
        axes.plot(equal, equal, color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=1.5)
    first = min((100 / values.size for values in weights.values()), default=0.1)
    axes.set(xscale="log", xlim=(min(first, 10.0), 100), ylim=(0, 103))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.grid()
    axes.set(title="How concentrated the weights are", xlabel="Heaviest logs, % of all (log scale)")
    axes.set_ylabel("Weight they carry, %")
    names = sorted(carried, key=lambda name: carried[name], reverse=True)
    handles = [Line2D([], [], linewidth=2.2, **lines[name]) for name in names]
    labels = [f"{wrap(name, 24, 1)}: {percent(carried[name])}" for name in names]
    handles.append(Line2D([], [], color=INK, linewidth=1, linestyle=(0, (4, 3))))
    labels.append("equal weights")
    key.set_axis_off()
    key.legend(
        handles,
        labels,
        loc="upper left",
        borderaxespad=0,
        fontsize=row_font(len(names) * 1.6, 11),
        title="Carried by the heaviest 1 % of logs",
        title_fontproperties={"weight": "bold", "size": 12},
        alignment="left",
        labelspacing=0.3,
    )


def _lines(rows: Sequence[OverlapRow]) -> dict[str, Keywords]:
    """By policy its line: the colour of its status, the next stroke of those that share it."""
    before: Counter[Status] = Counter()
    found = {}
    for row in rows:
        stroke = STROKES[before[row.status] % len(STROKES)]
        found[row.policy] = {"color": STATUS_COLOURS[row.status], "linestyle": stroke}
        before[row.status] += 1
    return found
