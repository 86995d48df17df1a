"""A run on the screen: `python -m cje.console` prints what the last one found.

Colours are from the 256, each readable on black and on white, and never say anything alone.
"""

import os
import sys

import pandas as pd
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cje.errors import CJEError
from cje.runs import Run, open_run
from cje.tables import LOGGED, read_table

GREEN, ORANGE, RED = "color(28)", "color(166)", "color(160)"
VERDICT_STYLES = {"reliable": GREEN, "caution": ORANGE, "refuse": f"bold {RED}"}
STATUS_STYLES = {"GOOD": GREEN, "WARNING": ORANGE, "CRITICAL": f"bold {RED}"}
SEVERITY_STYLES = {"warning": ORANGE, "critical": RED}
WRAPPING = ("policy", "pair", "issues", "model")
PIPED_WIDTH = 100
LINE = 50  # characters of a drawn interval


def screen() -> Console:
    """The console to print to: as wide as the terminal, or as COLUMNS says."""
    own = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(highlight=False, width=None if own else PIPED_WIDTH)


def print_summary(run: Run, console: Console) -> None:
    """The question, the estimates, the weights, what the guard rails say, and what to do next."""
    console.print(*question(run), sep="\n")
    console.print(estimates_table(run))
    for line in who_was_right(run):
        console.print(line)
    console.print(*legend(run), sep="\n", style="dim")
    console.print(weights_table(run))
    print_violations(run, console)
    console.print()
    console.print(*conclusion(run), sep="\n", style="bold")
    console.print(*NEXT, sep="\n", style="dim")


NEXT = (
    "Next: cje report (a page to show), cje analyze (comparisons, CSV), cje export (files)",
    "Change a setting: cje run --oracle-fraction 0.5, or dvc exp run -S oracle_fraction=0.5",
)


def question(run: Run) -> list[str]:
    """What was done, for someone who reads it for the first time."""
    logs, scores = (
        len(read_table(run.data / f"{name}.parquet", name, ["uid"]))
        for name in ("logs", "proxy_scores")
    )
    labels = read_table(run.data / "oracle_labels.parquet", "oracle_labels", ["draw"])["draw"]
    logged = int((labels == LOGGED).sum())
    settings = run.settings
    if settings.source == "files":
        base, oracle = "The base policy", "The oracle (dear, and right)"
        judge = "the judge (cheap, and biased)"
    else:
        base = settings.base_model
        judge = f"{settings.proxy_model} (the judge: cheap, and biased)"
        oracle = f"{settings.oracle_model} (the oracle: dear, and right)"
    return [
        "How good is each policy, a model with its system prompt and its sampling settings?",
        f"{base} answered {logs:,} prompts. {oracle} labelled {logged:,} of its answers and "
        f"{len(labels) - logged:,} of the others'; {judge} scored {scores:,} answers, of all "
        "policies. Estimated from that: the oracle's mean over each policy's answers, from 0 to 1.",
    ]


def new_table(title: str, columns: dict[str, str]) -> Table:
    """A plain table; `columns` name to left or right. Names and lists wrap, numbers do not."""
    table = Table(
        title=f"\n{title}", title_style="bold", title_justify="left", box=box.SIMPLE_HEAD,
        show_edge=False, pad_edge=False, collapse_padding=True, caption_style="dim",
        caption_justify="left",
    )  # fmt: skip
    for name, side in columns.items():
        table.add_column(name, justify=side, overflow="fold", no_wrap=name not in WRAPPING)
    return table


def estimates_table(run: Run) -> Table:
    """Policies from best to worst, the refused ones last and struck out."""
    interval = f"{100 * (1 - run.settings.alpha):g} % interval"
    table = new_table(
        "Expected oracle utility by policy",
        {
            "policy": "left", "judge": "right", "estimate": "right", interval: "right",
            "oracle truth": "right", "truth is": "left", "verdict": "left",
        },
    )  # fmt: skip
    for policy, row in run.estimates.iterrows():
        struck = "strike" if row["verdict"] == "refuse" else ""
        known = pd.notna(row["oracle_truth"])
        table.add_row(
            Text(policy),
            three(row["judge_alone"]),
            Text.assemble((three(row["v_hat"]), struck)),
            Text.assemble((f"{three(row['ci_low'])} to {three(row['ci_high'])}", struck)),
            f"{three(row['oracle_truth'])} ± {three(row['se_truth'])}" if known else "-",
            ("inside" if row["covered"] else "outside") if known else "-",
            Text(row["verdict"], style=VERDICT_STYLES[row["verdict"]]),
        )
    return table


def three(value: float) -> str:
    """A number in three decimals; a dash where there is none."""
    return "-" if pd.isna(value) else f"{value:.3f}"


def who_was_right(run: Run) -> list[str]:
    """The estimates and the judge alone against the truth, where that is known."""
    known = run.estimates.dropna(subset=["oracle_truth", "judge_alone"])
    alone = (known["judge_alone"] - known["oracle_truth"]).abs()
    kept = known["verdict"] != "refuse"
    lines = []
    for rows, words in ((kept | ~kept, "all policies"), (kept, "those that are not refused")):
        if rows.any() and (words == "all policies" or not rows.all()):
            lines.append(
                f"Mean distance to the truth, {words}: estimate "
                f"{known['absolute_error'][rows].mean():.3f}, judge {alone[rows].mean():.3f}."
            )
    return lines


