"""Calibrated rewards: the judge's scores of logs and draws as utilities, cross-fitted."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cje.stats.calibration import CrossFit, calibration_report, cross_fit
from cje.stats.samples import add_folds, relative_lengths


@dataclass(frozen=True)
class Calibration:
    """The frames with `fold` and `calibrated_reward`, the fit, and its report."""

    logs: pd.DataFrame
    draws: pd.DataFrame
    fit: CrossFit
    report: dict[str, float | str | None]


def calibrate(
    logs: pd.DataFrame, draws: pd.DataFrame, *, folds: int = 5, seed: int = 42
) -> Calibration:
    """Cross-fit the judge's calibration on the labelled logs and apply it to logs and draws.

    Frames as in `analyze`, checked, with scores on [0, 1].
    """
    logs, draws = add_folds(logs, folds, seed), add_folds(draws, folds, seed)
    columns = relative_lengths(logs, draws)
    fit, report = fit_labels(logs, draws, columns, folds)
    for frame, own in zip((logs, draws), columns, strict=True):
        score, fold = frame["judge_raw"].to_numpy(), frame["fold"].to_numpy()
        frame["calibrated_reward"] = fit.predict(score, fold, own)
    return Calibration(logs, draws, fit, report)


def fit_labels(
    logs: pd.DataFrame,
    draws: pd.DataFrame,
    columns: tuple[np.ndarray | None, np.ndarray | None],
    folds: int,
) -> tuple[CrossFit, dict[str, float | str | None]]:
    """The cross-fit on the labelled logs (where fewer than two are, on the draws), and its report.

    `columns`: covariates of logs and draws, (n, d) and (m, d), or None.
    """
    frame, column = logs, columns[0]
    if frame["oracle_score"].notna().sum() < 2:
        frame, column = draws, columns[1]
    rows = frame["oracle_score"].notna().to_numpy()
    score, utility, fold = (
        frame[name].to_numpy()[rows] for name in ("judge_raw", "oracle_score", "fold")
    )
    weight = 1 / frame["oracle_prob"].fillna(1.0).to_numpy()[rows]
    held = None if column is None else column[rows]
    fit = cross_fit(score, utility, weight, fold, folds, held)
    fitted = fit.predict(score, fold, held)
    report = calibration_report(score, utility, fitted, weight)
    report |= {"form": fit.form, "utility_sd": float(utility.std(ddof=1))}
    report |= {f"cv_risk_{name.replace('-', '_')}": risk for name, risk in fit.cv_risk.items()}
    return fit, report
