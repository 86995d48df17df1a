"""Draw fresh answers of each target policy, and score the logged answers under each."""

from cje.data.tables import read_table, write_table
from cje.pipeline.sources import open_source
from cje.pipeline.stage import DATA, missing, run
from cje.settings import load_settings
from cje.vocabulary import counted


def main() -> str:
    source = open_source(load_settings(), "draw_targets")
    prompts = read_table(DATA / "prompts.parquet", "prompts")
    logs = read_table(DATA / "logs.parquet", "logs")
    draws, target_logps = source.draws(prompts), source.target_logps(logs)
    rescored = source.rescored(logs)
    write_table(draws, "draws", DATA / "draws.parquet")
    write_table(target_logps, "target_logps", DATA / "target_logps.parquet")
    write_table(rescored, "rescored", DATA / "rescored.parquet")
    write_table(source.call_table(), "calls", DATA / "draw_targets_calls.parquet")
    scored = target_logps["sequence_logp"].notna().sum()
    policies = counted(draws["policy"].nunique(), "policy", "policies")
    drew = f"Drew {counted(len(draws), 'answer')} of {policies}{missing(draws)}"
    return f"{drew}; {counted(scored, 'log-probability', 'log-probabilities')} of logged answers"


if __name__ == "__main__":
    run(main, "Fresh answers of the targets")
