"""Estimate each target policy's expected oracle utility, with its interval and verdict."""

from math import isfinite

from cje import plots
from cje.analysis import Analysis, estimate
from cje.diagnostics import (
    THRESHOLDS,
    best_policy,
    reply_shares,
    reply_violations,
    rescored_violations,
)
from cje.frames import rewarded_frames
from cje.samples import check_frames
from cje.settings import Settings, load_settings
from cje.stage import DATA, DECIMALS, METRICS, PLOTS, run
from cje.tables import read_table, write_csv, write_metrics, write_table


def main() -> str:
    settings = load_settings()
    logs, draws = rewarded_frames(DATA, settings)
    target_logps = read_table(DATA / "target_logps.parquet", "target_logps")
    logs, target_logps, draws = check_frames(logs, target_logps, draws, (0, 1), (0, 1))
    limits = {name: settings.thresholds[name] for name in THRESHOLDS}
    result = estimate(
        logs, target_logps, draws,
        estimator=settings.estimator, weights=settings.weights, alpha=settings.alpha,
        folds=settings.folds, seed=settings.seed, thresholds=limits,
        identical=settings.identical_policies,
    )  # fmt: skip
    shares = reply_shares(logs, draws)
    replies = [v for p, s in shares.items() for v in reply_violations(p, *s, settings.thresholds)]
    rescored = read_table(DATA / "rescored.parquet", "rescored")
    same = rescored_violations(rescored, result.estimates["weights"].to_dict())
    result = result.with_violations([*replies, *same])
    write_results(result, settings)
    draw_figures(result, settings)
    return f"Estimated {len(result.estimates)} policies; best: {best_policy(result.estimates)}"


def write_results(result: Analysis, settings: Settings) -> None:
    """Influence functions, weights, violations, comparisons and metrics."""
    for frame, name, value in (
        (result.influence, "influence", "psi"),
        (result.importance_weights, "weights", "weight"),
    ):
        rows = frame.round(DECIMALS).reset_index().melt("uid", var_name="policy", value_name=value)
        write_table(rows, name, DATA / f"{name}.parquet")
    write_table(result.violations, "violations", DATA / "violations.parquet")
    write_csv(result.comparisons, METRICS / "comparisons.csv")
    pairs = zip(
        result.comparisons["policy_a"], result.comparisons["policy_b"],
        result.comparisons["p_value_corrected"], strict=True,
    )  # fmt: skip
    metrics = {
        "best_policy": best_policy(result.estimates) or "none",
        "results": result.estimates.to_dict("index"),
        "p_values_corrected": {f"{a} vs {b}": p for a, b, p in pairs},
    }
    write_metrics(metrics, METRICS / "estimates.json")
    write_metrics(finite_facts(result), METRICS / "diagnostics.json")


def finite_facts(result: Analysis) -> dict:
    """The diagnostics without what is not defined, or infinite."""
    return {
        policy: {k: v for k, v in facts.items() if not isinstance(v, float) or isfinite(v)}
        for policy, facts in result.diagnostics.to_dict("index").items()
    }


def draw_figures(result: Analysis, settings: Settings) -> None:
    """Estimates, comparisons and weights, each with its data."""
    table, verdicts = result.estimates, result.estimates["verdict"]
    limits = settings.thresholds
    plots.estimates(PLOTS / "estimates.png", table, alpha=settings.alpha)
    plots.comparison_heatmap(
        PLOTS / "comparison_heatmap.png", result.p_values, result.differences, verdicts,
        alpha=settings.alpha,
    )  # fmt: skip
    plots.weight_dashboard(
        PLOTS / "weights.png", result.importance_weights, result.diagnostics,
        ess_good=limits["caution_ess"], ess_critical=limits["refuse_ess"],
    )  # fmt: skip
    write_csv(plots.estimates_data(table), PLOTS / "estimates.csv")
    write_csv(plots.comparison_data(result.p_values), PLOTS / "comparison_heatmap.csv")
    write_csv(plots.weights_data(result.importance_weights), PLOTS / "weights.csv")


if __name__ == "__main__":
    run(main, "Estimating every policy")
