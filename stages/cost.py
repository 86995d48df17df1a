"""Add up what the replies cost that the tables rest on."""

import pandas as pd

from cje.cost import cost_metrics
from cje.stage import DATA, METRICS, run
from cje.tables import read_table, write_metrics

STAGES = ("generate_logs", "draw_targets", "proxy_score", "oracle_label", "validate")


def main() -> str:
    calls = [read_table(DATA / f"{stage}_calls.parquet", "calls") for stage in STAGES]
    metrics = cost_metrics(pd.concat(calls, ignore_index=True))
    write_metrics(metrics, METRICS / "cost.json")
    return f"{metrics['calls']:,} calls, {metrics['failed']:,} failed: ${metrics['usd']:.2f}"


if __name__ == "__main__":
    run(main, "Cost")
