"""Label a random fraction of the logged answers with the oracle."""

from cje.settings import load_settings
from cje.sources import open_source
from cje.stage import DATA, run
from cje.tables import read_table, write_table


def main() -> str:
    source = open_source(load_settings(), "oracle_label")
    prompts = read_table(DATA / "prompts.parquet", "prompts")
    logs = read_table(DATA / "logs.parquet", "logs", ["uid", "answer", "action"])
    labels = source.oracle_labels(prompts, logs)
    write_table(labels, "oracle_labels", DATA / "oracle_labels.parquet")
    write_table(source.call_table(), "calls", DATA / "oracle_label_calls.parquet")
    return f"Obtained {len(labels):,} oracle labels on {len(logs):,} logged answers"


if __name__ == "__main__":
    run(main, "Obtaining oracle labels")