def legend(run: Run) -> list[str]:
    """What the columns mean."""
    lines = ["judge: its scores alone, calibrated to the oracle, before the labels correct them."]
    if run.estimates["labels"].notna().any():
        lines.append(
            f"oracle truth: the oracle's mean over {int(run.estimates['labels'].max()):,} fresh "
            "answers of the policy itself, ± its standard error; truth is inside where the two "
            "agree within their errors. It checks the estimate, and made none of it."
        )
    return lines


def weights_table(run: Run) -> Table:
    """How well the logs reach each policy: the weights that its estimate used, and the exact ones
    of its log-probabilities."""
    table = new_table(
        "Importance weights",
        {
            "policy": "left", "weights": "left", "ESS": "right", "exact ESS": "right",
            "exact mean": "right", "status": "left", "issues": "left",
        },
    )  # fmt: skip
    issues = run.weight_issues
    for policy, row in run.diagnostics.iterrows():
        used = run.estimates.loc[policy, "weights"]
        mean = row.get("sequence_mean_weight")
        table.add_row(
            Text(policy),
            used,
            "-" if used == "none" else share(row["ess"]),
            share(row.get("sequence_ess")),
            "-" if pd.isna(mean) else f"{mean:.2f}",
            Text(row["status"], style=STATUS_STYLES[row["status"]]),
            ", ".join(issues[policy]).replace("_", " ") or "none",
        )
    table.caption = (
        "ESS: the share of the logs that still speak once they are weighted to the policy; exact: "
        "by its log-probabilities, whose mean weight is 1 where the logs reach all of its answers."
    )
    return table


def share(value: float | None) -> str:
    """A share in per cent."""
    return "-" if value is None or pd.isna(value) else f"{100 * value:.3g} %"


def print_violations(run: Run, console: Console) -> None:
    """What the guard rails found, and what would mend it: one remedy for all that share it."""
    if not len(run.violations):
        console.print(Text("The guard rails found nothing.", style=GREEN))
        return
    console.print("\nWhat the guard rails found", style="bold")
    groups = run.violations.groupby(["code", "severity", "remedy"], sort=False)
    for (code, severity, remedy), rows in groups:
        style = SEVERITY_STYLES[severity]
        console.print(Text.assemble((code, f"bold {style}"), (f" {severity}", style)))
        for row in rows.itertuples():
            console.print(indented(Text(f"{row.policy or 'all policies'}: {row.message}")))
        console.print(indented(Text.assemble(("remedy: ", "bold"), remedy)))


def indented(text: Text) -> Padding:
    """A paragraph of which every line is set in."""
    return Padding(text, (0, 0, 0, 2), expand=False)


def conclusion(run: Run) -> list[str]:
    """The best policy and those that may be as good."""
    if run.best_policy is None:
        return ["No estimate may be believed: see the remedies above."]
    lines = [f"Best policy that is not refused: {run.best_policy}"]
    if run.rivals:
        lines.append(f"No difference beyond chance from it: {', '.join(run.rivals)}")
    return lines


def intervals_table(run: Run) -> Table:
    """Every interval on one scale, in text."""
    found = run.estimates
    ends = found[["ci_low", "ci_high", "oracle_truth"]]
    low, high = float(ends.min().min()), float(ends.max().max())
    ruler = f"{low:.3f}{f'{high:.3f}':>{LINE - 5}}"
    table = new_table("Intervals", {"policy": "left", ruler: "left"})
    for policy, row in found.iterrows():
        places = [
            None if pd.isna(value) else round((value - low) / ((high - low) or 1) * (LINE - 1))
            for value in row[["ci_low", "v_hat", "ci_high", "oracle_truth"]]
        ]
        table.add_row(Text(policy), Text(line(*places), style=VERDICT_STYLES[row["verdict"]]))
    table.caption = "o: estimate, x: oracle truth, *: both"
    return table


def line(low: int, value: int, high: int, truth: int | None) -> str:
    """An interval drawn in characters."""
    drawn = [" "] * LINE
    drawn[low : high + 1] = "-" * (high + 1 - low)
    if truth is not None:
        drawn[truth] = "x"
    drawn[value] = "*" if truth == value else "o"
    return "".join(drawn)


def comparisons_table(run: Run) -> Table:
    """Every pair of policies: difference, interval, Holm-corrected p-value."""
    alpha = run.settings.alpha
    table = new_table(
        "Differences between policies, on the same prompts",
        {
            "pair": "left", "difference": "right", f"{100 * (1 - alpha):g} % interval": "right",
            "p, Holm": "right", "told apart": "left",
        },
    )  # fmt: skip
    refused = set(run.estimates.index[run.estimates["verdict"] == "refuse"])
    order = {policy: place for place, policy in enumerate(run.estimates.index)}
    rows = []
    for row in run.comparisons.to_dict("records"):
        a, b, sign = row["policy_a"], row["policy_b"], 1
        if order[a] > order[b]:
            a, b, sign = b, a, -1
        ends = sorted((sign * row["ci_low"], sign * row["ci_high"]))
        p = row["p_value_corrected"]
        word = "refused" if refused & {a, b} else "yes" if p < alpha else "no"
        rows.append((order[a], order[b], f"{a} - {b}", sign * row["difference"], ends, p, word))
    for _, _, pair, difference, (low, high), p, word in sorted(rows):
        table.add_row(
            Text(pair), f"{difference:+.3f}", f"{low:+.3f} to {high:+.3f}", p_words(p),
            Text(word, style={"yes": GREEN}.get(word, "dim")),
        )  # fmt: skip
    return table


def p_words(p: float) -> str:
    """A p-value in words."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def main() -> None:
    """Print the summary of the run in this folder."""
    try:
        print_summary(open_run("."), screen())
    except CJEError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
