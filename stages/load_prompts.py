"""Load the prompts: from a provider's set, a file of prompts, or the user's own logs."""

import pandas as pd

from cje.data.tables import write_csv, write_metrics, write_table
from cje.errors import CJEError
from cje.pipeline.parts import read_needs
from cje.pipeline.prompts import check_prompts, load_prompts
from cje.pipeline.sources import write_checked
from cje.pipeline.stage import DATA, METRICS, run
from cje.settings import Settings, load_settings
from cje.vocabulary import counted


def main() -> str:
    settings = load_settings()
    if settings.source == "files":
        return from_files(settings)
    notes: list[str] = []
    prompts = load_prompts(settings, notes)
    check_prompts(prompts, read_needs())
    write_checked({})
    write_table(prompts, "prompts", DATA / "prompts.parquet")
    write_metrics({"prompts": len(prompts)}, METRICS / "inputs.json")
    write_csv(pd.DataFrame(columns=["file", "line", "column", "reason"]), METRICS / "bad_rows.csv")
    for note in notes:
        print(f"note: {note}")
    return f"Loaded {counted(len(prompts), 'prompt')} from {settings.prompts}"


def from_files(settings: Settings) -> str:
    """Read the user's files, with every row checked."""
    from cje.data.readers.inputs import read_inputs
    from cje.pipeline.sources import CHECKED_TABLES

    inputs = read_inputs(DATA / "inputs", settings)
    if inputs.oracle_labels.empty and inputs.validation_labels.empty and not settings.asks_people:
        raise CJEError(
            f"{DATA / 'inputs'}: no row has an oracle_score (or oracle_label), so nothing ties the "
            "judge to the oracle; label a hundred answers of each policy, or set "
            "oracle_model=human and label them with cje label"
        )
    write_checked({name: getattr(inputs, name) for name in CHECKED_TABLES})
    write_table(inputs.prompts, "prompts", DATA / "prompts.parquet")
    left_out = {"left_out": inputs.left_out} if inputs.left_out else {}
    write_metrics(inputs.summary | left_out, METRICS / "inputs.json")
    write_csv(inputs.bad_rows, METRICS / "bad_rows.csv")
    for note in inputs.notes:
        print(f"note: {note}")
    bad = counted(len(inputs.bad_rows), "bad row")
    without = f", {bad} left out" if len(inputs.bad_rows) else ""
    logs, draws = counted(len(inputs.logs), "log"), counted(len(inputs.draws), "draw")
    return f"Read {logs} and {draws}{without}"


if __name__ == "__main__":
    run(main, "Loading prompts")
