"""Label a random part of the logged answers and of every target's fresh ones with the oracle."""

import pandas as pd

from cje.data.tables import LOGGED, check_table, read_table, write_metrics, write_table
from cje.labelling.people import PeopleLabel, open_labelled, told
from cje.labelling.reporting import label_metrics, wait_for_people
from cje.pipeline.designs import labelling_designs
from cje.pipeline.stage import DATA, METRICS, run
from cje.settings import load_settings


def main() -> str:
    settings = load_settings()
    source = open_labelled(settings, "oracle_label")
    prompts = read_table(DATA / "prompts.parquet", "prompts")
    logs = read_table(DATA / "logs.parquet", "logs", ["uid", "answer", "action"])
    draws = read_table(DATA / "draws.parquet", "draws", ["uid", "policy", "draw", "answer"])
    scores = read_table(DATA / "proxy_scores.parquet", "proxy_scores")
    designs = labelling_designs(settings, prompts, scores)
    if isinstance(source, PeopleLabel):
        designs = told(designs, source.labels, settings, prompts, logs, draws)
    asked = (prompts, logs, draws, designs)
    labels = check_table(source.oracle_labels(*asked), "oracle_labels")
    progress, waiting = None, ""
    if isinstance(source, PeopleLabel):
        progress = source.progress(*asked)
        waiting = wait_for_people(source, progress, *asked)
    write_table(labels, "oracle_labels", DATA / "oracle_labels.parquet")
    write_table(source.call_table(), "calls", DATA / "oracle_label_calls.parquet")
    answers = pd.concat([logs.rename(columns={"action": "policy"}).assign(draw=LOGGED), draws])
    write_metrics(label_metrics(labels, answers, progress), METRICS / "labels.json")
    logged = int((labels["draw"] == LOGGED).sum())
    fresh = f"{len(labels) - logged:,} on fresh answers of {draws['policy'].nunique()} policies"
    return f"Obtained {logged:,} oracle labels on {len(logs):,} logged answers, {fresh}{waiting}"


if __name__ == "__main__":
    run(main, "Obtaining oracle labels")
