"""The four figures that people show, and the small tables behind them for DVC's templates.

Each figure function takes arrays or frames and a path, and writes one PNG of about 1600 x 1000
pixels. The same input gives the same bytes, whatever matplotlibrc says; pyplot is never imported.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from scipy.special import stdtrit

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 12,
    "text.parse_math": False,  # a "$" in a policy's name is a character, not mathematics
    "text.color": "#222222",
    "axes.edgecolor": "#777777",
    "axes.labelcolor": "#222222",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "hatch.color": "#C8C8C8",
    "hatch.linewidth": 0.8,
    "legend.frameon": False,
    "xtick.color": "#777777",
    "xtick.labelcolor": "#222222",
    "ytick.color": "#777777",
    "ytick.labelcolor": "#222222",
}
WIDTH, HEIGHT, DPI = 10.0, 6.25, 160  # inches, inches, pixels per inch

# Okabe and Ito's palette: told apart with every common form of colour blindness.
BLUE, VERMILION, GREEN, AMBER = "#0072B2", "#D55E00", "#009E73", "#E69F00"
INK, GREY, PALE = "#222222", "#8C8C8C", "#EFEFEF"
POLICY_COLOURS = (BLUE, AMBER, GREEN, "#CC79A7", "#56B4E9", VERMILION, "#555555")
STATUS_COLOURS = {"GOOD": GREEN, "WARNING": AMBER, "CRITICAL": VERMILION}
VERDICT_STYLES = {
    "reliable": {"color": BLUE, "marker": "o", "markerfacecolor": BLUE},
    "caution": {"color": VERMILION, "marker": "o", "markerfacecolor": "white"},
    "refuse": {"color": GREY, "marker": "x", "markerfacecolor": GREY},
}
VERDICT_WORDS = {"reliable": "reliable", "caution": "caution", "refuse": "refused"}
ROW_BETTER = ("#08519C", "#6BAED6", "#C6DBEF")  # p below 0.001, 0.01, 0.05
ROW_WORSE = ("#A63603", "#F08A4B", "#FDD0A2")
P_LEVELS = (0.001, 0.01, 0.05)
MAX_BINS, MAX_POINTS, CURVE_POINTS = 10, 2000, 50


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
    judge, oracle = _finite_pairs(judge_raw, oracle_score)
    curve = _finite_pairs(curve_x, curve_y)
    if range_covered is None and judge.size:
        range_covered = (judge.min(), judge.max())
    draws = {name: _finite(scores) for name, scores in (draw_scores or {}).items()}
    rank = f"Spearman {spearman:.2f}" if np.isfinite(spearman) else "Spearman not defined"
    title = f"Calibration: judge vs oracle, {_count(judge.size, 'label')}"
    subtitle = rank
    if range_covered is not None:
        subtitle += f"; labels cover judge scores {range_covered[0]:.2f} to {range_covered[1]:.2f}"
    with _figure(path, title, subtitle if judge.size else "") as figure:
        if not judge.size:
            _message(figure, "No oracle labels: there is nothing to calibrate on.")
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
            fmt="o", color=VERMILION, markersize=8, markeredgecolor="white", linewidth=2, zorder=3,
        )  # fmt: skip
        heights = np.concatenate([oracle, curve[1]])
        edge = 0.06 * np.ptp(heights) or 0.05
        top.set(xlim=(low - pad, high + pad), ylim=(heights.min() - edge, heights.max() + edge))
        top.set_ylabel("Oracle score")
        top.grid(axis="y")
        handles = [
            Line2D([], [], color=VERMILION, marker="o", markersize=8, linewidth=2),
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


def estimates(
    path: str | os.PathLike,
    table: pd.DataFrame,
    truth: pd.DataFrame | None = None,
    *,
    alpha: float = 0.05,
) -> None:
    """Every policy's estimate with its interval and verdict, best first.

    `table`: indexed by policy, `v_hat`, `ci_low`, `ci_high` on the utility scale, `verdict`
    (reliable, caution, refuse). `truth`: indexed by policy, `oracle_truth`, `ci_low`, `ci_high`.
    A NaN estimate keeps its row. An interval that runs off the chart ends in an arrow.
    """
    rows = table.sort_values("v_hat", ascending=False, kind="stable", na_position="last")
    with _figure(path, _estimates_title(rows), _verdict_counts(rows, alpha)) as figure:
        if rows.empty:
            _message(figure, "No policy was estimated.")
            return
        axes = figure.subplots()
        truth = pd.DataFrame() if truth is None else truth.reindex(rows.index).dropna(how="all")
        ends = [rows[["v_hat", "ci_low", "ci_high"]].to_numpy(float).ravel()]
        ends.append(truth.select_dtypes("number").to_numpy(float).ravel())
        ends = _finite(np.concatenate(ends))
        low, high = (max(ends.min(), -0.25), min(ends.max(), 1.25)) if ends.size else (0.0, 1.0)
        pad = 0.04 * (high - low) if high > low else 0.05
        axes.set(xlim=(low - pad, high + pad), ylim=(len(rows) - 0.4, -0.6))
        size = _row_font(len(rows))
        for place, (name, row) in enumerate(rows.iterrows()):
            _estimate_row(axes, place, row, size)
            if name in truth.index:
                _interval(
                    axes, place + 0.24, truth.loc[name, "oracle_truth"],
                    truth.loc[name, "ci_low"], truth.loc[name, "ci_high"],
                    {"color": GREEN, "marker": "D", "markerfacecolor": GREEN}, 7, 1.4,
                )  # fmt: skip
        _policy_ticks(axes, list(rows.index), size)
        for label, verdict in zip(axes.get_yticklabels(), rows["verdict"], strict=True):
            label.set_color(GREY if verdict == "refuse" else INK)
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("Expected oracle utility")
        seen = [verdict for verdict in VERDICT_STYLES if verdict in set(rows["verdict"])]
        handles = [Line2D([], [], markersize=9, linewidth=2, **VERDICT_STYLES[v]) for v in seen]
        names = [f"estimate: {VERDICT_WORDS[verdict]}" for verdict in seen]
        if not truth.empty:
            handles.append(Line2D([], [], color=GREEN, marker="D", markersize=7, linewidth=1.4))
            names.append("oracle truth")
        figure.legend(handles, names, loc="outside lower center", ncols=4, fontsize=11)


def comparison_heatmap(
    path: str | os.PathLike,
    p_values: pd.DataFrame,
    differences: pd.DataFrame,
    verdicts: pd.Series,
    *,
    alpha: float = 0.05,
) -> None:
    """Which policies differ: Holm-corrected p-values of all pairs, best policy first.

    `p_values`: square, policy by policy. `differences`: square, row policy's estimate minus
    column policy's; it also gives the order. `verdicts`: indexed by policy. Pairs with a refused
    policy are hatched and are not counted in the title.
    """
    standing = differences.mean(axis=1).sort_values(ascending=False, kind="stable")
    order = list(standing.index)
    refused = {name for name in order if verdicts[name] == "refuse"}
    pairs = [
        p_values.loc[a, b]
        for i, a in enumerate(order)
        for b in order[i + 1 :]
        if not {a, b} & refused and np.isfinite(p_values.loc[a, b])
    ]
    title = f"{sum(p < alpha for p in pairs)} of {_count(len(pairs), 'pair')} of policies "
    title += f"told apart (Holm-corrected p < {alpha:g})"
    subtitle = "Each cell: row minus column and p-value;  * p < 0.05   ** p < 0.01   *** p < 0.001"
    if len(order) < 2:
        title, subtitle = "No pair of policies to compare", ""
    with _figure(path, title, subtitle) as figure:
        if len(order) < 2:
            _message(figure, "A comparison needs two policies or more.")
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
        rows = [f"{name} (refused)" if name in refused else name for name in order]
        columns, shared = _column_labels(order, count)
        if not shared:
            rows = [f"{i + 1}. {name}" for i, name in enumerate(rows)]
        _policy_ticks(axes, rows, _row_font(count), offset=0.5)
        axes.set_xticks(np.arange(count) + 0.5, columns, fontsize=_row_font(count))
        for labels in (axes.get_yticklabels(), axes.get_xticklabels()):
            for label, name in zip(labels, order, strict=True):
                label.set_color(GREY if name in refused else INK)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        _p_value_key(key, bool(refused))


def weight_dashboard(
    path: str | os.PathLike,
    weights: Mapping[str, np.ndarray],
    summary: pd.DataFrame,
    *,
    ess_good: float = 0.3,
    ess_critical: float = 0.05,
) -> None:
    """How well the logs reach each policy: sample size, weights, and who carries them.

    `weights`: policy to the mean-one importance weights that its estimate used, (n,).
    `summary`: indexed by policy, `ess` (share of n), `mean_weight`, `max_share`, `zero_share`,
    `status` (GOOD, WARNING, CRITICAL), `weights` (kind). `ess_good`, `ess_critical`: thresholds
    of the effective sample size. A policy absent from `weights` is shown as using none.
    """
    weights = {name: _finite(weights[name]) for name in summary.index if name in weights}
    weights = {name: values for name, values in weights.items() if values.size}
    shares = summary.loc[list(weights), "ess"].dropna()
    title = "Overlap: no policy's estimate uses weights"
    if len(shares):
        low, high = (f"{100 * share:.2g} %" for share in (shares.min(), shares.max()))
        title = "Overlap: effective sample size is "
        title += f"{low} of the logs" if low == high else f"{low} to {high} of the logs"
    words = [f"{(summary['status'] == s).sum()} {s.lower()}" for s in STATUS_COLOURS]
    with _figure(path, title, "Policies by status: " + ", ".join(words)) as figure:
        if summary.empty:
            _message(figure, "No policy was estimated.")
            return
        upper = 0.55 + 0.09 * len(summary)
        grid = figure.add_gridspec(2, 3, width_ratios=[1.0, 1.0, 1.05], height_ratios=[upper, 1.0])
        bars = figure.add_subplot(grid[0, 0])
        spread = figure.add_subplot(grid[0, 1], sharey=bars)
        numbers = figure.add_subplot(grid[0, 2], sharey=bars)
        size = _row_font(len(summary), biggest=12)
        _ess_bars(bars, summary, weights, (ess_critical, ess_good), size)
        _weight_histograms(spread, list(summary.index), weights)
        _weight_numbers(numbers, summary, weights, size)
        _policy_ticks(bars, list(summary.index), size, width=20)
        bars.set_ylim(len(summary) - 0.4, -0.6)
        curves, key = figure.add_subplot(grid[1, :2]), figure.add_subplot(grid[1, 2])
        _concentration_curves(curves, key, list(summary.index), weights)


def calibration_curve_data(
    judge_raw: np.ndarray, oracle_score: np.ndarray, curve_x: np.ndarray, curve_y: np.ndarray
) -> pd.DataFrame:
    """Points of the calibration figure: `judge_raw`, `oracle_score`, `kind`.

    `kind` is `binned mean` (oracle mean of a bin of labels) or `fitted` (at most 50 points).
    """
    bins = _binned(*_finite_pairs(judge_raw, oracle_score))[["judge_raw", "oracle_score"]]
    x, y = _finite_pairs(curve_x, curve_y)
    keep = np.unique(np.linspace(0, x.size - 1, min(x.size, CURVE_POINTS)).round().astype(int))
    fitted = pd.DataFrame({"judge_raw": x[keep], "oracle_score": y[keep]})
    return _rounded(pd.concat([bins.assign(kind="binned mean"), fitted.assign(kind="fitted")]))


def estimates_data(table: pd.DataFrame, truth: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row a policy: `policy`, `v_hat`, `ci_low`, `ci_high`, `verdict`, and with `truth` its
    `oracle_truth`; arguments as in `estimates`."""
    data = table[["v_hat", "ci_low", "ci_high", "verdict"]]
    if truth is not None:
        data = data.join(truth["oracle_truth"])
    return _rounded(data.rename_axis("policy").reset_index())


