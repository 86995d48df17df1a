"""Every policy's estimate with its interval and verdict."""

import os
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from cje.plots.style import (
    GREEN,
    GREY,
    INK,
    VERDICT_STYLES,
    VERDICT_WORDS,
    counted,
    drawing,
    finite,
    marked,
    message,
    number,
    policy_ticks,
    rounded,
    row_font,
    wrap,
)
from cje.vocabulary import Verdict


def estimates(
    path: str | os.PathLike,
    table: pd.DataFrame,
    truth: pd.DataFrame | None = None,
    *,
    base: str | None = None,
    alpha: float = 0.05,
) -> None:
    """Every policy's estimate with its interval and verdict, best first and the refused ones last.

    `table`: indexed by policy, `v_hat`, `ci_low`, `ci_high` on the utility scale, `verdict`
    (reliable, caution, refuse). `truth`: indexed by policy, `oracle_truth`, `ci_low`, `ci_high`.
    `base`: the policy that wrote the logs. A NaN estimate keeps its row. An interval that runs off
    the chart ends in an arrow.
    """
    rows = table.sort_values("v_hat", ascending=False, kind="stable", na_position="last")
    rows = rows.loc[rows["verdict"].eq(Verdict.REFUSE).sort_values(kind="stable").index]
    with drawing(path, _estimates_title(rows), _verdict_counts(rows, alpha)) as figure:
        if rows.empty:
            message(figure, "No policy was estimated.")
            return
        axes = figure.subplots()
        truth = pd.DataFrame() if truth is None else truth.reindex(rows.index).dropna(how="all")
        ends = [rows[["v_hat", "ci_low", "ci_high"]].to_numpy(float).ravel()]
        ends.append(truth.select_dtypes("number").to_numpy(float).ravel())
        ends = finite(np.concatenate(ends))
        low, high = (max(ends.min(), -0.25), min(ends.max(), 1.25)) if ends.size else (0.0, 1.0)
        pad = 0.04 * (high - low) if high > low else 0.05
        axes.set(xlim=(low - pad, high + pad), ylim=(len(rows) - 0.4, -0.6))
        size = row_font(len(rows))
        for place, (name, row) in enumerate(rows.iterrows()):
            _estimate_row(axes, place, row, size)
            if name in truth.index:
                _interval(
                    axes, place + 0.24, truth.loc[name, "oracle_truth"],
                    truth.loc[name, "ci_low"], truth.loc[name, "ci_high"],
                    {"color": GREEN, "marker": "D", "markerfacecolor": GREEN}, 7, 1.4,
                )  # fmt: skip
        policy_ticks(axes, marked(rows.index, base), size)
        for label, verdict in zip(axes.get_yticklabels(), rows["verdict"], strict=True):
            label.set_color(GREY if verdict == Verdict.REFUSE else INK)
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


def estimates_data(table: pd.DataFrame, truth: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row a policy: `policy`, `v_hat`, `ci_low`, `ci_high`, `verdict`, and with `truth` its
    `oracle_truth`; arguments as in `estimates`."""
    data = table[["v_hat", "ci_low", "ci_high", "verdict"]]
    if truth is not None:
        data = data.join(truth["oracle_truth"])
    return rounded(data.rename_axis("policy").reset_index())


def _estimates_title(rows: pd.DataFrame) -> str:
    kept = rows[rows["v_hat"].notna() & (rows["verdict"] != Verdict.REFUSE)]
    if kept.empty:
        return "No estimate may be believed" if len(rows) else "Estimates"
    best = f"{wrap(str(kept.index[0]), 34, 1)} at {number(kept['v_hat'].iloc[0])}"
    return f"Estimate: {best}" if len(rows) == 1 else f"Highest estimate: {best}"


def _verdict_counts(rows: pd.DataFrame, alpha: float) -> str:
    counts = [f"{(rows['verdict'] == v).sum()} {word}" for v, word in VERDICT_WORDS.items()]
    level = f"{100 * (1 - alpha):g} % intervals"
    return f"{counted(len(rows), 'policy').replace('policys', 'policies')} with {level}: " + (
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
    numbers = f"{number(row['v_hat'])}  [{number(row['ci_low'])}, {number(row['ci_high'])}]"
    if row["verdict"] == Verdict.REFUSE:
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
