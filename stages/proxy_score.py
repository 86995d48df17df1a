"""Score every logged and fresh answer with the proxy judge."""

from cje.data.tables import read_table, write_table
from cje.pipeline.sources import open_source
from cje.pipeline.stage import DATA, run
from cje.settings import load_settings
from cje.vocabulary import counted


def main() -> str:
    source = open_source(load_settings(), "proxy_score")
    prompts = read_table(DATA / "prompts.parquet", "prompts")
    logs = read_table(DATA / "logs.parquet", "logs", ["uid", "answer", "action"])
    draws = read_table(DATA / "draws.parquet", "draws", ["uid", "policy", "draw", "answer"])
    scores = source.proxy_scores(prompts, logs, draws)
    write_table(scores, "proxy_scores", DATA / "proxy_scores.parquet")
    write_table(source.call_table(), "calls", DATA / "proxy_score_calls.parquet")
    missing = scores["judge_raw"].isna().sum()
    return f"Judged {counted(len(scores), 'answer')}, {missing:,} without a score"


if __name__ == "__main__":
    run(main, "Scoring with the proxy judge")