def comparison_data(p_values: pd.DataFrame) -> pd.DataFrame:
    """The p-values in long form: `policy_a`, `policy_b`, `p_value`; both orders of a pair, no
    diagonal, pairs without a p-value left out."""
    rows = [
        (a, b, p_values.loc[a, b])
        for a in p_values.index
        for b in p_values.columns
        if a != b and np.isfinite(p_values.loc[a, b])
    ]
    return _rounded(pd.DataFrame(rows, columns=["policy_a", "policy_b", "p_value"]))


def weights_data(weights: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Concentration curves: `policy`, `rank_share` (the heaviest share of logs), `weight_share`
    (the share of all weight they carry); at most 50 points a policy, log-spaced."""
    frames = []
    for name, values in weights.items():
        rank, share = _concentration(_finite(values))
        frames.append(pd.DataFrame({"policy": name, "rank_share": rank, "weight_share": share}))
    empty = pd.DataFrame({"policy": [], "rank_share": [], "weight_share": []})
    return _rounded(pd.concat(frames)) if frames else empty


@contextmanager
def _figure(path: str | os.PathLike, title: str, subtitle: str) -> Iterator[Figure]:
    """A titled figure under the style, written to `path` at the end."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's matplotlibrc must not change the bytes
        matplotlib.rcParams.update(STYLE)
        figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, facecolor="white")
        FigureCanvasAgg(figure)
        figure.set_layout_engine("constrained", rect=(0.012, 0.012, 0.976, 0.868), hspace=0.04)
        size = min(18.0, 1150 / max(len(title), 1))
        figure.text(0.02, 0.965, title, fontsize=size, fontweight="bold", va="top")
        figure.text(0.02, 0.905, subtitle, fontsize=12, color="#555555", va="top")
        yield figure
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="png", dpi=DPI, metadata={"Software": None})


