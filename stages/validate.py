"""Validate the estimates against oracle labels on answers to prompts that no estimate used."""

from pathlib import Path

import pandas as pd

from cje.data.frames import unit_labels
from cje.data.tables import read_json, read_table, write_csv, write_metrics, write_table
from cje.labelling.people import HumanSource, open_label_source, read_pool
from cje.pipeline.stage import DATA, METRICS, PLOTS, run
from cje.pipeline.validation import (
    guard_rail_metrics,
    summary_metrics,
    unused_labels,
    validation_metrics,
)
from cje.results.figures import write_figures
from cje.results.run import Run
from cje.results.view import RunView
from cje.results.words import count, counted, percent
from cje.settings import Settings, load_settings
from cje.stats.guardrails import more_labels, verdict, violations_frame, violations_list
from cje.stats.samples import clusters_of
from cje.stats.validation import Validation, validate


def main() -> str:
    settings = load_settings()
    used = read_table(DATA / "oracle_labels.parquet", "oracle_labels")
    waiting = label_answers(settings, used)
    labels = unit_labels(DATA / "validation_labels.parquet", "validation_labels", settings)
    base = read_table(DATA / "logs.parquet", "logs", ["action"])["action"].iloc[0]
    facts = read_json(METRICS / "diagnostics.json")
    labels = unused_labels(labels, used, base, [p for p, own in facts.items() if own["logged"]])
    results = read_json(METRICS / "estimates.json")["results"]
    estimates = pd.DataFrame.from_dict(results, orient="index")
    influence = read_table(DATA / "influence.parquet", "influence")
    influence = influence.pivot(index="uid", columns="policy", values="psi")
    prompts = read_table(DATA / "prompts.parquet", "prompts", ["uid", "cluster"])
    found = validate(
        estimates, influence, labels, pd.Series(clusters_of(prompts), prompts["uid"]),
        settings.alpha, settings.thresholds, more_labels(facts),
    )  # fmt: skip
    earlier = violations_list(read_table(DATA / "violations.parquet", "violations"))
    every = [*earlier, *found.violations]
    verdicts = {policy: str(verdict(policy, every)) for policy in estimates.index}
    violations = violations_frame(every)
    spearman = read_json(METRICS / "calibration.json").get("spearman")
    summary = summary_metrics(estimates, verdicts, found, violations, spearman)
    write_csv(violations, METRICS / "violations.csv")
    write_metrics(validation_metrics(found, verdicts), METRICS / "validation.json")
    write_metrics(guard_rail_metrics(violations), METRICS / "guard_rails.json")
    write_metrics(summary, METRICS / "summary.json")
    write_figures(RunView(Run(Path(), settings)), PLOTS)
    findings = counted(len(violations), "guard-rail finding")
    return "; ".join([outcome(found), findings, *waiting])


def outcome(found: Validation) -> str:
    """How many policies were held against how many labels, and how many intervals agreed."""
    if found.coverage is None:
        return "No held-out labels, so nothing to validate"
    labels = found.results["labels"]
    if labels.nunique() == 1:
        words = f"{counted(labels.iloc[0], 'held-out label')} each"
    else:
        words = "held-out labels: " + ", ".join(f"{p} {count(n)}" for p, n in labels.items())
    policies = counted(len(labels), "policy", "policies")
    return f"Validated {policies} on {words}; coverage {percent(found.coverage)}"


def label_answers(settings: Settings, used: pd.DataFrame) -> list[str]:
    """Have answers labelled to prompts without a label in `used`, write the tables, and say how
    many wait for people, if any do."""
    source, pool = open_label_source(settings, "validate"), read_pool(DATA, settings)
    labels = source.validation_labels(pool, used)
    write_table(labels, "validation_labels", DATA / "validation_labels.parquet")
    write_table(source.call_table(), "calls", DATA / "validate_calls.parquet")
    if isinstance(source, HumanSource) and (left := source.checks_waiting(pool)):
        verb = "waits for a label" if left == 1 else "wait for labels"
        return [f"{counted(left, 'answer')} that would check the estimates {verb}: cje label"]
    return []


if __name__ == "__main__":
    run(main, "Validating against the oracle")
