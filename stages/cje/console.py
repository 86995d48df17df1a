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
from cje.stats.guardrails import RAILS
from cje.tables import LOGGED, read_table
from cje.vocabulary import Evidence, Severity, Status, Verdict, WeightKind

GREEN, ORANGE, RED = "color(28)", "color(166)", "color(160)"
VERDICT_STYLES = {Verdict.RELIABLE: GREEN, Verdict.CAUTION: ORANGE, Verdict.REFUSE: f"bold {RED}"}
STATUS_STYLES = {Status.GOOD: GREEN, Status.WARNING: ORANGE, Status.CRITICAL: f"bold {RED}"}
SEVERITY_STYLES = {Severity.WARNING: ORANGE, Severity.CRITICAL: RED}
MEANINGS = {rail.code: rail.meaning for rail in RAILS}
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
    """Policies from best to worst, the refused ones last and struck out; narrow enough for 80
    columns."""
    interval = f"{100 * (1 - run.settings.alpha):g} % interval"
    table = new_table(
        "Expected oracle utility by policy",
        {
            "policy": "left", "judge": "right", "estimate": "right", interval: "right",
            "evidence": "left", "truth": "left", "verdict": "left",
        },
    )  # fmt: skip
    for policy, row in run.estimates.iterrows():
        struck = "strike" if row["verdict"] == Verdict.REFUSE else ""
        place = "in" if row["covered"] else "out"
        table.add_row(
            Text(named(run, policy)),
            three(row["judge_alone"]),
            Text.assemble((three(row["v_hat"]), struck)),
            Text.assemble((f"{three(row['ci_low'])} to {three(row['ci_high'])}", struck)),
            evidence_words(row),
            f"{three(row['oracle_truth'])} {place}" if pd.notna(row["oracle_truth"]) else "-",
            Text(row["verdict"], style=VERDICT_STYLES[row["verdict"]]),
        )
    return table


def named(run: Run, policy: str) -> str:
    """The policy's name, with a word where it is the base policy under another one."""
    return f"{policy} (base)" if policy == run.base and policy != "base" else policy


def evidence_words(row: pd.Series) -> str:
    """What checks the number, in few words: `100 labels`, `weights`, `100 + weights`, `nothing`."""
    labels = f"{row['labels']:,.0f}"
    return {
        Evidence.LABELS: f"{labels} labels",
        Evidence.WEIGHTS: "weights",
        Evidence.BOTH: f"{labels} + weights",
        Evidence.NONE: "nothing",
    }[Evidence(row["evidence"])]


def three(value: float) -> str:
    """A number in three decimals; a dash where there is none."""
    return "-" if pd.isna(value) else f"{value:.3f}"


def who_was_right(run: Run) -> list[str]:
    """The estimates and the judge alone against the truth, where that is known, of the policies
    that are not refused."""
    known = run.kept.dropna(subset=["oracle_truth", "judge_alone"])
    if known.empty:
        return []
    alone = (known["judge_alone"] - known["oracle_truth"]).abs().mean()
    whose = " of those that are not refused" if run.refused else ""
    return [
        f"Mean distance to the truth{whose}: estimate {known['absolute_error'].mean():.3f}, "
        f"judge {alone:.3f}."
    ]


def truth_table(run: Run) -> Table:
    """The estimates against the oracle's labels that none of them used."""
    table = new_table(
        "Against the oracle's truth",
        {
            "policy": "left", "estimate": "right", "oracle truth": "right", "labels": "right",
            "distance": "right", "truth is": "left", "judge": "right",
        },
    )  # fmt: skip
    for policy, row in run.estimates.dropna(subset=["oracle_truth"]).iterrows():
        struck = "strike" if row["verdict"] == Verdict.REFUSE else ""
        table.add_row(
            Text(named(run, policy)),
            Text(three(row["v_hat"]), struck),
            f"{three(row['oracle_truth'])} ± {three(row['se_truth'])}",
            f"{row['truth_labels']:,.0f}",
            Text(three(row["absolute_error"]), struck),
            "inside" if row["covered"] else "outside",
            three(row["judge_alone"]),
        )
    return table


def legend(run: Run) -> list[str]:
    """What the columns mean."""
    lines = [
        "judge: its scores alone, calibrated on the base policy's labels, before a policy's own "
        "labels correct them.",
        "evidence: what checks the number: labels on its own answers, exact weights of the "
        "logs, or nothing; without evidence it is a projection, and refused.",
    ]
    known = run.estimates.dropna(subset=["oracle_truth"])
    if len(known):
        lines.append(
            f"truth: the oracle's mean over {int(known['truth_labels'].max()):,} answers of the "
            "policy that no estimate used; in or out: whether the two agree within their errors "
            f"(its standard error is at most {known['se_truth'].max():.3f})."
        )
    return lines


