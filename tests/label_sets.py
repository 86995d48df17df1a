"""Real evaluations with every label known, where this checkout has them beside it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from worlds import labelled_rows

SETS = Path(__file__).resolve().parents[1].parent / "shared" / "label_sets"


def label_set(name: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Judge and oracle scores by prompt and policy; skips the test where the set is absent."""
    path = SETS / f"{name}.parquet"
    if not path.is_file():
        pytest.skip(f"there is no {path}")
    rows = pd.read_parquet(path)
    return tuple(rows.pivot(index="uid", columns="policy", values=c) for c in ("judge", "oracle"))


def redraw(judge: pd.DataFrame, oracle: pd.DataFrame, seed: int, labels: int):
    """Logs and draws of as many prompts, drawn with replacement: the set is their truth. A quarter
    of the base's answers is labelled, and `labels` of every other policy's, nested."""
    rng = np.random.default_rng(seed)
    n = len(judge)
    rows = rng.integers(n, size=n)
    logged, own = labelled_rows(rng, n, n // 4, labels)
    uid = [f"prompt {i}" for i in range(n)]

    def answers(policy: str, shown: np.ndarray) -> pd.DataFrame:
        score, utility = (frame[policy].to_numpy()[rows] for frame in (judge, oracle))
        columns = {"uid": uid, "judge_raw": score, "oracle_score": np.where(shown, utility, np.nan)}
        return pd.DataFrame(columns)

    targets = [policy for policy in judge if policy != "base"]
    draws = [answers(policy, own).assign(policy=policy, draw=0) for policy in targets]
    return answers("base", logged), pd.concat(draws, ignore_index=True)


def prediction_powered(rows: pd.DataFrame) -> float:
    """A policy's prediction-powered mean on its own judge scores, power-tuned (Angelopoulos, Duchi
    and Zrnic 2023, equations 3 and 6)."""
    seen = rows[rows["oracle_score"].notna()]
    score, utility = seen["judge_raw"], seen["oracle_score"]
    spread = rows["judge_raw"].var()
    power = score.cov(utility) / spread / (1 + len(seen) / len(rows)) if spread > 0 else 0.0
    return float(utility.mean() + power * (rows["judge_raw"].mean() - score.mean()))
