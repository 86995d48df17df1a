"""How well the logs reach each policy."""

import os
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from cje.results.plots.style import (
    CURVE_POINTS,
    IN_ROW,
    POLICY_COLOURS,
    STATUS_COLOURS,
    Keywords,
    drawing,
    finite,
    marked,
    message,
    policy_ticks,
    ridge,
    rounded,
    row_font,
    wrap,
)
from cje.results.theme import GREY, INK
from cje.vocabulary import WeightKind

ON_WHITE = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}  # words that a line may cross


def weight_dashboard(
    path: str | os.PathLike[str],
    weights: Mapping[str, np.ndarray],
    summary: pd.DataFrame,
    *,
    ess_good: float = 0.3,
    ess_critical: float = 0.05,
) -> None:
    """How well the logs reach each policy: sample size, weights, and who carries them.

    `weights`: policy to the mean-one importance weights that its estimate used, (n,).
    `summary`: indexed by policy, `ess` (share of n), `mean_weight`, `max_share`, `zero_share`,
    `status` (GOOD, WARNING, CRITICAL), `sequence_ess` (of the exact weights, used or not),
    `is_base` (it wrote the logs), and where it is known `weights`: those that were learned are
    hatched. `ess_good`, `ess_critical`: thresholds of the effective sample
    size. A policy absent from `weights` uses none: its exact weights are a pale bar.
    """
    weights = {name: finite(weights[name]) for name in summary.index if name in weights}
    weights = {name: values for name, values in weights.items() if values.size}
    shares = summary.loc[list(weights), "ess"].dropna()
    title = "Overlap: no policy's estimate uses weights"
    subtitle = "Numbers that stand on own labels need none"
    if len(shares):
        low, high = (percent(share) for share in (shares.min(), shares.max()))
        title = "Overlap: effective sample size is "
        title += f"{low} of the logs" if low == high else f"{low} to {high} of the logs"
        status = summary.loc[list(weights), "status"]
        words = [f"{(status == s).sum()} {s.lower()}" for s in STATUS_COLOURS]
        unused = len(summary) - len(weights)
        subtitle = f"Policies by status: {', '.join(words)}; {unused} use no weights"
    with drawing(path, title, subtitle) as figure:
        if summary.empty:
            message(figure, "No policy was estimated.")
            return
        upper = 0.55 + 0.09 * len(summary)
        grid = figure.add_gridspec(2, 3, width_ratios=[1.0, 1.0, 1.05], height_ratios=[upper, 1.0])
        bars = figure.add_subplot(grid[0, 0])
        spread = figure.add_subplot(grid[0, 1], sharey=bars)
        numbers = figure.add_subplot(grid[0, 2], sharey=bars)
        size = row_font(len(summary), biggest=12)
        _ess_bars(bars, summary, weights, (ess_critical, ess_good), size)
        _weight_histograms(spread, list(summary.index), weights)
        _weight_numbers(numbers, summary, weights, size)
        base = next(iter(summary.index[summary["is_base"]]), None)
        policy_ticks(bars, marked(summary.index, base), size, width=20)
        bars.set_ylim(len(summary) - 0.4, -0.6)
        curves, key = figure.add_subplot(grid[1, :2]), figure.add_subplot(grid[1, 2])
        _concentration_curves(curves, key, list(summary.index), weights)


