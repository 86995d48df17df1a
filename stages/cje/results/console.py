"""A run on the screen: `python -m cje.results.console` prints what the last one found."""

import os
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cje.errors import CJEError
from cje.results.answer import conclusion, distances, labels, looking, question, raters
from cje.results.opening import open_run
from cje.results.rows import EstimateRow
from cje.results.theme import SCREEN_GREEN, SEVERITY_STYLES, STATUS_STYLES, VERDICT_STYLES
from cje.results.view import RunView, findings
from cje.results.words import (
    STATUSES,
    UNKNOWN,
    VERDICTS,
    WEIGHTS,
    bare_p_value,
    count,
    counted,
    evidence,
    interval,
    level,
    listed,
    named,
    number,
    percent,
    plus_minus,
    short,
    signed,
    signed_interval,
    weight,
)
from cje.stats.guardrails import Violation
from cje.vocabulary import Conclusion, Verdict

NARROW = 74  # columns below which headings are stacked
WRAPPING = ("policy", "pair", "issues", "model")
PIPED_WIDTH = 100
Cells = list[str | Text]
LINE, SHORT_LINE = 50, 20  # characters of a drawn interval, at most and at least


def screen() -> Console:
    """The console to print to: as wide as the terminal, or as COLUMNS says."""
    own = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(highlight=False, markup=False, emoji=False, width=None if own else PIPED_WIDTH)


def print_summary(view: RunView, console: Console) -> None:
    """The question, the estimates, every verdict with its reason, the answer, what to do next."""
    console.print(QUESTION, question(view), sep="\n")
    console.print(estimates_table(view, console.width))
    console.print(*legend(view, console.width), sep="\n", style="dim")
    print_verdicts(view, console)
    console.print()
    console.print(*conclusion(view), sep="\n", style="bold")
    console.print(labels(view), *raters(view), *distances(view), sep="\n")
    change = CHANGE["files" if view.labels_in_files else "models"]
    console.print(NEXT, change, sep="\n", style="dim")


QUESTION = "How good is each policy, a model with its system prompt and its sampling settings?"
NEXT = "Next: cje report (a web page), cje analyze (every comparison, CSV), cje export (files)"
CHANGE = {  # by where more labels come from
    "models": "Change a setting: cje run --oracle-fraction 0.5, or dvc exp run -S "
    "oracle_fraction=0.5",
    "files": "More labels: add them to data/inputs, then dvc repro; cje plan says how many",
}


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


def filled_table(
    title: str,
    columns: Mapping[str, str],
    rows: Iterable[Cells],
    width: int,
    wide: Collection[str] = (),
) -> Table:
    """`new_table` with rows of a cell for each column; a narrow screen has no columns in `wide`."""
    shown = {name: i for i, name in enumerate(columns) if width >= NARROW or name not in wide}
    table = new_table(title, {name: columns[name] for name in shown})
    for cells in rows:
        table.add_row(*(cells[i] for i in shown.values()))
    return table


def estimates_table(view: RunView, width: int) -> Table:
    """Policies from best to worst, the refused ones last and struck out: what the judge says, raw
    and calibrated, what the estimate says, and the truth. On a narrow screen the headings are
    stacked."""
    narrow = width < NARROW
    columns = ("raw\njudge", "calibrated\njudge", "estimate", f"{level(view.alpha)} interval")
    if narrow:
        columns = ("raw\njudge", "cal.\njudge", "esti-\nmate", f"{level(view.alpha)}\ninterval")
    sides = {"policy": "left"} | dict.fromkeys(columns, "right")
    table = new_table(
        "Expected oracle utility by policy", sides | {"truth": "right", "verdict": "left"}
    )
    for row in view.estimates:
        ends = interval(row.ci_low, row.ci_high)
        truth, mark = UNKNOWN, ""
        if row.truth is not None:
            truth = number(row.truth.oracle_truth)
            mark = "" if narrow else " in" if row.truth.covered else " out"
        table.add_row(
            Text(named(row.policy, view.base)),
            number(row.raw_judge),
            number(row.calibrated_judge),
            struck(row, number(row.v_hat)),
            struck(row, ends.replace(" to ", "\N{EN DASH}") if narrow else ends),
            truth + mark,
            Text(VERDICTS[row.verdict], style=VERDICT_STYLES[row.verdict]),
        )
    return table


def struck(row: EstimateRow, words: str) -> Text:
    """Words that are struck through where the policy is refused."""
    return Text.assemble((words, "strike" if row.refused else ""))


