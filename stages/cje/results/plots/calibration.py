"""Judge against oracle, with the fitted calibrator."""

import os
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from scipy.special import stdtrit

from cje.results.plots.style import (
    CURVE_POINTS,
    MAX_BINS,
    MAX_POINTS,
    PALE,
    counted,
    drawing,
    finite,
    finite_pairs,
    message,
    policy_ticks,
    ridge,
    rounded,
    row_font,
)
from cje.results.theme import AMBER, BLUE, GREY, INK


def calibration_curve(
    path: str | os.PathLike,
    *,
    judge_raw: np.ndarray,
    oracle_score: np.ndarray,
    curve_x: np.ndarray,
    curve_y: np.ndarray,
    spearman: float,
    range_covered: tuple[float, float] | None = None,
    draw_scores: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Judge against oracle on the labelled slice, with the fitted calibrator.

    `judge_raw`, `oracle_score`: the labels, both on [0, 1], (n,); pairs with a NaN are left out.
    `curve_x`, `curve_y`: the calibrator on a grid. `range_covered`: lowest and highest labelled
    judge score (default: taken from the labels). `draw_scores`: judge scores of each policy's
    draws, shown below as histograms with the share outside that range.
    """
    judge, oracle = finite_pairs(judge_raw, oracle_score)
    curve = finite_pairs(curve_x, curve_y)
    if range_covered is None and judge.size:
        range_covered = (judge.min(), judge.max())
    draws = {name: finite(scores) for name, scores in (draw_scores or {}).items()}
    rank = f"Spearman {spearman:.2f}" if np.isfinite(spearman) else "Spearman not defined"
    labels = int(np.isfinite(oracle_score).sum())
    title = f"Calibration: judge against oracle, {counted(labels, 'label')}"
    unscored = labels - judge.size
    subtitle = rank + (f"; {unscored} have no judge score" if unscored else "")
    if range_covered is not None:
        subtitle += f"; labels cover judge scores {range_covered[0]:.2f} to {range_covered[1]:.2f}"
    with drawing(path, title, subtitle if judge.size else "") as figure:
        if not judge.size:
            message(figure, "No oracle labels: there is nothing to calibrate on.")
            return
        ratios = [1.0, min(0.14 + 0.075 * len(draws), 0.85)] if draws else [1.0]
        panels = figure.subplots(len(ratios), 1, sharex=True, height_ratios=ratios, squeeze=False)
        top = panels[0, 0]
        shown = np.argsort(judge, kind="stable")[:: max(1, judge.size // MAX_POINTS)]
        top.scatter(judge[shown], oracle[shown], s=16, color=GREY, alpha=0.3, linewidths=0)
        everything = np.concatenate([judge, curve[0], *draws.values()])
        low, high = everything.min(), everything.max()
        pad = 0.04 * (high - low) or 0.05
        top.axline((0, 0), slope=1, color=INK, linewidth=1, linestyle=(0, (4, 3)))
        top.plot(*curve, color=BLUE, linewidth=2.6)
        bins = _binned(judge, oracle)
        top.errorbar(
            bins["judge_raw"], bins["oracle_score"], yerr=bins["half_width"].fillna(0),
            fmt="o", color=AMBER, markersize=8, markeredgecolor="white", linewidth=2, zorder=3,
        )  # fmt: skip
        heights = np.concatenate([oracle, curve[1]])
        edge = 0.06 * np.ptp(heights) or 0.05
        top.set(xlim=(low - pad, high + pad), ylim=(heights.min() - edge, heights.max() + edge))
        top.set_ylabel("Oracle score")
        top.grid(axis="y")
        handles = [
            Line2D([], [], color=AMBER, marker="o", markersize=8, linewidth=2),
            Line2D([], [], color=BLUE, linewidth=2.6),
            Line2D([], [], color=INK, linewidth=1, linestyle=(0, (4, 3))),
            Line2D([], [], color=GREY, marker="o", markersize=5, linewidth=0, alpha=0.6),
        ]
        names = ["binned mean, 95 % interval", "fitted calibrator", "judge = oracle", "one label"]
        top.legend(
            handles, names, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4, fontsize=11,
            borderaxespad=0.2, handlelength=1.8, columnspacing=1.6, borderpad=0,
        )  # fmt: skip
        if draws:
            _draw_histograms(panels[1, 0], draws, range_covered, (low - pad, high + pad))
        panels[-1, 0].set_xlabel("Judge score")


def calibration_curve_data(
    judge_raw: np.ndarray, oracle_score: np.ndarray, curve_x: np.ndarray, curve_y: np.ndarray
) -> pd.DataFrame:
    """Points of the calibration figure: `judge_raw`, `oracle_score`, `kind`.

    `kind` is `binned mean` (oracle mean of a bin of labels) or `fitted` (at most 50 points).
    """
    bins = _binned(*finite_pairs(judge_raw, oracle_score))[["judge_raw", "oracle_score"]]
    x, y = finite_pairs(curve_x, curve_y)
    keep = np.unique(np.linspace(0, x.size - 1, min(x.size, CURVE_POINTS)).round().astype(int))
    fitted = pd.DataFrame({"judge_raw": x[keep], "oracle_score": y[keep]})
    return rounded(pd.concat([bins.assign(kind="binned mean"), fitted.assign(kind="fitted")]))


def _binned(judge: np.ndarray, oracle: np.ndarray) -> pd.DataFrame:
    """Means of bins of about equal counts, with the half width of a 95 % t interval (NaN for a
    bin of one label). Equal scores share a bin."""
    if not judge.size:
        return pd.DataFrame({"judge_raw": [], "oracle_score": [], "half_width": []})
    bins = int(np.clip(judge.size // 10, 1, MAX_BINS))
    edges = np.unique(np.quantile(judge, np.linspace(0, 1, bins + 1)))
    place = np.searchsorted(edges[1:-1], judge, side="right")
    groups = pd.DataFrame({"judge_raw": judge, "oracle_score": oracle}).groupby(place)
    means, spread, count = groups.mean(), groups["oracle_score"].std(), groups.size()
    return means.assign(half_width=stdtrit(count - 1, 0.975) * spread / np.sqrt(count))


def _draw_histograms(
    axes: Axes,
    draws: Mapping[str, np.ndarray],
    range_covered: tuple[float, float],
    limits: tuple[float, float],
) -> None:
    """One strip a policy; what lies outside the labelled range in another colour."""
    low, high = range_covered
    edges = np.linspace(*limits, 81)
    size = row_font(len(draws), biggest=11)
    for place, scores in enumerate(draws.values()):
        outside = scores[(scores < low) | (scores > high)]
        ridge(axes, place, scores, edges, "#9DB8CC")
        ridge(axes, place, outside, edges, AMBER, like=scores)
        words = f"{100 * outside.size / scores.size:.1f} % outside" if scores.size else "no draws"
        axes.annotate(
            words, (1.01, place + 0.35), xycoords=axes.get_yaxis_transform(), fontsize=size,
            va="center", color=AMBER if outside.size else "#555555",
        )  # fmt: skip
    axes.set_ylim(len(draws) - 0.1, -0.5)
    policy_ticks(axes, list(draws), size, width=22, offset=0.35)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.axvspan(low, high, color=PALE, zorder=0)