def weights_data(weights: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Concentration curves: `policy`, `rank_share` (the heaviest share of logs), `weight_share`
    (the share of all weight they carry); at most 50 points a policy, log-spaced."""
    frames = []
    for name, values in weights.items():
        rank, share = _concentration(finite(values))
        frames.append(pd.DataFrame({"policy": name, "rank_share": rank, "weight_share": share}))
    empty = pd.DataFrame({"policy": [], "rank_share": [], "weight_share": []})
    return rounded(pd.concat(frames)) if frames else empty


def percent(share: float) -> str:
    """A share in two digits, three for all of them."""
    return f"{100 * share:.2g} %" if share < 0.0995 else f"{100 * share:.0f} %"


def _ess_bars(
    axes: Axes,
    summary: pd.DataFrame,
    weights: Mapping[str, np.ndarray],
    thresholds: tuple[float, float],
    size: float,
) -> None:
    for place, (name, row) in enumerate(summary.iterrows()):
        share = 100 * row["ess"]
        if name not in weights or not np.isfinite(share):
            exact = row["sequence_ess"]
            words = "no weights used" if name not in weights else "not defined"
            if name not in weights and pd.notna(exact):
                axes.barh(place, 100 * exact, height=0.62, color="#D5D5D5")
                words = f"{percent(exact)}, not used"
            aside: Keywords = {"fontsize": size, "color": "#666666", "style": "italic", **IN_ROW}
            axes.text(100 * max(thresholds) + 2, place, words, **aside)
            continue
        colour = STATUS_COLOURS.get(row["status"], GREY)
        learned = row.get("weights") == WeightKind.MARGINAL
        fill: Keywords = {"facecolor": "white", "edgecolor": colour, "hatch": "////"}
        axes.barh(place, share, height=0.62, **(fill if learned else {"color": colour}))
        inside = share > 75 and not learned
        words = f"{percent(row['ess'])}, learned" if learned else percent(row["ess"])
        if learned and share > 60:  # beside its own bar it would leave the chart
            axes.text(97, place, words, ha="right", fontsize=size, color=INK, bbox=ON_WHITE,
                      **IN_ROW)  # fmt: skip
            continue
        axes.text(
            share + (-2 if inside else 2), place, words,
            ha="right" if inside else "left", fontsize=size, **IN_ROW,
            color="white" if inside else INK, bbox=None if inside else ON_WHITE,
        )  # fmt: skip
    for threshold in thresholds:
        axes.axvline(100 * threshold, color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=0.5)
    axes.set(xlim=(0, 100), title="ESS, % of logs")
    axes.set_xticks([*(100 * np.array(thresholds)), 100])
    axes.xaxis.set_major_formatter("{x:g}")
    axes.tick_params(axis="y", length=0)


def _weight_histograms(axes: Axes, order: Sequence[str], weights: Mapping[str, np.ndarray]) -> None:
    """Ridges of log10 of the positive weights; what is off the chart stands in the end bins."""
    logs = {name: np.log10(values[values > 0]) for name, values in weights.items()}
    pooled = np.concatenate([np.zeros(1), *logs.values()])
    low, high = max(pooled.min() - 0.1, -4.0), min(pooled.max() + 0.1, 4.0)
    edges = np.linspace(min(low, -0.5), max(high, 0.5), 61)
    axes.axvline(0, color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=0.5)
    for place, name in enumerate(order):
        if name in logs:
            inside = np.clip(logs[name], edges[0], edges[-1])
            ridge(axes, place, inside, edges, _line(order, name)["color"])
    powers = np.arange(np.ceil(edges[0]), np.floor(edges[-1]) + 1)
    axes.set_xticks(powers, [f"{10.0**power:g}" for power in powers])
    axes.set(xlim=(edges[0], edges[-1]), title="Weights (log scale)")
    axes.tick_params(axis="y", length=0, labelleft=False)
    axes.spines["left"].set_visible(False)


def _weight_numbers(
    axes: Axes, summary: pd.DataFrame, weights: Mapping[str, np.ndarray], size: float
) -> None:
    columns = {"mean": 0.24, "max": 0.56, "zeros": 0.88}
    right = axes.get_yaxis_transform()
    for word, place in columns.items():
        axes.text(place, 1.02, word, transform=axes.transAxes, ha="right", fontweight="bold")
    for place, (name, row) in enumerate(summary.iterrows()):
        if name in weights:
            shares = [percent(row[key]) for key in ("max_share", "zero_share")]
            for x, words in zip(
                columns.values(), [f"{row['mean_weight']:.3g}", *shares], strict=True
            ):
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
    axes: Axes, key: Axes, order: Sequence[str], weights: Mapping[str, np.ndarray]
) -> None:
    """Who carries the weight; the key lists the most concentrated policy first."""
    carried = {}
    for name, values in weights.items():
        rank, share = _concentration(values)
        if rank.size:
            axes.plot(100 * rank, 100 * share, linewidth=2.2, **_line(order, name))
            carried[name] = np.interp(0.01, rank, share)
    if carried:
        equal = np.geomspace(0.01, 100, 100)
        axes.plot(equal, equal, color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=1.5)
    first = min((100 / values.size for values in weights.values()), default=0.1)
    axes.set(xscale="log", xlim=(min(first, 10.0), 100), ylim=(0, 103))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.grid()
    axes.set(title="Who carries the weight", xlabel="Heaviest logs, % of all (log scale)")
    axes.set_ylabel("Weight they carry, %")
    names = sorted(carried, key=lambda name: carried[name], reverse=True)
    handles = [Line2D([], [], linewidth=2.2, **_line(order, name)) for name in names]
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


def _line(order: Sequence[str], name: str) -> Keywords:
    """A colour, and dashes once the colours are used up."""
    place = list(order).index(name)
    dashes = "solid" if place < len(POLICY_COLOURS) else (0, (5, 1.5))
    return {"color": POLICY_COLOURS[place % len(POLICY_COLOURS)], "linestyle": dashes}
