"""Estimate each policy's expected oracle utility, the base's too, with interval and verdict."""

from typing import Any

from cje.data.frames import rewarded_frames
from cje.data.tables import read_json, read_table, write_csv, write_metrics, write_table
from cje.pipeline.estimates import by_prompt_and_policy, estimate_metrics, known_facts
from cje.pipeline.parts import read_likeness
from cje.pipeline.stage import DATA, METRICS, PLOTS, run
from cje.results import plots
from cje.results.rows import best_first, overlap_row
from cje.results.words import looks
from cje.settings import Settings, load_settings
from cje.stats.analysis import Analysis, estimate
from cje.stats.checking import check_frames
from cje.stats.facts import finite_facts
from cje.thresholds import GOOD_ESS
from cje.vocabulary import counted


def main() -> str:
    settings = load_settings()
    logs, draws = rewarded_frames(DATA, settings)
    target_logps = read_table(DATA / "target_logps.parquet", "target_logps")
    logs, target_logps, draws = check_frames(logs, target_logps, draws, (0, 1), (0, 1))
    base = logs["policy"].iloc[0]
    policies = {base, *draws["policy"], *target_logps["policy"]}
    rescored = read_table(DATA / "rescored.parquet", "rescored")
    inputs, labels = (read_json(METRICS / f"{name}.json") for name in ("inputs", "labels"))
    result = estimate(
        logs, target_logps, draws,
        base=base, estimator=settings.estimator, weights=settings.weights, alpha=settings.alpha,
        intervals=settings.intervals, folds=settings.folds, seed=settings.seed,
        thresholds=settings.thresholds,
        known=known_facts(base, policies, read_likeness(), rescored, inputs, labels),
    )  # fmt: skip
    for frame, table, value in (
        (result.influence, "influence", "psi"),
        (result.importance_weights, "weights", "weight"),
    ):
        write_table(by_prompt_and_policy(frame, value), table, DATA / f"{table}.parquet")
    write_table(result.violations, "violations", DATA / "violations.parquet")
    write_csv(result.comparisons, METRICS / "comparisons.csv")
    write_metrics(estimate_metrics(result), METRICS / "estimates.json")
    write_metrics(finite_facts(result.diagnostics), METRICS / "diagnostics.json")
    draw_weights(result, settings)
    best = ", ".join(result.best) or "none (all refused)"
    head = "best, statistically tied" if len(result.best) > 1 else "best"
    number = counted(len(result.estimates), "policy", "policies")
    found = f"Estimated {number}; {head}: {best}"
    return found + still_waiting(result, labels, settings)


def draw_weights(result: Analysis, settings: Settings) -> None:
    """The figure of the weights and its data; `validate` draws what shows verdicts."""
    limits = settings.thresholds
    facts = result.diagnostics.to_dict("index")
    rows = [overlap_row(policy, facts[policy]) for policy in best_first(result.estimates).index]
    plots.weight_dashboard(
        PLOTS / "weights.png", result.importance_weights, rows,
        ess_good=max(GOOD_ESS, limits["caution_ess"]), ess_critical=limits["refuse_ess"],
    )  # fmt: skip
    write_csv(plots.weights_data(result.importance_weights), PLOTS / "weights.csv")


def still_waiting(result: Analysis, labels: dict[str, Any], settings: Settings) -> str:
    """While answers wait for people's labels: how wide the intervals are, and whether one may look
    at them again."""
    if not labels.get("waiting"):
        return ""
    half = (result.estimates["ci_high"] - result.estimates["ci_low"]) / 2
    return (
        f"\nSo far, with {labels['waiting']:,} of {labels['asked']:,} answers still to label, half "
        f"widths are {half.min():.3f} to {half.max():.3f}. {looks(settings.intervals)}"
    )


if __name__ == "__main__":
    run(main, "Estimating every policy")
