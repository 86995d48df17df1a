"""The figures as Markdown."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

METHODS = {
    "labels": "labels' mean",
    "ppi_py": "ppi_py",
    "glide": "GLIDE",
    "glide_two": "GLIDE, two proxies",
    "glide_active": "GLIDE, active",
    "glide_cost": "GLIDE, cost-optimal",
    "direct": "direct",
    "former": "CJE before",
    "former_audited": "CJE before, audited",
    "ours": "**CJE**",
    "ours_active": "**CJE**, active",
    "former_logps": "CJE before, with log-probabilities",
    "ours_logps": "**CJE**, with log-probabilities",
}
FIGURES = ("error", "coverage", "worst", "width", "claims", "wrong", "regret")
HEAD = "squared error | covered | worst policy | width | differences | wrong | regret"


def summary(rows: pd.DataFrame) -> list[str]:
    """By number of labels and method, the means over the sets; the lowest coverage of any policy
    in any set; and the wrong ones of all claims together."""
    common = rows[~rows["method"].str.endswith("_logps")]
    lines = [f"| labels | method | {HEAD} |", rule(9)]
    for labels, own in common.groupby("labels"):
        for method in ordered(own["method"]):
            found = own[own["method"] == method]
            means = found[list(FIGURES)].mean().to_dict()
            wrong = (found["wrong"].fillna(0) * found["claims"]).mean()
            means["wrong"] = wrong / means["claims"] if means["claims"] else np.nan
            means["worst"] = found["worst"].min()
            lines.append(f"| {labels} | {METHODS[method]} | {cells(means)} |")
    return lines


def by_set(rows: pd.DataFrame) -> list[str]:
    """A table a set."""
    lines = []
    for _, own in rows.groupby("set", sort=False):
        lines += ["", f"### {own['title'].iloc[0]}", "", f"| labels | method | {HEAD} |", rule(9)]
        for labels, found in own.groupby("labels"):
            for method in ordered(found["method"]):
                row = found[found["method"] == method].iloc[0]
                lines.append(f"| {labels} | {METHODS[method]} | {cells(row)} |")
    return lines


def verdicts(rows: pd.DataFrame) -> list[str]:
    """What CJE says of its own numbers, and how often they are then right."""
    lines = [
        "| set | labels | reliable / caution / refuse | reliable: covered | worst policy "
        "| policies in `best` | the truly best is in it |",
        rule(7),
    ]
    for row in rows.to_dict("records"):
        shares = " / ".join(f"{100 * row[word]:.0f}" for word in ("reliable", "caution", "refuse"))
        lines.append(
            f"| {row['set']} | {row['labels']} | {shares} % | {percent(row['coverage'])} "
            f"| {percent(row['worst'])} | {row['best_size']:.1f} | {percent(row['best_holds'])} |"
        )
    return lines


def useless(rows: pd.DataFrame) -> list[str]:
    """CJE against the labels' mean where the judge says nothing."""
    lines = ["| set | labels | squared error | covered | worst policy | width |", rule(6)]
    for row in rows[rows["method"] == "ours"].to_dict("records"):
        lines.append(
            f"| {row['set']} | {row['labels']} | {row['error']:.2f} | {percent(row['coverage'])} "
            f"| {percent(row['worst'])} | {row['width']:.2f} |"
        )
    return lines


def notes(rows: pd.DataFrame, redraws: int, absent: Mapping[str, str]) -> list[str]:
    """How far the figures can be off, and what is not in them."""
    doubt = rows.loc[rows["error"].lt(1) & rows["method"].ne("labels"), "error_se"]
    lines = [f"{redraws} redraws a set."]
    if len(doubt):
        lines[0] += (
            f" Standard error of the squared errors below 1: at most {doubt.max():.2f}, on average "
            f"{doubt.mean():.2f}."
        )
    refused = rows[rows["missing"] > 0]
    if len(refused):
        shares = refused.groupby("method", sort=False)["missing"].max()
        words = "; ".join(f"{METHODS[name]} {percent(share)}" for name, share in shares.items())
        lines += ["", f"No answer, in the set where that is most frequent: {words}."]
    for title, reason in absent.items():
        lines += ["", f"Left out: {title}, as {reason}."]
    return lines


def ordered(methods: Iterable[str]) -> list[str]:
    present = set(methods)
    return [method for method in METHODS if method in present]


def rule(columns: int) -> str:
    return f"|{'---|' * columns}"


def percent(share: float) -> str:
    return "-" if np.isnan(share) else f"{100 * share:.1f} %"


def cells(row: Mapping[str, float]) -> str:
    return (
        f"{row['error']:.2f} | {percent(row['coverage'])} | {percent(row['worst'])} "
        f"| {row['width']:.2f} | {percent(row['claims'])} | {percent(row['wrong'])} "
        f"| {row['regret']:.3f}"
    )
