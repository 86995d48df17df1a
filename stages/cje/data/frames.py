"""The pipeline's tables joined into the frames that the statistics take."""

from pathlib import Path

import pandas as pd

from cje.data.tables import LOGGED, read_table, to_unit
from cje.errors import CJEError
from cje.settings import Settings

KEY = ["uid", "policy", "draw"]


def answer_frames(data: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Logs and draws: their key, `answer`, `finish_reason`, the `cluster` of their prompt, and for
    logs the log-probability."""
    columns = ["uid", "answer", "finish_reason"]
    logs = read_table(
        data / "logs.parquet", "logs", [*columns, "action", "sequence_logp", "logprob_kind"]
    )
    draws = read_table(data / "draws.parquet", "draws", [*columns, "policy", "draw"])
    logs = logs.rename(columns={"action": "policy"}).assign(draw=LOGGED)
    clusters = read_table(data / "prompts.parquet", "prompts", ["uid", "cluster"])
    return logs.merge(clusters, how="left", on="uid"), draws.merge(clusters, how="left", on="uid")


def scored_frames(data: Path, settings: Settings) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Logs and draws with `judge_raw` and their labels, all on [0, 1]."""
    scores = read_table(data / "proxy_scores.parquet", "proxy_scores", [*KEY, "judge_raw"])
    labels = unit_labels(data / "oracle_labels.parquet", "oracle_labels", settings)
    labels = labels[[*KEY, "oracle_score", "oracle_prob"]]
    logs, draws = (
        frame.merge(scores, how="left", on=KEY).merge(labels, how="left", on=KEY)
        for frame in answer_frames(data)
    )
    return logs, draws


def rewarded_frames(data: Path, settings: Settings) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Logs and draws with everything in table rewards, and `oracle_prob`."""
    rewards = read_table(data / "rewards.parquet", "rewards")
    labels = unit_labels(data / "oracle_labels.parquet", "oracle_labels", settings)
    probability = labels[[*KEY, "oracle_prob"]]
    logs, draws = (
        frame.merge(rewards, how="left", on=KEY).merge(probability, how="left", on=KEY)
        for frame in answer_frames(data)
    )
    return logs, draws


def unit_labels(path: Path, name: str, settings: Settings) -> pd.DataFrame:
    """Oracle labels on [0, 1]; raises CJEError for one outside `oracle_range`."""
    labels = read_table(path, name)
    unit = to_unit(labels["oracle_score"], settings.oracle_range)
    check_range(labels, unit, path, settings)
    return labels.assign(oracle_score=unit.clip(0, 1))


def check_range(labels: pd.DataFrame, unit: pd.Series, path: Path, settings: Settings) -> None:
    """Raise CJEError where a label lies outside the oracle's scale."""
    bad = (unit < -1e-9) | (unit > 1 + 1e-9)
    if bad.any():
        row = labels[bad].iloc[0]
        lo, hi = settings.oracle_range
        raise CJEError(
            f"{path}: uid={row['uid']!r}, policy={row['policy']!r}: oracle_score "
            f"{row['oracle_score']:g} is outside oracle_range [{lo:g}, {hi:g}]"
        )
