"""Which cheap judge agrees most with the oracle? python benchmarks/judges.py

Rank correlations (Spearman) of candidate judges with `checks/share`, on the answers of the last run
of the default settings, policy by policy; a judge with none is no use however it is calibrated. The
scores of `likelihood` are those of the run, the others are asked of the model now (`make local`).
"""

import argparse

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from scipy.stats import rankdata, spearmanr

import label_samples
from cje.data.tables import read_table
from cje.models.lookup import provider_for
from cje.models.provider import Judging
from cje.models.runner.calls import Calls
from cje.pipeline.stage import DATA
from cje.settings import load_settings

VERDICT = "the model's verdict, 0 to 10"


def answers(policies: list[str], count: int) -> pd.DataFrame:
    """The first `count` answers of each policy with what their prompts bring, the oracle's `truth`
    and the run's scores `judge_raw`."""
    logs, draws, _ = label_samples.run()
    known = pd.concat([logs, draws])
    known = known[known["policy"].isin(policies) & known["answer"].notna()]
    known = known.merge(read_table(DATA / "prompts.parquet", "prompts"), on="uid")
    return known.groupby("policy", sort=False).head(count).reset_index(drop=True)


def candidates(known: pd.DataFrame, model: str) -> dict[str, np.ndarray]:
    """Scores of every answer, higher is better, by the judge's name."""
    calls = Calls(load_settings(), "proxy_score")
    found = {
        "likelihood": known["judge_raw"].to_numpy(float),
        "shortness": -known["answer"].str.len().to_numpy(float),
    }
    judge = provider_for(f"local/{model}", calls)
    verdicts = judge.judge(known, model, Judging((0.0, 10.0), seed=0))
    found[VERDICT] = verdicts["score"].to_numpy(float)
    for name in ("shortness", VERDICT):
        pair = (found["likelihood"], found[name])
        found[f"likelihood and {name}"] = sum(rankdata(v, nan_policy="omit") for v in pair)
    return found


def correlation(scores: np.ndarray, truth: np.ndarray) -> float:
    known = np.isfinite(scores)
    return float(spearmanr(scores[known], truth[known]).statistic)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--answers", type=int, default=200, help="of each policy")
    options.add_argument("--policies", nargs="+", default=["base", "hotter", "unhelpful"])
    options.add_argument("--model", default="smollm2-135m")
    given = options.parse_args()
    known = answers(given.policies, given.answers)
    table = Table("judge", *given.policies, title="Spearman with the oracle")
    for name, scores in candidates(known, given.model).items():
        rows = [known["policy"].eq(policy).to_numpy() for policy in given.policies]
        cells = [correlation(scores[own], known["truth"].to_numpy()[own]) for own in rows]
        table.add_row(name, *(f"{cell:+.2f}" for cell in cells))
    Console(highlight=False).print(table)


if __name__ == "__main__":
    main()
