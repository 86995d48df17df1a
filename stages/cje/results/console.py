"""A run on the screen: `python -m cje.results.console` prints what the last one found.

Colours are from the 256, each readable on black and on white, and never say anything alone.
"""

import os
import sys
from collections.abc import Mapping

import pandas as pd
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cje.data.tables import LOGGED, read_table
from cje.errors import CJEError
from cje.results.answer import conclusion, distances, labels, looking, raters
from cje.results.run import Run, open_run
from cje.results.words import VERDICTS, evidence, interval, listed, number, p_value, percent
from cje.stats.rails import RAILS
from cje.vocabulary import Severity, Status, Verdict, WeightKind

GREEN, ORANGE, RED = "color(28)", "color(166)", "color(160)"
BLUE, GREY = "color(26)", "color(245)"
VERDICT_STYLES = {Verdict.RELIABLE: BLUE, Verdict.CAUTION: ORANGE, Verdict.REFUSE: f"bold {GREY}"}
STATUS_STYLES = {Status.GOOD: GREEN, Status.WARNING: ORANGE, Status.CRITICAL: f"bold {RED}"}
SEVERITY_STYLES = {Severity.WARNING: ORANGE, Severity.CRITICAL: RED}
MEANINGS = {rail.code: rail.meaning for rail in RAILS}
NARROW = 74  # columns below which headings are stacked
WRAPPING = ("policy", "pair", "issues", "model")
PIPED_WIDTH = 100
LINE, SHORT_LINE = 50, 20  # characters of a drawn interval, at most and at least


def screen() -> Console:
    """The console to print to: as wide as the terminal, or as COLUMNS says."""
    own = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(highlight=False, width=None if own else PIPED_WIDTH)


def print_summary(run: Run, console: Console) -> None:
    """The question, the estimates, every verdict with its reason, the answer, what to do next."""
    console.print(*question(run), sep="\n")
    console.print(estimates_table(run, console.width))
    console.print(*legend(run, console.width), sep="\n", style="dim")
    print_verdicts(run, console)
    console.print()
    console.print(*conclusion(run), sep="\n", style="bold")
    console.print(labels(run), *raters(run), *distances(run), sep="\n")
    console.print(*NEXT, sep="\n", style="dim")


NEXT = (
    "Next: cje report (a page to show), cje analyze (comparisons, CSV), cje export (files)",
    "Change a setting: cje run --oracle-fraction 0.5, or dvc exp run -S oracle_fraction=0.5",
)


def question(run: Run) -> list[str]:
    """What was done, for someone who reads it for the first time."""
    logs = len(read_table(run.data / "logs.parquet", "logs", ["uid"]))
    judged = read_table(run.data / "proxy_scores.parquet", "proxy_scores", ["judge_raw"])
    scores = int(judged["judge_raw"].notna().sum())
    labels = read_table(run.data / "oracle_labels.parquet", "oracle_labels", ["draw"])["draw"]
    logged = int((labels == LOGGED).sum())
    settings = run.settings
    if settings.source == "files":
        base, oracle = "The base policy", "The oracle (expensive, and right)"
        judge = "the judge (cheap, and biased)"
    else:
        base = settings.base_model
        judge = f"{settings.proxy_model} (the judge: cheap, and biased)"
        oracle = f"{settings.oracle_model} (the oracle: expensive, and right)"
    return [
        "How good is each policy, a model with its system prompt and its sampling settings?",
        f"{base} answered {logs:,} prompts. {oracle} labelled {logged:,} of its answers and "
        f"{len(labels) - logged:,} of the others'; {judge} scored {scores:,} answers, of all "
        "policies. Estimated from that: the oracle's mean over each policy's answers, from 0 to 1.",
    ]


def new_table(title: str, columns: Mapping[str, str]) -> Table:
    """A plain table; `columns` name to left or right. Names and lists wrap, numbers do not."""
    table = Table(
        title=f"\n{title}", title_style="bold", title_justify="left", box=box.SIMPLE_HEAD,
        show_edge=False, pad_edge=False, collapse_padding=True, caption_style="dim",
        caption_justify="left",
    )  # fmt: skip
    for name, side in columns.items():
        table.add_column(
            name, justify="left" if side == "left" else "right", overflow="fold",
            no_wrap=name not in WRAPPING,
        )  # fmt: skip
    return table


