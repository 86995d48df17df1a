"""Log the base policy's answers, with the log-probability of every token."""

from cje.data.tables import read_table, write_table
from cje.pipeline.sources import open_source
from cje.pipeline.stage import DATA, missing, run
from cje.settings import load_settings
from cje.vocabulary import counted


def main() -> str:
    source = open_source(load_settings(), "generate_logs")
    prompts = read_table(DATA / "prompts.parquet", "prompts")
    logs = source.logs(prompts)
    write_table(logs, "logs", DATA / "logs.parquet")
    write_table(source.call_table(), "calls", DATA / "generate_logs_calls.parquet")
    return (
        f"Logged {counted(len(logs), 'answer')} of {', '.join(logs['action'].unique())}"
        + missing(logs)
    )


if __name__ == "__main__":
    run(main, "Logged answers of the base policy")