def weights_table(run: Run) -> Table | str:
    """How well the logs reach each policy: the weights that its estimate used, and the exact ones
    of its log-probabilities, used or not."""
    facts = run.diagnostics
    used = facts["weights"] != WeightKind.NONE
    if not used.any() and facts["sequence_ess"].isna().all():
        return (
            "\nImportance weights: none. There are no log-probabilities, and no estimate uses "
            "learned weights."
        )
    table = new_table(
        "Importance weights",
        {
            "policy": "left", "weights": "left", "ESS": "right", "exact ESS": "right",
            "exact mean": "right", "reach": "left", "status": "left", "issues": "left",
        },
    )  # fmt: skip
    issues = run.weight_issues
    for policy, row in facts.iterrows():
        status, reach, mean = row["status"], row["reach"], row["sequence_mean_weight"]
        table.add_row(
            Text(named(run, policy)),
            row["weights"],
            share(row["ess"]) if used[policy] else "-",
            share(row["sequence_ess"]),
            "-" if pd.isna(mean) else f"{mean:.2f}",
            "-" if pd.isna(row["sequence_ess"]) else reach,
            Text(status, STATUS_STYLES[status]) if used[policy] else Text("not used", "dim"),
            ", ".join(issues[policy]).replace("_", " ") or "none",
        )
    table.caption = (
        "ESS: the share of the logs that still speak once they are weighted to the policy; exact: "
        "by its log-probabilities, whose mean weight is 1 where the logs reach all of its answers; "
        "reach: how far those would carry an estimate. One that does not use them stands on its "
        "own labels, whatever they are, or is refused."
    )
    return table


def share(value: float | None) -> str:
    """A share in per cent."""
    return "-" if value is None or pd.isna(value) else f"{100 * value:.3g} %"


def print_violations(run: Run, console: Console) -> None:
    """What the guard rails found, and what would mend it: one remedy for all that share it; what
    changes no verdict last, in a line each."""
    if len(run.issues):
        console.print("\nWhat the guard rails found", style="bold")
    else:
        console.print(Text("The guard rails found nothing to doubt.", style=GREEN))
    groups = run.issues.groupby(["code", "severity", "remedy"], sort=False)
    for (code, severity, remedy), rows in groups:
        style = SEVERITY_STYLES[severity]
        console.print(Text.assemble((code, f"bold {style}"), (f" {severity}", style)))
        for row in rows.itertuples():
            console.print(indented(Text(f"{row.policy or 'all policies'}: {row.message}")))
        console.print(indented(Text.assemble(("remedy: ", "bold"), remedy)))
    if len(run.notes):
        console.print("Notes, which change no verdict (metrics/violations.csv):", style="dim")
    for code, rows in run.notes.groupby("code", sort=False):
        names = ", ".join(dict.fromkeys(rows["policy"].replace("", "all policies")))
        console.print(indented(Text(f"{code}: {MEANINGS[code]} ({names})", style="dim")))


def indented(text: Text) -> Padding:
    """A paragraph of which every line is set in."""
    return Padding(text, (0, 0, 0, 2), expand=False)


def conclusion(run: Run) -> list[str]:
    """The best policy, those that no other beats either, and those that are refused."""
    if run.best_policy is None:
        return ["No estimate may be believed: see the remedies of the guard rails."]
    lines = [f"Best policy that is not refused: {run.best_policy}"]
    if run.rivals:
        lines.append(f"Beaten by no other policy either: {', '.join(run.rivals)}")
    if run.refused:
        lines.append(f"Refused, with a projection that nothing upholds: {', '.join(run.refused)}")
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
        drawn = line(*places, "." if row["verdict"] == Verdict.REFUSE else "-")
        table.add_row(Text(named(run, policy)), Text(drawn, style=VERDICT_STYLES[row["verdict"]]))
    table.caption = "o: estimate, x: oracle truth, *: both; dotted: refused"
    return table


def line(low: int, value: int, high: int, truth: int | None, stroke: str = "-") -> str:
    """An interval drawn in characters."""
    drawn = [" "] * LINE
    drawn[low : high + 1] = stroke * (high + 1 - low)
    if truth is not None:
        drawn[truth] = "x"
    drawn[value] = "*" if truth == value else "o"
    return "".join(drawn)


def comparisons_table(run: Run) -> Table:
    """Every pair of policies that are not refused: difference, interval, Holm-corrected p-value."""
    alpha = run.settings.alpha
    table = new_table(
        "Differences between policies, on the same prompts",
        {
            "pair": "left", "difference": "right", f"{100 * (1 - alpha):g} % interval": "right",
            "p, Holm": "right", "told apart": "left",
        },
    )  # fmt: skip
    order = {policy: place for place, policy in enumerate(run.estimates.index)}
    rows = []
    for row in run.comparisons.to_dict("records"):
        a, b, sign = row["policy_a"], row["policy_b"], 1
        if order[a] > order[b]:
            a, b, sign = b, a, -1
        ends = sorted((sign * row["ci_low"], sign * row["ci_high"]))
        p = row["p_value_corrected"]
        word = "yes" if p < alpha else "no"
        rows.append((order[a], order[b], f"{a} - {b}", sign * row["difference"], ends, p, word))
    for _, _, pair, difference, (low, high), p, word in sorted(rows):
        table.add_row(
            Text(pair), f"{difference:+.3f}", f"{low:+.3f} to {high:+.3f}", p_words(p),
            Text(word, style={"yes": GREEN}.get(word, "dim")),
        )  # fmt: skip
    if run.refused:
        table.caption = f"Refused, so in no comparison: {', '.join(run.refused)}"
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
