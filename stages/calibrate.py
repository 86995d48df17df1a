"""Calibrate the proxy to the oracle, cross-fitted, and turn every score into a reward."""

import numpy as np
import pandas as pd

from cje.data.frames import KEY, scored_frames
from cje.data.tables import write_csv, write_metrics, write_table
from cje.pipeline.stage import DATA, METRICS, PLOTS, run
from cje.results import plots
from cje.settings import load_settings
from cje.stats.checking import check_frames
from cje.stats.rewards import Calibration, calibrate
from cje.vocabulary import counted


def main() -> str:
    settings = load_settings()
    logs, draws = scored_frames(DATA, settings)
    logs, _, draws = check_frames(logs, None, draws, (0, 1), (0, 1))
    result = calibrate(logs, draws, folds=settings.folds, seed=settings.seed)
    columns = [*KEY, "fold", "judge_raw", "calibrated_reward", "oracle_score"]
    rewards = pd.concat([result.logs[columns], result.draws[columns]], ignore_index=True)
    write_table(rewards, "rewards", DATA / "rewards.parquet")
    write_metrics(result.report, METRICS / "calibration.json")
    draw_curve(result)
    rank = result.report["spearman"]
    words = "not defined" if rank is None else f"{rank:.3f}"
    return (
        f"Spearman correlation (proxy vs oracle): {words}; "
        f"{result.report['form']} calibration on {counted(result.report['labels'], 'label')}"
    )


def draw_curve(result: Calibration) -> None:
    """The figure and its data: the calibrator that all labels fit, over the labels."""
    labelled = result.logs[result.logs["oracle_score"].notna()]
    judge, oracle = (labelled[c].to_numpy() for c in ("judge_raw", "oracle_score"))
    x = np.unique(result.logs["judge_raw"].dropna())
    y = result.fit.overall.predict(x)
    rank = result.report["spearman"]
    plots.calibration_curve(
        PLOTS / "calibration_curve.png",
        judge_raw=judge,
        oracle_score=oracle,
        curve_x=x,
        curve_y=y,
        spearman=np.nan if rank is None else rank,
        draw_scores={p: rows["judge_raw"].to_numpy() for p, rows in result.draws.groupby("policy")},
    )
    write_csv(plots.calibration_curve_data(judge, oracle, x, y), PLOTS / "calibration_curve.csv")


if __name__ == "__main__":
    run(main, "Calibrating judge to oracle")
