"""Validate the estimates against oracle labels on answers to prompts that no estimate used."""

import json
from pathlib import Path

import pandas as pd

from cje.data.frames import unit_labels
from cje.data.tables import read_table, write_csv, write_metrics, write_table
from cje.labelling.people import HumanSource, open_label_source, read_pool
from cje.pipeline.choice import unused_prompts
from cje.pipeline.stage import DATA, METRICS, PLOTS, run
from cje.results.figures import write_figures
from cje.results.run import Run
from cje.settings import Settings, load_settings
from cje.stats.guardrails import (
    best_policy,
    more_labels,
    verdict,
    violations_frame,
    violations_list,
)
from cje.stats.samples import clusters_of
from cje.stats.validation import validate
from cje.vocabulary import Severity, Verdict


def main() -> str:
    settings = load_settings()
    labelled = label_answers(settings)
    labels = unused_labels(
        unit_labels(DATA / "validation_labels.parquet", "validation_labels", settings)
    )
    results = json.loads((METRICS / "estimates.json").read_text(encoding="utf-8"))["results"]
    estimates = pd.DataFrame.from_dict(results, orient="index")
    influence = read_table(DATA / "influence.parquet", "influence")
    influence = influence.pivot(index="uid", columns="policy", values="psi")
    prompts = read_table(DATA / "prompts.parquet", "prompts", ["uid", "cluster"])
    cluster = pd.Series(clusters_of(prompts), prompts["uid"])
    facts = json.loads((METRICS / "diagnostics.json").read_text(encoding="utf-8"))
    found = validate(
        estimates, influence, labels, cluster, settings.alpha, settings.thresholds,
        more_labels(facts),
    )  # fmt: skip
    earlier = read_table(DATA / "violations.parquet", "violations")
    every = [*violations_list(earlier), *found.violations]
    verdicts = {policy: str(verdict(policy, every)) for policy in estimates.index}
    violations = violations_frame(every)
    write_csv(violations, METRICS / "violations.csv")
    write_metrics(validation_metrics(found, verdicts), METRICS / "validation.json")
    write_metrics(guard_rail_metrics(violations), METRICS / "guard_rails.json")
    write_metrics(summary_metrics(estimates, verdicts, found, violations), METRICS / "summary.json")
    write_figures(Run(Path(), settings), PLOTS)
    covered = "no labels" if found.coverage is None else f"coverage {found.coverage:.0%}"
    words = f"{covered}; {len(violations)} findings of guard rails; {labelled}"
    return f"Validated {len(found.results)} policies: {words}"


def unused_labels(labels: pd.DataFrame) -> pd.DataFrame:
    """The labels of prompts on which no label of the same policy was used; where its answers are
    the logged ones, none of the base either."""
    used = read_table(DATA / "oracle_labels.parquet", "oracle_labels", ["uid", "policy"])
    base = read_table(DATA / "logs.parquet", "logs", ["action"])["action"].iloc[0]
    facts = json.loads((METRICS / "diagnostics.json").read_text(encoding="utf-8"))
    logged = {policy for policy, found in facts.items() if found["logged"]}
    spent = set(zip(used["policy"], used["uid"], strict=True))
    spent |= {(policy, uid) for policy in logged for uid in used["uid"][used["policy"] == base]}
    unused = [key not in spent for key in zip(labels["policy"], labels["uid"], strict=True)]
    return labels[pd.Series(unused, labels.index, dtype=bool)]  # an empty list is no mask


def label_answers(settings: Settings) -> str:
    """Have answers labelled to prompts that no estimate used, write the tables, and say how many
    there were."""
    used = read_table(DATA / "oracle_labels.parquet", "oracle_labels")
    source, pool = open_label_source(settings, "validate"), read_pool(DATA, settings)
    labels = source.validation_labels(pool, used)
    write_table(labels, "validation_labels", DATA / "validation_labels.parquet")
    write_table(source.call_table(), "calls", DATA / "validate_calls.parquet")
    counts = labels["policy"].value_counts(sort=False)
    by_policy = ", ".join(f"{policy} {count:,}" for policy, count in counts.items()) or "none"
    unused = len(unused_prompts(pool.prompts, used))
    if isinstance(source, HumanSource) and (left := source.checks_waiting(pool)):
        by_policy += f"; {left:,} that would check the estimates wait for labels: cje label"
    return f"{unused:,} prompts without a label that an estimate used; labelled here: {by_policy}"


def validation_metrics(found, verdicts: dict[str, str]) -> dict:
    """Coverage, mean absolute error, and everything by policy."""
    by_policy = found.results.to_dict("index")
    results = {p: by_policy.get(p, {}) | {"verdict": word} for p, word in verdicts.items()}
    error = float(found.results["absolute_error"].mean()) if len(found.results) else None
    return {"coverage": found.coverage, "mean_absolute_error": error, "results": results}


def summary_metrics(estimates: pd.DataFrame, verdicts: dict[str, str], found, violations) -> dict:
    """The few numbers by which experiments are compared, and by policy its estimate beside half
    width and verdict; of a refused one the verdict alone."""
    calibration = json.loads((METRICS / "calibration.json").read_text(encoding="utf-8"))
    error = float(found.results["absolute_error"].mean()) if len(found.results) else None
    kept = estimates[[verdicts[policy] != Verdict.REFUSE for policy in estimates.index]]
    half_width = (kept["ci_high"] - kept["ci_low"]) / 2
    known = kept[["v_hat"]].assign(half_width=half_width).astype(float).to_dict("index")
    facts = {
        "best": best_policy(estimates.assign(verdict=pd.Series(verdicts))) or "none",
        "refused": len(estimates) - len(kept),
        "violations": int((violations["severity"] != Severity.NOTE).sum()),
        "error": error,
        "coverage": found.coverage,
        "spearman": calibration.get("spearman"),
    }
    by_policy = {
        f"policy {policy}" if policy in facts else policy: known.get(policy, {}) | {"verdict": word}
        for policy, word in verdicts.items()
    }
    return facts | by_policy


def guard_rail_metrics(violations: pd.DataFrame) -> dict:
    """Counts: of all that guard rails found, by severity, by code."""
    counts = violations["code"].value_counts().sort_index()
    severities = violations["severity"].value_counts()
    return {
        "violations": len(violations),
        **{str(severity): int(severities.get(severity, 0)) for severity in reversed(Severity)},
        "by_code": {code: int(n) for code, n in counts.items()},
    }


if __name__ == "__main__":
    run(main, "Validating against the oracle")
