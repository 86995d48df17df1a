"""Score every logged and fresh answer with the proxy judge."""

from cje.settings import load_settings
from cje.sources import open_source
from cje.stage import DATA, run
from cje.tables import read_table, write_table


def main() -> str:
    source = open_source(load_settings())
    logs = read_table(DATA / "logs.parquet", "logs", ["uid", "prompt", "answer", "action"])
    columns = ["uid", "prompt", "policy", "draw", "answer"]
    draws = read_table(DATA / "draws.parquet", "draws", columns)
    scores = source.proxy_scores(logs, draws)
    write_table(scores, "proxy_scores", DATA / "proxy_scores.parquet")
    missing = scores["judge_raw"].isna().sum()
    return f"Judged {len(scores):,} answers, {missing:,} without a score"


if __name__ == "__main__":
    run(main)