def truth_table(view: RunView, width: int) -> Table:
    """The estimates against the oracle's labels that none of them used; on a narrow screen without
    what `estimates_table` has."""
    columns = {
        "policy": "left", "estimate": "right", "oracle truth": "right", "labels": "right",
        "distance": "right", "truth is": "left", "calibrated judge": "right",
    }  # fmt: skip
    rows: Iterable[Cells] = (
        [
            Text(named(row.policy, view.base)),
            struck(row, number(row.v_hat)),
            plus_minus(truth.oracle_truth, truth.se),
            count(truth.labels),
            struck(row, number(truth.absolute_error)),
            "inside" if truth.covered else "outside",
            number(row.calibrated_judge),
        ]
        for row, truth in view.truths
    )
    wide = ("estimate", "calibrated judge")
    return filled_table("Compared with the oracle's truth", columns, rows, width, wide)


def legend(view: RunView, width: int) -> list[str]:
    """What the columns of `estimates_table` mean."""
    lines = [
        "raw judge: the judge's mean score, rescaled to [0, 1]; calibrated judge: the same on the "
        f"oracle's scale, calibrated on {view.base}'s labels, which may be wrong for another "
        "policy.",
        "estimate: from labels of the policy's own answers; the judge, other policies' labels and "
        "exact weights of the logs reduce its noise.",
    ]
    if view.truths:
        most = max(truth.labels for _, truth in view.truths)
        largest = max(truth.se for _, truth in view.truths)
        error = f"the standard error is at most {number(largest)}"
        agree = "in or out: whether estimate and truth agree within the errors of both"
        lines.append(
            f"truth: the oracle's mean over {counted(most, 'answer')} of the policy that no "
            f"estimate used; {error if width < NARROW else f'{agree} ({error})'}."
        )
    return [*lines, *looking(view)]


def weights_table(view: RunView, width: int) -> Table | str:
    """How well the logs overlap with each policy: the weights that its estimate used, and the exact
    ones of its log-probabilities, used or not; on a narrow screen without issues and reach."""
    if not any(row.used or row.exact_ess is not None for row in view.overlap):
        return (
            "\nImportance weights: none. There are no log-probabilities, and no estimate uses "
            "learned weights."
        )
    columns = {
        "policy": "left", "weights": "left", "ESS": "right", "exact\nESS": "right",
        "exact\nmean": "right", "status": "left", "reach": "left", "issues": "left",
    }  # fmt: skip
    issues = view.weight_issues
    rows: Iterable[Cells] = (
        [
            Text(named(row.policy, view.base)),
            WEIGHTS[row.weights],
            percent(row.ess) if row.used else "none",
            percent(row.exact_ess),
            weight(row.exact_mean_weight),
            Text(STATUSES[row.status], STATUS_STYLES[row.status])
            if row.used
            else Text("not used", "dim"),
            row.reach or UNKNOWN,
            ", ".join(issues[row.policy]).replace("_", " ") or "none",
        ]
        for row in view.overlap
    )
    table = filled_table("Importance weights", columns, rows, width, ("reach", "issues"))
    table.caption = (
        "ESS: the effective sample size, as a share of the logs, once they are weighted to look "
        "like the policy's answers; exact: of the weights from its log-probabilities, whose mean "
        "is 1 where the logs cover all of its answers"
        + ("" if width < NARROW else "; reach: how far those weights would support an estimate")
        + ". An estimate that uses no weights rests on its own labels, or is refused."
    )
    return table


def print_verdicts(view: RunView, console: Console) -> None:
    """How many policies have each verdict: what checks the reliable numbers, and of the others what
    the guard rails found and what would fix it; last what changes no verdict, in a line each."""
    console.print("\nVerdicts", style="bold")
    for verdict in Verdict:
        rows = [row for row in view.estimates if row.verdict == verdict]
        words = f" {len(rows)} of {len(view.estimates)}"
        if verdict == Verdict.RELIABLE and rows:
            words += ": checked, and nothing counts against them"
        console.print(Text.assemble((VERDICTS[verdict], VERDICT_STYLES[verdict]), words))
        if verdict == Verdict.RELIABLE:
            print_evidence(rows, console)
        else:
            policies = {row.policy for row in rows}
            print_findings([one for one in view.issues if one.policy in policies], console)
    print_findings([one for one in view.issues if one.policy is None], console)
    if view.notes:
        console.print("Notes, which change no verdict (metrics/violations.csv):", style="dim")
    for note in findings(view.notes):
        cases = [one for found in note.remedies.values() for one in found]
        whose = ", ".join(dict.fromkeys(one.policy or "all policies" for one in cases))
        console.print(indented(Text(f"{note.code}: {note.meaning} ({whose})", style="dim")))


