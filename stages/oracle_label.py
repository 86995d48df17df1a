"""Label a random part of the logged answers and of every target's fresh ones with the oracle."""

from cje.data.tables import LOGGED, check_table, write_metrics, write_table
from cje.labelling.people import HumanSource, open_label_source, read_pool
from cje.labelling.reporting import label_metrics, wait_for_people
from cje.pipeline.stage import DATA, METRICS, run
from cje.settings import load_settings
from cje.vocabulary import counted


def main() -> str:
    settings = load_settings()
    source = open_label_source(settings, "oracle_label")
    pool = read_pool(DATA, settings)
    labels = check_table(source.oracle_labels(pool), "oracle_labels")
    people = source if isinstance(source, HumanSource) else None
    progress = people.progress(pool) if people else None
    # First of all: DVC has removed the file, and a stage that waits for people ends below.
    write_metrics(label_metrics(labels, pool.answers, progress), METRICS / "labels.json")
    waiting = wait_for_people(people, progress, pool) if people else ""
    write_table(labels, "oracle_labels", DATA / "oracle_labels.parquet")
    write_table(source.call_table(), "calls", DATA / "oracle_label_calls.parquet")
    logged = int((labels["draw"] == LOGGED).sum())
    policies = counted(pool.draws["policy"].nunique(), "policy", "policies")
    return (
        f"Obtained {counted(logged, 'oracle label')} on "
        f"{counted(len(pool.logs), 'logged answer')}, "
        f"{len(labels) - logged:,} on fresh answers of {policies}{waiting}"
    )


if __name__ == "__main__":
    run(main, "Obtaining oracle labels")
