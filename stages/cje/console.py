"""The estimates on the screen: `python -m cje.console` prints what the last run found."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cje.settings import Settings, load_settings
from cje.tables import LOGGED, read_table

VERDICT_STYLES = {"reliable": "green", "caution": "yellow", "refuse": "red"}
COVERED = {True: "inside", False: "outside"}


def question(settings: Settings, data: Path) -> list[str]:
    """What was done, for someone who reads it for the first time."""
    logs, labels, scores = (
        len(read_table(data / f"{name}.parquet", name, ["uid"]))
        for name in ("logs", "oracle_labels", "proxy_scores")
    )
    base = settings.base_model if settings.source == "models" else "the base policy"
    judge, oracle = settings.proxy_model, settings.oracle_model
    if settings.source == "files":
        judge, oracle = "the judge", "the oracle"
    return [
        "How good is each policy, a model with its system prompt and its sampling settings?",
        f"{base} answered {logs:,} prompts. {oracle} (the oracle: dear, and right) labelled "
        f"{labels:,} of its answers;",
        f"{judge} (the judge: cheap, and biased) scored {scores:,} answers, of all policies.",
        "Estimated from that: the oracle's mean over each policy's answers, from 0 to 1.",
    ]


def judge_alone(data: Path) -> pd.Series:
    """By policy, the mean of its draws' calibrated rewards: what the labels' correction starts
    from."""
    rewards = read_table(
        data / "rewards.parquet", "rewards", ["policy", "draw", "calibrated_reward"]
    )
    draws = rewards[rewards["draw"] != LOGGED]
    return draws.groupby("policy")["calibrated_reward"].mean()


def estimates_table(
    estimates: Mapping, validation: Mapping, judged: pd.Series, alpha: float
) -> Table:
    """Policies from best to worst, the refused ones last and struck out."""
    table = Table(title="Expected oracle utility by policy", title_style="bold")
    interval = f"{100 * (1 - alpha):g} % interval"
    columns = ("policy", "judge", "estimate", interval, "oracle truth", "truth is", "ESS")
    for name in (*columns, "verdict"):
        left = name in ("policy", "truth is", "verdict")
        table.add_column(name, justify="left" if left else "right")
    verdicts = {policy: row["verdict"] for policy, row in validation["results"].items()}
    order = sorted(
        estimates["results"].items(),
        key=lambda item: (verdicts[item[0]] == "refuse", -item[1]["v_hat"]),
    )
    for policy, row in order:
        found, verdict = validation["results"][policy], verdicts[policy]
        struck = "strike" if verdict == "refuse" else ""
        truth, covered = "-", "-"
        if "oracle_truth" in found:
            truth = f"{found['oracle_truth']:.3f} ± {found['se_truth']:.3f}"
            covered = COVERED[found["covered"]]
        table.add_row(
            Text(policy),
            Text(f"{judged[policy]:.3f}" if policy in judged else "-"),
            Text(f"{row['v_hat']:.3f}", style=struck),
            Text(f"{row['ci_low']:.3f} to {row['ci_high']:.3f}", style=struck),
            Text(truth),
            Text(covered),
            Text(f"{100 * row['ess']:.3g} %"),
            Text(verdict, style=VERDICT_STYLES[verdict]),
        )
    return table


def who_was_right(estimates: Mapping, validation: Mapping, judged: pd.Series) -> list[str]:
    """The estimates and the judge alone against the truth, where that is known."""
    truth = {p: r["oracle_truth"] for p, r in validation["results"].items() if "oracle_truth" in r}
    known = [policy for policy in truth if policy in judged]
    if not known:
        return []
    believed = [p for p in known if validation["results"][p]["verdict"] != "refuse"]
    lines = []
    for policies, words in ((known, "all policies"), (believed, "those that are not refused")):
        if policies and (policies is known or len(policies) < len(known)):
            ours, alone = (
                sum(abs(found[p] - truth[p]) for p in policies) / len(policies)
                for found in ({p: r["v_hat"] for p, r in estimates["results"].items()}, judged)
            )
            lines.append(
                f"Mean distance to the truth, {words}: estimate {ours:.3f}, judge {alone:.3f}."
            )
    return lines


def equals(best: str, others: list[str], estimates: Mapping, alpha: float) -> list[str]:
    """Those whose difference from the best one is within chance (Holm-corrected)."""
    values = estimates["p_values_corrected"]
    tested = {frozenset(pair.split(" vs ")): value for pair, value in values.items()}
    return [policy for policy in others if tested.get(frozenset((best, policy)), 1) >= alpha]


def legend(validation: Mapping) -> list[str]:
    """What the columns mean."""
    lines = ["judge: its scores alone, calibrated to the oracle, before the labels correct them."]
    counts = [int(row["labels"]) for row in validation["results"].values() if "labels" in row]
    if counts:
        lines.append(
            f"oracle truth: the oracle's mean over {max(counts):,} fresh answers of the policy "
            "itself, ± its standard"
        )
        lines.append(
            "error; truth is inside where the two agree within their errors. It checks the "
            "estimate, and made none of it."
        )
    lines.append(
        "ESS: the share of the logs that still speak once they are weighted to the policy. "
        "verdict: see below."
    )
    return lines


def print_violations(violations: pd.DataFrame, console: Console) -> None:
    """What the guard rails found, and what would mend it: one remedy for all that share it."""
    for (code, severity, remedy), rows in violations.groupby(
        ["code", "severity", "remedy"], sort=False
    ):
        colour = "red" if severity == "critical" else "yellow"
        console.print(Text(code, style=colour))
        for row in rows.itertuples():
            console.print(Text(f"  {row.policy or 'all policies'}: {row.message}"))
        console.print(Text(f"  remedy: {remedy}", style="dim"))


def print_summary(metrics: Path, console: Console) -> None:
    """The question, the table, and what the guard rails say about it."""
    estimates, validation = (
        json.loads((metrics / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("estimates", "validation")
    )
    settings = load_settings()
    console.print(*question(settings, metrics.parent / "data"), sep="\n")
    judged = judge_alone(metrics.parent / "data")
    console.print(estimates_table(estimates, validation, judged, settings.alpha))
    for line in who_was_right(estimates, validation, judged):
        console.print(line)
    console.print(*legend(validation), sep="\n", style="dim")
    violations = pd.read_csv(metrics / "violations.csv", keep_default_na=False)
    if len(violations):
        console.print(Text("\nWhat the guard rails found", style="bold"))
        print_violations(violations, console)
    kept = {p: r for p, r in validation["results"].items() if r["verdict"] != "refuse"}
    best = max(kept, key=lambda policy: estimates["results"][policy]["v_hat"], default=None)
    if best is None:
        console.print("\nNo estimate may be believed: see the remedies above.")
    else:
        console.print(Text(f"\nBest policy that is not refused: {best}", style="bold"))
        rivals = equals(best, [p for p in kept if p != best], estimates, settings.alpha)
        if rivals:
            console.print(f"No difference beyond chance from it: {', '.join(rivals)}")
    console.print(
        "Next: look into metrics/ and plots/; change a setting: dvc exp run -S oracle_fraction=0.5",
        style="dim",
    )


def main() -> None:
    """Print the summary of the run in this folder."""
    metrics = Path("metrics")
    if not (metrics / "validation.json").exists():
        sys.exit("error: metrics/validation.json: no such file; run dvc repro first")
    piped = not sys.stdout.isatty()
    print_summary(metrics, Console(width=100 if piped else None, highlight=False))


if __name__ == "__main__":
    main()
