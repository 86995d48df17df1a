"""Judge against oracle, with the fitted calibrator."""

import os
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from cje.results.plots.style import (
    CURVE_POINTS,
    IN_ROW,
    MAX_POINTS,
    drawing,
    finite,
    finite_pairs,
    message,
    policy_ticks,
    ridge,
    rounded,
    row_font,
)
from cje.results.rows import calibration_bins
from cje.results.theme import AMBER, BLUE, GREY, INK, PALE, PALE_BLUE, PAPER, QUIET
from cje.results.words import counted, interval, number, percent

DOT, LARGEST = 16.0, 30  # area of a label, and of so many on one place at most
STEPS = 80  # bins of a histogram


def calibration_curve(
    path: str | os.PathLike[str],
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
    labels = int(np.isfinite(oracle_score).sum())
    title = f"Calibration: judge against oracle, {counted(labels, 'label')}"
    subtitle = _subtitle(spearman, labels - judge.size, range_covered)
    with drawing(path, title, subtitle if judge.size else "") as figure:
        if not judge.size:
            message(figure, "No oracle labels: there is nothing to calibrate on.")
            return
        ratios = [1.0, min(0.14 + 0.075 * len(draws), 0.85)] if draws else [1.0]
        panels = figure.subplots(len(ratios), 1, sharex=True, height_ratios=ratios, squeeze=False)
        everything = np.concatenate([judge, curve[0], *draws.values()])
        low, high = everything.min(), everything.max()
        pad = 0.04 * (high - low) or 0.05
        limits = (low - pad, high + pad)
        _draw_labels(panels[0, 0], judge, oracle, curve, limits)
        if draws and range_covered is not None:
            _draw_histograms(panels[1, 0], draws, range_covered, limits)
        panels[-1, 0].set_xlabel("Judge score")


def _subtitle(spearman: float, unscored: int, range_covered: tuple[float, float] | None) -> str:
    words = f"Rank correlation (Spearman) {number(spearman)}"
    if unscored:
        words += f"; {unscored} have no judge score"
    if range_covered is not None:
        low, high = range_covered
        words += f"; labels cover judge scores from {interval(low, high)}"
    return words


def _draw_labels(
    axes: Axes,
    judge: np.ndarray,
    oracle: np.ndarray,
    curve: tuple[np.ndarray, np.ndarray],
    limits: tuple[float, float],
) -> None:
    """The labels, their binned means with intervals, and the fitted calibrator."""
    shown = np.argsort(judge, kind="stable")[:: max(1, judge.size // MAX_POINTS)]
    places = np.column_stack([judge, oracle])[shown]
    points, counts = np.unique(places, axis=0, return_counts=True)
    area = np.maximum(DOT * counts * min(1.0, LARGEST / counts.max()), DOT)
    axes.scatter(points[:, 0], points[:, 1], s=area, color=GREY, alpha=0.3, linewidths=0)
    axes.axline((0, 0), slope=1, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.plot(*curve, color=BLUE, linewidth=2.6)
    bins = calibration_bins(judge, oracle)
    axes.errorbar(
        [one.judge_score for one in bins], [one.oracle_utility for one in bins],
        yerr=[one.half_width or 0.0 for one in bins],
        fmt="o", color=AMBER, markersize=8, markeredgecolor=PAPER, linewidth=2, zorder=3,
    )  # fmt: skip
    heights = np.concatenate([oracle, curve[1]])
    edge = 0.06 * np.ptp(heights) or 0.05
    axes.set(xlim=limits, ylim=(heights.min() - edge, heights.max() + edge))
    axes.set_ylabel("Oracle utility")
    axes.grid(axis="y")
    handles = [
        Line2D([], [], color=AMBER, marker="o", markersize=8, linewidth=2),
        Line2D([], [], color=BLUE, linewidth=2.6),
        Line2D([], [], color=INK, linewidth=1, linestyle=(0, (4, 3))),
        Line2D([], [], color=GREY, marker="o", markersize=5, linewidth=0, alpha=0.6),
    ]
    label = "one label" if counts.max() == 1 else "labels"
    names = ["binned mean, 95 % interval", "fitted calibrator", "judge = oracle", label]
    axes.legend(
        handles, names, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4, fontsize=11,
        borderaxespad=0.2, handlelength=1.8, columnspacing=1.6, borderpad=0,
    )  # fmt: skip


def calibration_curve_data(
    judge_raw: np.ndarray, oracle_score: np.ndarray, curve_x: np.ndarray, curve_y: np.ndarray
) -> pd.DataFrame:
    """Points of the calibration figure: `judge_raw`, `oracle_score`, `kind`.

    `kind` is `binned mean` (oracle mean of a bin of labels) or `fitted` (at most 50 points).
    """
    bins = calibration_bins(*finite_pairs(judge_raw, oracle_score))
    means = pd.DataFrame(
        [(one.judge_score, one.oracle_utility) for one in bins],
        columns=["judge_raw", "oracle_score"],
    ).astype(float)
    x, y = finite_pairs(curve_x, curve_y)
    keep = np.unique(np.linspace(0, x.size - 1, min(x.size, CURVE_POINTS)).round().astype(int))
    fitted = pd.DataFrame({"judge_raw": x[keep], "oracle_score": y[keep]})
    return rounded(pd.concat([means.assign(kind="binned mean"), fitted.assign(kind="fitted")]))


def _draw_histograms(
    axes: Axes,
    draws: Mapping[str, np.ndarray],
    range_covered: tuple[float, float],
    limits: tuple[float, float],
) -> None:
    """One strip a policy; what lies outside the labelled range in another colour."""
    low, high = range_covered
    # The ends of the range in the middle of a bin: a score that is there is within the range.
    span = limits[1] - limits[0]
    step = (high - low) / max(round(STEPS * (high - low) / span), 1) or span / STEPS
    before, after = np.ceil((low - limits[0]) / step), np.ceil((limits[1] - low) / step)
    edges = low + step * (np.arange(-before, after + 2) - 0.5)
    size = row_font(len(draws), biggest=11)
    for place, scores in enumerate(draws.values()):
        outside = scores[(scores < low) | (scores > high)]
        ridge(axes, place, scores, edges, PALE_BLUE)
        ridge(axes, place, outside, edges, AMBER, like=scores)
        words = f"{percent(outside.size / scores.size)} outside" if scores.size else "no draws"
        axes.annotate(
            words, (1.01, place + 0.35), xycoords=axes.get_yaxis_transform(), fontsize=size,
            color=AMBER if outside.size else QUIET, **IN_ROW,
        )  # fmt: skip
    axes.set_ylim(len(draws) - 0.1, -0.5)
    policy_ticks(axes, list(draws), size, width=22, offset=0.35)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.axvspan(low - step / 2, high + step / 2, color=PALE, zorder=0)
