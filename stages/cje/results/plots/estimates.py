"""Every policy's estimate with its interval and verdict."""

import os

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from cje.results.plots.style import (
    IN_ROW,
    VERDICT_STYLES,
    VERDICT_WORDS,
    Keywords,
    counted,
    drawing,
    finite,
    interval_mark,
    marked,
    message,
    number,
    policy_ticks,
    reach,
    rounded,
    row_font,
    wrap,
)
from cje.results.theme import GREEN, GREY, INK
from cje.vocabulary import Verdict

JUDGE: Keywords = {"color": INK, "marker": "|", "markerfacecolor": INK}


def estimates(
    path: str | os.PathLike[str],
    table: pd.DataFrame,
    truth: pd.DataFrame | None = None,
    *,
    base: str | None = None,
    alpha: float = 0.05,
    title: str | None = None,
) -> None:
    """Every policy's estimate with its interval and verdict, best first and the refused ones last.

    `table`: indexed by policy, `v_hat`, `ci_low`, `ci_high` on the utility scale, `verdict`
    (reliable, caution, refuse), and where it is known `raw_judge`, the judge's mean score. `truth`:
    indexed by policy, `oracle_truth`, `ci_low`, `ci_high`. `base`: the policy that wrote the logs.
    `title`: what the verdicts and comparisons allow to say. A NaN estimate keeps its row. The axis
    is that of the policies that are not refused; what runs off it ends in an arrow.
    """
    rows = table.sort_values("v_hat", ascending=False, kind="stable", na_position="last")
    rows = rows.loc[rows["verdict"].eq(Verdict.REFUSE).sort_values(kind="stable").index]
    title = title or _highest(rows)
    with drawing(path, title, _verdict_counts(rows, alpha)) as figure:
        if rows.empty:
            message(figure, "No policy was estimated.")
            return
        axes = figure.subplots()
        truth = pd.DataFrame() if truth is None else truth.reindex(rows.index).dropna(how="all")
        kept = rows[rows["verdict"] != Verdict.REFUSE]
        shown = kept if kept["v_hat"].notna().any() else rows
        ends = [shown[["v_hat", "ci_low", "ci_high"]].to_numpy(float).ravel()]
        ends.append(truth.reindex(shown.index).select_dtypes("number").to_numpy(float).ravel())
        low, high = reach(np.concatenate(ends))
        if "raw_judge" in shown:  # as far as it makes the axis no longer than by a half
            judges, room = finite(shown["raw_judge"]), (high - low) / 4
            low, high = reach([low, high], *judges[(judges > low - room) & (judges < high + room)])
        axes.set(xlim=(low, high), ylim=(len(rows) - 0.4, -0.6))
        size = row_font(len(rows))
        for place, (name, row) in enumerate(rows.iterrows()):
            _estimate_row(axes, place, row, size)
            if name in truth.index:
                interval_mark(
                    axes, place + 0.24, truth.loc[name, "oracle_truth"],
                    truth.loc[name, "ci_low"], truth.loc[name, "ci_high"],
                    {"color": GREEN, "marker": "D", "markerfacecolor": GREEN}, 7, 1.4,
                )  # fmt: skip
            if np.isfinite(judge := row.get("raw_judge", np.nan)):
                interval_mark(axes, place - 0.24, judge, judge, judge, JUDGE, 9, 1.4)
        policy_ticks(axes, marked(rows.index, base), size)
        for label, verdict in zip(axes.get_yticklabels(), rows["verdict"], strict=True):
            label.set_color(GREY if verdict == Verdict.REFUSE else INK)
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0, pad=9)  # of the arrows
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("Expected oracle utility")
        seen = [verdict for verdict in VERDICT_STYLES if verdict in set(rows["verdict"])]
        handles = [Line2D([], [], markersize=9, linewidth=2, **VERDICT_STYLES[v]) for v in seen]
        names = [f"estimate: {VERDICT_WORDS[verdict]}" for verdict in seen]
        if not truth.empty:
            handles.append(Line2D([], [], color=GREEN, marker="D", markersize=7, linewidth=1.4))
            names.append("oracle truth")
        if "raw_judge" in rows and rows["raw_judge"].notna().any():
            handles.append(Line2D([], [], linewidth=0, markersize=9, **JUDGE))
            names.append("raw judge")
        figure.legend(handles, names, loc="outside lower center", ncols=4, fontsize=11)


def estimates_data(table: pd.DataFrame, truth: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row a policy: `policy`, `v_hat`, `ci_low`, `ci_high`, `verdict`, where it is known
    `raw_judge`, and with `truth` its `oracle_truth`; arguments as in `estimates`."""
    columns = ["v_hat", "ci_low", "ci_high", "verdict", "raw_judge"]
    data = table[[column for column in columns if column in table]]
    if truth is not None:
        data = data.join(truth["oracle_truth"])
    return rounded(data.rename_axis("policy").reset_index())


def _highest(rows: pd.DataFrame) -> str:
    """The title where nothing is known of comparisons."""
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
    interval_mark(axes, place, row["v_hat"], row["ci_low"], row["ci_high"], style, 10, 2.4)
    numbers = f"{number(row['v_hat'])}   {number(row['ci_low'])} to {number(row['ci_high'])}"
    if row["verdict"] == Verdict.REFUSE:
        numbers = "".join(mark + "\N{COMBINING LONG STROKE OVERLAY}" for mark in numbers)
    text: Keywords = {"transform": right, "fontsize": size, "color": style["color"], **IN_ROW}
    axes.text(1.02, place, numbers, **text)