def estimates_table(run: Run, width: int) -> Table:
    """Policies from best to worst, the refused ones last and struck out: what the judge says, as it
    is and calibrated, what the estimate says, and the truth. On a narrow screen the headings are
    stacked."""
    level, narrow = f"{100 * (1 - run.settings.alpha):g} %", width < NARROW
    columns = ("raw\njudge", "calibrated\njudge", "estimate", f"{level} interval")
    if narrow:
        columns = ("raw\njudge", "cal.\njudge", "esti-\nmate", f"{level}\ninterval")
    sides = {"policy": "left"} | dict.fromkeys(columns, "right")
    table = new_table(
        "Expected oracle utility by policy", sides | {"truth": "right", "verdict": "left"}
    )
    for policy, row in run.estimates.iterrows():
        struck = "strike" if row["verdict"] == Verdict.REFUSE else ""
        ends = interval(row["ci_low"], row["ci_high"])
        truth, mark = number(row["oracle_truth"]), ""
        if pd.notna(row["oracle_truth"]) and not narrow:
            mark = " in" if row["covered"] else " out"
        table.add_row(
            Text(named(run, policy)),
            number(row["raw_judge"]),
            number(row["calibrated_judge"]),
            Text.assemble((number(row["v_hat"]), struck)),
            Text.assemble((ends.replace(" to ", "\N{EN DASH}") if narrow else ends, struck)),
            truth + mark,
            Text(row["verdict"], style=VERDICT_STYLES[row["verdict"]]),
        )
    return table


def named(run: Run, policy: str) -> str:
    """The policy's name, with a word where it is the base policy under another one."""
    return f"{policy} (base)" if policy == run.base and policy != "base" else policy


def truth_table(run: Run, width: int) -> Table:
    """The estimates against the oracle's labels that none of them used; on a narrow screen without
    what `estimates_table` has."""
    columns = {
        "policy": "left", "estimate": "right", "oracle truth": "right", "labels": "right",
        "distance": "right", "truth is": "left", "calibrated judge": "right",
    }  # fmt: skip
    narrow = width < NARROW
    if narrow:
        del columns["estimate"], columns["calibrated judge"]
    table = new_table("Against the oracle's truth", columns)
    for policy, row in run.estimates.dropna(subset=["oracle_truth"]).iterrows():
        struck = "strike" if row["verdict"] == Verdict.REFUSE else ""
        cells: list[str | Text] = [
            f"{number(row['oracle_truth'])} ± {number(row['se_truth'])}",
            f"{row['truth_labels']:,.0f}",
            Text(number(row["absolute_error"]), struck),
            "inside" if row["covered"] else "outside",
        ]
        if not narrow:
            cells = [Text(number(row["v_hat"]), struck), *cells, number(row["calibrated_judge"])]
        table.add_row(Text(named(run, policy)), *cells)
    return table


def legend(run: Run, width: int) -> list[str]:
    """What the columns of `estimates_table` mean."""
    lines = [
        "raw judge: the mean of its scores as they are; calibrated judge: the same on the oracle's "
        f"scale, by {run.base}'s labels, which may be wrong for another policy.",
        "estimate: labels of the policy's own answers lead; judge, other policies' labels and "
        "exact weights of the logs take off noise.",
    ]
    known = run.estimates.dropna(subset=["oracle_truth"])
    if len(known):
        error = f"its standard error is at most {number(known['se_truth'].max())}"
        agree = "in or out: whether the two agree within their errors"
        lines.append(
            f"truth: the oracle's mean over {int(known['truth_labels'].max()):,} answers of the "
            f"policy that no estimate used; {error if width < NARROW else f'{agree} ({error})'}."
        )
    return [*lines, *looking(run)]


def weights_table(run: Run, width: int) -> Table | str:
    """How well the logs reach each policy: the weights that its estimate used, and the exact ones
    of its log-probabilities, used or not; on a narrow screen without issues and reach."""
    facts = run.diagnostics
    used = facts["weights"] != WeightKind.NONE
    if not used.any() and facts["sequence_ess"].isna().all():
        return (
            "\nImportance weights: none. There are no log-probabilities, and no estimate uses "
            "learned weights."
        )
    columns = {
        "policy": "left", "weights": "left", "ESS": "right", "exact\nESS": "right",
        "exact\nmean": "right", "status": "left", "reach": "left", "issues": "left",
    }  # fmt: skip
    narrow = width < NARROW
    if narrow:
        del columns["reach"], columns["issues"]
    table = new_table("Importance weights", columns)
    issues = run.weight_issues
    for policy, row in facts.iterrows():
        status, reach, mean = row["status"], row["reach"], row["sequence_mean_weight"]
        found = ", ".join(issues[policy]).replace("_", " ") or "none"
        table.add_row(
            Text(named(run, policy)),
            row["weights"],
            percent(row["ess"]) if used[policy] else "-",
            percent(row["sequence_ess"]),
            "-" if pd.isna(mean) else f"{mean:.2f}",
            Text(status, STATUS_STYLES[status]) if used[policy] else Text("not used", "dim"),
            *([] if narrow else ["-" if pd.isna(row["sequence_ess"]) else reach, found]),
        )
    table.caption = (
        "ESS: the share of the logs that still speak once they are weighted to the policy; exact: "
        "by its log-probabilities, whose mean weight is 1 where the logs reach all of its answers"
        + ("" if narrow else "; reach: how far those would carry an estimate")
        + ". An estimate that does not use them stands on its own labels, whatever they are, or is "
        "refused."
    )
    return table


