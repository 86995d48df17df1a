"""Label a random fraction of the logged answers with the oracle."""

from cje.settings import load_settings
from cje.sources import open_source
from cje.stage import DATA, run
from cje.tables import read_table, write_table


def main() -> str:
    source = open_source(load_settings())
    logs = read_table(DATA / "logs.parquet", "logs", ["uid", "prompt", "answer", "action"])
    labels = source.oracle_labels(logs)
    write_table(labels, "oracle_labels", DATA / "oracle_labels.parquet")
    return f"Obtained {len(labels):,} oracle labels on {len(logs):,} logged answers"


if __name__ == "__main__":
    run(main)
