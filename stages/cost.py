"""Add up what the replies behind the tables cost."""

import pandas as pd

from cje.data.tables import read_table, write_metrics
from cje.pipeline.cost import cost_metrics, priced
from cje.pipeline.stage import DATA, METRICS, run
from cje.settings import load_settings
from cje.vocabulary import counted

STAGES = ("generate_logs", "draw_targets", "proxy_score", "oracle_label", "validate")


def main() -> str:
    calls = [read_table(DATA / f"{stage}_calls.parquet", "calls") for stage in STAGES]
    table = priced(pd.concat(calls, ignore_index=True), load_settings().prices)
    metrics = cost_metrics(table)
    write_metrics(metrics, METRICS / "cost.json")
    words = (
        f"{counted(metrics['calls'], 'call')}, {metrics['failed']:,} failed: ${metrics['usd']:.2f}"
    )
    if metrics["unpriced"]:
        unknown = table["cost_usd"].isna() & table["reason"].isna()
        models = ", ".join(table.loc[unknown, "model"].unique())
        calls = counted(metrics["unpriced"], "call")
        words += f", without {calls} of unknown price ({models}); see `prices`"
    return words


if __name__ == "__main__":
    run(main, "Cost")