def print_verdicts(run: Run, console: Console) -> None:
    """Every verdict with its reason: what checks the reliable numbers, and of the others what the
    guard rails found and what would fix it; last what changes no verdict, in a line each."""
    console.print("\nVerdicts", style="bold")
    verdicts, every = run.estimates["verdict"], len(run.estimates)
    for verdict in Verdict:
        policies = list(verdicts.index[verdicts == verdict])
        words = f" {len(policies)} of {every}"
        if verdict == Verdict.RELIABLE and policies:
            words += ": checked, with nothing against them"
        console.print(Text.assemble((VERDICTS[verdict], VERDICT_STYLES[verdict]), words))
        if verdict == Verdict.RELIABLE:
            checks = {policy: evidence(run.estimates.loc[policy]) for policy in policies}
            for found in dict.fromkeys(checks.values()):
                names = [policy for policy in policies if checks[policy] == found]
                console.print(indented(Text(f"{found}: {listed(names)}")))
        else:
            print_issues(run.issues[run.issues["policy"].isin(policies)], console)
    print_issues(run.issues[run.issues["policy"] == ""], console)
    if len(run.notes):
        console.print("Notes, which change no verdict (metrics/violations.csv):", style="dim")
    for code, rows in run.notes.groupby("code", sort=False):
        whose = ", ".join(dict.fromkeys(rows["policy"].replace("", "all policies")))
        console.print(indented(Text(f"{code}: {MEANINGS[code]} ({whose})", style="dim")))


def print_issues(issues: pd.DataFrame, console: Console) -> None:
    """What guard rails found, by code, with one remedy for all that share it."""
    groups = issues.groupby(["code", "severity", "remedy"], sort=False)
    for (code, severity, remedy), rows in groups:
        style = SEVERITY_STYLES[severity]
        console.print(indented(Text.assemble((code, style), (f" {severity}", style))))
        for row in rows.itertuples():
            text = Text(f"{row.policy or 'all policies'}: {row.message}")
            console.print(indented(text, 4))
        console.print(indented(Text.assemble(("remedy: ", "bold"), remedy), 4))


def indented(text: Text, by: int = 2) -> Padding:
    """A paragraph of which every line is set in."""
    return Padding(text, (0, 0, 0, by), expand=False)


def intervals_table(run: Run, width: int) -> Table:
    """Every interval on one scale, in text, as long as the screen allows."""
    found = run.estimates
    names = [named(run, policy) for policy in found.index]
    length = min(max(width - max(map(len, names), default=0) - 2, SHORT_LINE), LINE)
    ends = found[["ci_low", "ci_high", "oracle_truth"]]
    low, high = float(ends.min().min()), float(ends.max().max())
    ruler = f"{low:.3f}{f'{high:.3f}':>{length - 5}}"
    table = new_table("Intervals", {"policy": "left", ruler: "left"})

    def place(value: float) -> int:
        return round((value - low) / ((high - low) or 1) * (length - 1))

    for policy, row in found.iterrows():
        first, value, last = (place(row[end]) for end in ("ci_low", "v_hat", "ci_high"))
        truth = None if pd.isna(row["oracle_truth"]) else place(row["oracle_truth"])
        stroke = "." if row["verdict"] == Verdict.REFUSE else "-"
        drawn = line(length, first, value, last, truth, stroke)
        table.add_row(Text(named(run, policy)), Text(drawn, style=VERDICT_STYLES[row["verdict"]]))
    table.caption = "o: estimate, x: oracle truth, *: both; dotted: refused"
    return table


def line(length: int, low: int, value: int, high: int, truth: int | None, stroke: str = "-") -> str:
    """An interval drawn in `length` characters."""
    drawn = [" "] * length
    drawn[low : high + 1] = stroke * (high + 1 - low)
    if truth is not None:
        drawn[truth] = "x"
    drawn[value] = "*" if truth == value else "o"
    return "".join(drawn)


def comparisons_table(run: Run, width: int) -> Table:
    """Every pair of policies that are not refused: difference, interval, Holm-corrected p-value,
    and on a wide screen in a word whether the difference is clear."""
    alpha, narrow = run.settings.alpha, width < NARROW
    columns = {
        "pair": "left", "difference": "right", f"{100 * (1 - alpha):g} % interval": "right",
        "p, Holm": "right", "clear difference": "left",
    }  # fmt: skip
    if narrow:
        del columns["clear difference"]
    table = new_table("Differences between policies, on the same prompts", columns)
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
            Text(pair), number(difference, "+.3f"), interval(low, high, "+.3f"),
            p_value(p).removeprefix("p ").removeprefix("= "),
            *([] if narrow else [Text(word, style={"yes": GREEN}.get(word, "dim"))]),
        )  # fmt: skip
    clear = f"A difference is clear where p, Holm-corrected, is below {alpha:g}."
    notes = [clear] if narrow else []
    if run.refused:
        notes.append(f"Refused, so in no comparison: {', '.join(run.refused)}")
    table.caption = "\n".join(notes) or None
    return table


def main() -> None:
    """Print the summary of the run in this folder."""
    try:
        print_summary(open_run("."), screen())
    except CJEError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
