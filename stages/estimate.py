"""Estimate each policy's expected oracle utility, the base's too, with interval and verdict."""

import json
from collections.abc import Mapping
from typing import Any

from cje.data.frames import rewarded_frames
from cje.data.tables import read_table, write_csv, write_metrics, write_table
from cje.pipeline.parts import read_likeness
from cje.pipeline.stage import DATA, METRICS, PLOTS, run
from cje.results import plots
from cje.results.words import looks
from cje.settings import Settings, load_settings
from cje.stats.analysis import Analysis, estimate
from cje.stats.checking import check_frames
from cje.stats.facts import finite_facts
from cje.thresholds import GOOD_ESS


def main() -> str:
    settings = load_settings()
    logs, draws = rewarded_frames(DATA, settings)
    target_logps = read_table(DATA / "target_logps.parquet", "target_logps")
    logs, target_logps, draws = check_frames(logs, target_logps, draws, (0, 1), (0, 1))
    base = logs["policy"].iloc[0]
    labels = json.loads((METRICS / "labels.json").read_text(encoding="utf-8"))
    result = estimate(
        logs, target_logps, draws,
        base=base, estimator=settings.estimator, weights=settings.weights, alpha=settings.alpha,
        intervals=settings.intervals, folds=settings.folds, seed=settings.seed,
        thresholds=settings.thresholds,
        known=known_facts(base, set(draws["policy"]) | set(target_logps["policy"]), labels),
    )  # fmt: skip
    write_results(result)
    draw_weights(result, settings.thresholds)
    best = ", ".join(result.best) or "none, for all are refused"
    words = f"Estimated {len(result.estimates)} policies; beaten by no other: {best}"
    return words + so_far(result, labels, settings)


def so_far(result: Analysis, counts: dict[str, Any], settings: Settings) -> str:
    """How wide the intervals are while answers still wait for labels of people, and what looking
    at them again means; nothing where none waits."""
    if not counts.get("waiting"):
        return ""
    half = (result.estimates["ci_high"] - result.estimates["ci_low"]) / 2
    return (
        f"\nSo far, with {counts['waiting']:,} of {counts['asked']:,} answers still to label, half "
        f"widths are {half.min():.3f} to {half.max():.3f}. {looks(settings.intervals)}"
    )


def known_facts(
    base: str, targets: set[str], labels: dict[str, Any]
) -> dict[str, dict[str, object]]:
    """By policy, what neither answers nor scores tell: whether it is the base policy under another
    name, who judges itself, how well the server scores what it sampled, rows left out."""
    rescored = read_table(DATA / "rescored.parquet", "rescored")
    gaps = rescored["rescored_logp"] - rescored["sequence_logp"]
    spread = float((gaps**2).mean() ** 0.5) if len(gaps) else 0.0
    inputs = json.loads((METRICS / "inputs.json").read_text(encoding="utf-8"))
    left_out = inputs.get("left_out", {})
    lost = {policy: row["share"] for policy, row in left_out.get("draws", {}).items()}
    lost |= {base: left_out["logs"]["share"]} if "logs" in left_out else {}
    likeness = read_likeness()
    return {
        policy: {
            "identical": policy in likeness.identical,
            "self_preference": likeness.judged_by_itself.get(policy),
            "rescored_spread": 0.0 if policy == base else spread,
            "left_out": lost.get(policy, 0.0),
            "adds_labels": likeness.adds_labels,
        }
        | list_facts(labels.get("policies", {}).get(policy, {}))
        for policy in {*targets, base}
    }


def list_facts(counts: dict[str, int]) -> dict[str, float]:
    """Of a policy's answers on the list of people, the shares skipped and passed over of those that
    they came to, and how many wait; nothing where people do not label."""
    if not counts:
        return {}
    seen = max(1, counts["labelled"] + counts["skipped"] + counts["passed_over"])
    shares = {name: counts[name] / seen for name in ("skipped", "passed_over")}
    return shares | {"waiting": counts["waiting"]}


def write_results(result: Analysis) -> None:
    """Influence functions, weights, violations, comparisons and metrics."""
    for frame, name, value in (
        (result.influence, "influence", "psi"),
        (result.importance_weights, "weights", "weight"),
    ):
        rows = frame.reset_index().melt("uid", var_name="policy", value_name=value)
        write_table(rows, name, DATA / f"{name}.parquet")
    write_table(result.violations, "violations", DATA / "violations.parquet")
    write_csv(result.comparisons, METRICS / "comparisons.csv")
    pairs = zip(
        result.comparisons["policy_a"], result.comparisons["policy_b"],
        result.comparisons["p_value_corrected"], strict=True,
    )  # fmt: skip
    metrics = {
        "best_policy": result.best_policy or "none",
        "best": ", ".join(result.best) or "none",
        "results": result.estimates.to_dict("index"),
        "p_values_corrected": {f"{a} vs {b}": p for a, b, p in pairs},
    }
    write_metrics(metrics, METRICS / "estimates.json")
    write_metrics(finite_facts(result.diagnostics), METRICS / "diagnostics.json")


def draw_weights(result: Analysis, limits: Mapping[str, float]) -> None:
    """The weights; what shows verdicts is drawn when validation has had the last word."""
    plots.weight_dashboard(
        PLOTS / "weights.png", result.importance_weights, result.diagnostics,
        ess_good=max(GOOD_ESS, limits["caution_ess"]), ess_critical=limits["refuse_ess"],
    )  # fmt: skip
    write_csv(plots.weights_data(result.importance_weights), PLOTS / "weights.csv")


if __name__ == "__main__":
    run(main, "Estimating every policy")
