"""Every policy against the base policy: the difference of the estimates, with its interval."""

import os

import pandas as pd
from matplotlib.lines import Line2D

from cje.results.plots.style import (
    IN_ROW,
    Keywords,
    drawing,
    interval_mark,
    message,
    number,
    policy_ticks,
    reach,
    rounded,
    row_font,
    wrap,
)
from cje.results.theme import AMBER, BLUE, GREY, INK
from cje.results.words import differences_title
from cje.vocabulary import Verdict

TOLD_STYLES: dict[str, Keywords] = {
    "better": {"color": BLUE, "marker": "o", "markerfacecolor": BLUE},
    "worse": {"color": AMBER, "marker": "o", "markerfacecolor": AMBER},
    "same": {"color": GREY, "marker": "o", "markerfacecolor": "white"},
}


def differences(
    path: str | os.PathLike[str],
    table: pd.DataFrame,
    verdicts: pd.Series,
    *,
    base: str,
    alpha: float = 0.05,
) -> None:
    """Every policy less the base policy, best first, and those that are refused last.

    `table`: indexed by policy, without the base and the refused ones: `difference`, `ci_low`,
    `ci_high`, `p_value_corrected`, `told` (better, worse, same). `verdicts`: indexed by policy, of
    all of them.
    """
    rows = table.sort_values("difference", ascending=False, kind="stable")
    refused = [name for name in verdicts.index if verdicts[name] == Verdict.REFUSE and name != base]
    words = f"On the same prompts, {100 * (1 - alpha):g} % intervals; clearly different where "
    words += f"p < {alpha:g}, Holm-corrected for all pairs"
    title = differences_title(rows, wrap(base, 34, 1), 24)
    with drawing(path, title, words if len(rows) else "") as figure:
        if rows.empty:
            message(figure, f"No policy can be compared with {wrap(base, 40, 1)}.")
            return
        axes = figure.subplots()
        names = [*rows.index, *refused]
        low, high = reach(rows[["difference", "ci_low", "ci_high"]].to_numpy(float), 0.0)
        axes.set(xlim=(low, high), ylim=(len(names) - 0.4, -0.6))
        axes.axvline(0, color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=0.6)  # above the grid
        size, right = row_font(len(names)), axes.get_yaxis_transform()
        for place, row in enumerate(rows.itertuples()):
            style = TOLD_STYLES[row.told]
            interval_mark(axes, place, row.difference, row.ci_low, row.ci_high, style, 10, 2.4)
            text = f"{number(row.difference, '+.3f')}  "
            text += f"{number(row.ci_low, '+.3f')} to {number(row.ci_high, '+.3f')}"
            axes.text(1.02, place, text, transform=right, fontsize=size, color=INK, **IN_ROW)
        for place in range(len(rows), len(names)):
            axes.text(1.02, place, "refused", transform=right, fontsize=size, color=GREY,
                      **IN_ROW)  # fmt: skip
        policy_ticks(axes, names, size)
        for label, name in zip(axes.get_yticklabels(), names, strict=True):
            label.set_color(GREY if name in refused else INK)
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(f"Expected oracle utility less that of {wrap(base, 40, 1)}")
        seen = [told for told in TOLD_STYLES if told in set(rows["told"])]
        handles = [Line2D([], [], markersize=9, linewidth=2, **TOLD_STYLES[told]) for told in seen]
        legend = {"better": "better than the base", "worse": "worse", "same": "no clear difference"}
        figure.legend(
            handles, [legend[t] for t in seen], loc="outside lower center", ncols=3, fontsize=11
        )


def differences_data(table: pd.DataFrame) -> pd.DataFrame:
    """One row a policy: `policy`, `difference`, `ci_low`, `ci_high`, `told`; `table` as in
    `differences`."""
    data = table[["difference", "ci_low", "ci_high", "told"]]
    data = data.astype({"difference": float, "ci_low": float, "ci_high": float})
    return rounded(data.rename_axis("policy").reset_index())
