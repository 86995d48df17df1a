"""Label a random part of the logged answers and of every target's fresh ones with the oracle."""

from cje.designs import labelling_design
from cje.settings import load_settings
from cje.sources import open_source
from cje.stage import DATA, run
from cje.tables import LOGGED, read_table, write_table


def main() -> str:
    settings = load_settings()
    source = open_source(settings, "oracle_label")
    prompts = read_table(DATA / "prompts.parquet", "prompts")
    logs = read_table(DATA / "logs.parquet", "logs", ["uid", "answer", "action"])
    draws = read_table(DATA / "draws.parquet", "draws", ["uid", "policy", "draw", "answer"])
    scores = read_table(DATA / "proxy_scores.parquet", "proxy_scores")
    design = labelling_design(settings, prompts, scores)
    labels = source.oracle_labels(prompts, logs, draws, design)
    write_table(labels, "oracle_labels", DATA / "oracle_labels.parquet")
    write_table(source.call_table(), "calls", DATA / "oracle_label_calls.parquet")
    logged = int((labels["draw"] == LOGGED).sum())
    fresh = f"{len(labels) - logged:,} on fresh answers of {draws['policy'].nunique()} policies"
    return f"Obtained {logged:,} oracle labels on {len(logs):,} logged answers, {fresh}"


if __name__ == "__main__":
    run(main, "Obtaining oracle labels")