def _message(figure: Figure, text: str) -> None:
    figure.text(0.5, 0.45, text, ha="center", va="center", fontsize=16, color="#555555")


def _finite(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    return values[np.isfinite(values)]


def _finite_pairs(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    keep = np.isfinite(x) & np.isfinite(y)
    return x[keep], y[keep]


def _rounded(frame: pd.DataFrame) -> pd.DataFrame:
    """Floats to six significant digits."""
    floats = frame.select_dtypes("float").columns
    exact = {name: [float(f"{value:.6g}") for value in frame[name]] for name in floats}
    return frame.assign(**exact).reset_index(drop=True)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _number(value: float, form: str = ".3f") -> str:
    return format(value, form).replace("-", "\N{MINUS SIGN}") if np.isfinite(value) else "n/a"


def _wrap(name: str, width: int, lines: int = 2) -> str:
    """The name on at most `lines` lines of `width`, cut in its middle where that is too little."""
    if len(name) > width * lines:
        keep = (width * lines - 1) // 2
        name = name[:keep] + "\N{HORIZONTAL ELLIPSIS}" + name[-keep:]
    parts = []
    while len(name) > width:
        cut = max(name.rfind(mark, 0, width) for mark in "-_/. ") + 1
        left = width * (lines - len(parts) - 1)
        cut = cut if cut and len(name) - cut <= left else width
        parts.append(name[:cut])
        name = name[cut:]
    return "\n".join([*parts, name])


def _row_font(rows: int, biggest: float = 13.0) -> float:
    return float(np.clip(150 / max(rows, 1), 9.0, biggest))


def _policy_ticks(
    axes: Axes, names: Sequence[str], size: float, *, width: int = 26, offset: float = 0.0
) -> None:
    labels = [_wrap(name, width) for name in names]
    axes.set_yticks(np.arange(len(names)) + offset, labels, fontsize=size, linespacing=0.95)


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
    size = _row_font(len(draws), biggest=11)
    for place, scores in enumerate(draws.values()):
        outside = scores[(scores < low) | (scores > high)]
        _ridge(axes, place, scores, edges, "#9DB8CC")
        _ridge(axes, place, outside, edges, VERMILION, like=scores)
        words = f"{100 * outside.size / scores.size:.1f} % outside" if scores.size else "no draws"
        axes.annotate(
            words, (1.01, place + 0.35), xycoords=axes.get_yaxis_transform(), fontsize=size,
            va="center", color=VERMILION if outside.size else "#555555",
        )  # fmt: skip
    axes.set_ylim(len(draws) - 0.1, -0.5)
    _policy_ticks(axes, list(draws), size, width=22, offset=0.35)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.axvspan(low, high, color=PALE, zorder=0)


def _ridge(
    axes: Axes,
    place: float,
    values: np.ndarray,
    edges: np.ndarray,
    colour: str,
    like: np.ndarray | None = None,
) -> None:
    """A histogram that stands on row `place`, as high as the tallest bin of `like`."""
    tallest = np.histogram(values if like is None else like, edges)[0].max()
    heights = np.histogram(values, edges)[0] / max(tallest, 1)
    base = place + 0.36
    axes.stairs(base - 0.8 * heights, edges, baseline=base, fill=True, color=colour, linewidth=0)


def _estimates_title(rows: pd.DataFrame) -> str:
    kept = rows[rows["v_hat"].notna() & (rows["verdict"] != "refuse")]
    if kept.empty:
        return "No estimate may be believed" if len(rows) else "Estimates"
    best = f"{_wrap(str(kept.index[0]), 34, 1)} at {_number(kept['v_hat'].iloc[0])}"
    return f"Estimate: {best}" if len(rows) == 1 else f"Highest estimate: {best}"


def _verdict_counts(rows: pd.DataFrame, alpha: float) -> str:
    counts = [f"{(rows['verdict'] == v).sum()} {word}" for v, word in VERDICT_WORDS.items()]
    level = f"{100 * (1 - alpha):g} % intervals"
    return f"{_count(len(rows), 'policy').replace('policys', 'policies')} with {level}: " + (
        ", ".join(counts)
    )


def _estimate_row(axes: Axes, place: int, row: pd.Series, size: float) -> None:
    """The mark, its interval, and the numbers at the right, struck through if refused."""
    right = axes.get_yaxis_transform()
    if not np.isfinite(row["v_hat"]):
        axes.text(1.02, place, "no estimate", transform=right, fontsize=size, color=GREY)
        return
    style = VERDICT_STYLES[row["verdict"]]
    _interval(axes, place, row["v_hat"], row["ci_low"], row["ci_high"], style, 10, 2.4)
    numbers = f"{_number(row['v_hat'])}  [{_number(row['ci_low'])}, {_number(row['ci_high'])}]"
    if row["verdict"] == "refuse":
        numbers = "".join(mark + "\N{COMBINING LONG STROKE OVERLAY}" for mark in numbers)
    text = {"transform": right, "fontsize": size, "va": "center", "color": style["color"]}
    axes.text(1.02, place, numbers, **text)


def _interval(
    axes: Axes,
    place: float,
    centre: float,
    low: float,
    high: float,
    style: Mapping[str, str],
    size: float,
    width: float,
) -> None:
    """A mark on its interval; arrow heads where either runs off the chart."""
    left, right = axes.get_xlim()
    colour = style["color"]
    if np.isfinite(low) and np.isfinite(high):
        axes.hlines(place, max(low, left), min(high, right), color=colour, linewidth=width)
    ends = [value for value in (centre, low, high) if np.isfinite(value)]
    for beyond, edge, head in ((min(ends) < left, left, "<"), (max(ends) > right, right, ">")):
        if beyond:
            axes.plot(edge, place, head, color=colour, markersize=0.9 * size, clip_on=False)
    if left <= centre <= right:
        axes.plot(centre, place, markersize=size, markeredgewidth=2, zorder=3, **style)


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
    square = {"facecolor": colour, "edgecolor": "white", "linewidth": 2}
    if refused:
        square |= {"facecolor": "white", "hatch": "////"}
    axes.add_patch(Rectangle((column, row), 1, 1, **square))
    if not np.isfinite(difference) and not np.isfinite(p_value):
        words = "n/a"
    else:
        words = _number(difference, "+.3f")
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
    width = int(78 / count * 13 / _row_font(count))
    longest = max(max(map(len, _wrap(name, width, 3).split("\n"))) for name in order)
    if longest <= width and max(map(len, order)) <= 3 * width and width >= 6:
        return [_wrap(name, width, 3) for name in order], True
    return [f"{i + 1}." for i in range(count)], False


def _p_value_key(axes: Axes, refused: bool) -> None:
    """The colours' meaning, from "row better" through "not told apart" to "row worse"."""
    limits = [f"p < {limit:g}" for limit in P_LEVELS]
    colours = [*ROW_BETTER, PALE, *reversed(ROW_WORSE)]
    words = [*limits, "not told apart", *reversed(limits)]
    for place, (colour, word) in enumerate(zip(colours, words, strict=True)):
        ink = "white" if colour in (ROW_BETTER[0], ROW_WORSE[0]) else INK
        axes.add_patch(Rectangle((place, 0), 1, 1, facecolor=colour, edgecolor="white"))
        axes.text(place + 0.5, 0.5, word, ha="center", va="center", fontsize=9, color=ink)
    axes.text(-0.1, 0.5, "row better", ha="right", va="center", fontsize=11, color=ROW_BETTER[0])
    axes.text(7.1, 0.5, "row worse", ha="left", va="center", fontsize=11, color=ROW_WORSE[0])
    if refused:
        axes.add_patch(
            Rectangle((8.25, 0), 0.9, 1, facecolor="white", edgecolor="white", hatch="////")
        )
        axes.text(9.25, 0.5, "refused", ha="left", va="center", fontsize=11, color=GREY)
    axes.set(xlim=(-1.2, 10.1 if refused else 8.2), ylim=(0, 1))
    axes.set_axis_off()


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
            words = "no weights used" if name not in weights else "not defined"
            axes.text(2, place, words, va="center", fontsize=size, color=GREY, style="italic")
            continue
        colour = STATUS_COLOURS.get(row["status"], GREY)
        axes.barh(place, share, height=0.62, color=colour)
        inside = share > 75
        axes.text(
            share + (-2 if inside else 2), place, f"{share:.2g} %" if share < 10 else f"{share:.0f} %",
            ha="right" if inside else "left", va="center", fontsize=size,
            color="white" if inside else INK,
        )  # fmt: skip
    for threshold in thresholds:
        axes.axvline(100 * threshold, color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=0.5)
    axes.set(xlim=(0, 100), title="Effective sample size, % of logs")
    axes.set_xticks([0, *(100 * np.array(thresholds)), 100])
    axes.xaxis.set_major_formatter("{x:g}")
    axes.tick_params(axis="y", length=0)


def _weight_histograms(
    axes: Axes, order: Sequence[str], weights: Mapping[str, np.ndarray]
) -> None:
    """Ridges of log10 of the positive weights; what is off the chart stands in the end bins."""
    logs = {name: np.log10(values[values > 0]) for name, values in weights.items()}
    pooled = np.concatenate([np.zeros(1), *logs.values()])
    low, high = max(pooled.min() - 0.1, -4.0), min(pooled.max() + 0.1, 4.0)
    edges = np.linspace(min(low, -0.5), max(high, 0.5), 61)
    axes.axvline(0, color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=0.5)
    for place, name in enumerate(order):
        if name in logs:
            inside = np.clip(logs[name], edges[0], edges[-1])
            _ridge(axes, place, inside, edges, _line(order, name)["color"])
    powers = np.arange(np.ceil(edges[0]), np.floor(edges[-1]) + 1)
    axes.set_xticks(powers, [f"{10.0**power:g}" for power in powers])
    axes.set(xlim=(edges[0], edges[-1]), title="Weights (log scale)")
    axes.tick_params(axis="y", length=0, labelleft=False)
    axes.spines["left"].set_visible(False)


def _weight_numbers(
    axes: Axes, summary: pd.DataFrame, weights: Mapping[str, np.ndarray], size: float
) -> None:
    columns = {"mean": 0.3, "max share": 0.6, "zeros": 0.88}
    right = axes.get_yaxis_transform()
    for word, place in columns.items():
        axes.text(place, 1.02, word, transform=axes.transAxes, ha="right", fontweight="bold")
    for place, (name, row) in enumerate(summary.iterrows()):
        if name in weights:
            shares = [f"{100 * row[key]:.2g} %" for key in ("max_share", "zero_share")]
            for x, words in zip(columns.values(), [f"{row['mean_weight']:.3g}", *shares], strict=True):
                axes.text(x, place, words, transform=right, ha="right", va="center", fontsize=size)
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
    names = sorted(carried, key=carried.get, reverse=True)
    handles = [Line2D([], [], linewidth=2.2, **_line(order, name)) for name in names]
    labels = [f"{_wrap(name, 24, 1)}: {100 * carried[name]:.2g} %" for name in names]
    handles.append(Line2D([], [], color=INK, linewidth=1, linestyle=(0, (4, 3))))
    labels.append("equal weights")
    key.set_axis_off()
    key.legend(
        handles, labels, loc="upper left", borderaxespad=0, fontsize=_row_font(len(names) * 1.6, 11),
        title="Carried by the heaviest 1 % of logs", title_fontproperties={"weight": "bold", "size": 12},
        alignment="left", labelspacing=0.3,
    )


def _line(order: Sequence[str], name: str) -> dict[str, object]:
    """A colour, and dashes once the colours are used up."""
    place = list(order).index(name)
    dashes = "solid" if place < len(POLICY_COLOURS) else (0, (5, 1.5))
    return {"color": POLICY_COLOURS[place % len(POLICY_COLOURS)], "linestyle": dashes}