def print_evidence(rows: Sequence[EstimateRow], console: Console) -> None:
    """What checks the numbers, and of which policies."""
    by_evidence: dict[str, list[str]] = {}
    for row in rows:
        by_evidence.setdefault(evidence(row), []).append(row.policy)
    for found, policies in by_evidence.items():
        console.print(indented(Text(f"{found}: {listed(policies)}")))


def print_findings(violations: Sequence[Violation], console: Console) -> None:
    """What guard rails found, by code, with one remedy for all that share it."""
    for finding in findings(violations):
        style = SEVERITY_STYLES[finding.severity]
        console.print(indented(Text(f"{finding.code} {finding.severity}", style)))
        for remedy, cases in finding.remedies.items():
            for one in cases:
                console.print(indented(Text(f"{one.policy or 'all policies'}: {one.message}"), 4))
            console.print(indented(Text.assemble(("remedy: ", "bold"), remedy), 4))


def indented(text: Text, by: int = 2) -> Padding:
    """A paragraph of which every line is set in."""
    return Padding(text, (0, 0, 0, by), expand=False)


def intervals_table(view: RunView, width: int) -> Table:
    """Every interval on one scale, in text, as long as the screen allows."""
    names = [named(policy, view.base) for policy in view.policies]
    length = min(max(width - max(map(len, names), default=0) - 2, SHORT_LINE), LINE)
    ends = [end for row in view.estimates for end in (row.ci_low, row.ci_high) if end is not None]
    ends += [truth.oracle_truth for _, truth in view.truths]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    ruler = number(low) + number(high).rjust(length - len(number(low)))
    table = new_table("Intervals", {"policy": "left", ruler: "left"})

    def place(value: float) -> int:
        return round((value - low) / ((high - low) or 1) * (length - 1))

    for name, row in zip(names, view.estimates, strict=True):
        drawn = ""
        if row.ci_low is not None and row.v_hat is not None and row.ci_high is not None:
            truth = None if row.truth is None else place(row.truth.oracle_truth)
            low_end, value, high_end = place(row.ci_low), place(row.v_hat), place(row.ci_high)
            drawn = line(length, low_end, value, high_end, truth, "." if row.refused else "-")
        table.add_row(Text(name), Text(drawn, style=VERDICT_STYLES[row.verdict]))
    key = ["o: estimate"] + ["x: oracle truth, *: both"] * bool(view.truths)
    table.caption = "; ".join(key + ["dotted: refused"] * bool(view.refused))
    return table


def line(length: int, low: int, value: int, high: int, truth: int | None, stroke: str = "-") -> str:
    """An interval drawn in `length` characters."""
    drawn = [" "] * length
    drawn[low : high + 1] = stroke * (high + 1 - low)
    if truth is not None:
        drawn[truth] = "x"
    drawn[value] = "*" if truth == value else "o"
    return "".join(drawn)


def comparisons_table(view: RunView, width: int) -> Table:
    """Every pair of policies that are not refused: difference, interval, Holm-corrected p-value,
    and on a wide screen in a word whether the difference is clear."""
    columns = {
        "pair": "left", "difference": "right", f"{level(view.alpha)} interval": "right",
        "p, Holm": "right", "clear difference": "left",
    }  # fmt: skip
    rows: Iterable[Cells] = (
        [
            Text(f"{row.policy_a} - {row.policy_b}"),
            signed(row.difference),
            signed_interval(row.ci_low, row.ci_high),
            bare_p_value(row.p_value_corrected),
            Text("no", "dim") if row.conclusion == Conclusion.SAME else Text("yes", SCREEN_GREEN),
        ]
        for row in view.differences
    )
    title, wide = "Differences between policies, on the same prompts", ("clear difference",)
    table = filled_table(title, columns, rows, width, wide)
    notes = []
    if width < NARROW:
        limit = short(view.alpha)
        notes.append(f"A difference is clear where p, Holm-corrected, is below {limit}.")
    if view.refused:
        notes.append(f"Refused, so in no comparison: {', '.join(view.refused)}")
    table.caption = "\n".join(notes) or None
    return table


def main() -> None:
    """Print the summary of the run in this folder."""
    try:
        print_summary(RunView(open_run(".")), screen())
    except CJEError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
