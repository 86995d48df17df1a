"""Calibrated rewards: the judge's scores of logs and draws as utilities, cross-fitted."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cje.calibration import CrossFit, calibration_report, cross_fit
from cje.samples import add_folds, covariates


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
    log_columns, draw_columns = covariates(logs, draws)
    logs, draws = add_folds(logs, folds, seed), add_folds(draws, folds, seed)
    fit, report = fit_labels(logs, log_columns, folds)
    for frame, columns in ((logs, log_columns), (draws, draw_columns)):
        score, fold = frame["judge_raw"].to_numpy(), frame["fold"].to_numpy()
        frame["calibrated_reward"] = fit.predict(score, fold, columns)
    return Calibration(logs, draws, fit, report)


def fit_labels(
    logs: pd.DataFrame, columns: np.ndarray | None, folds: int
) -> tuple[CrossFit, dict[str, float | str | None]]:
    """The cross-fit on the labelled logs, with covariates (n, d) or None, and its report."""
    rows = logs["oracle_score"].notna().to_numpy()
    score, utility, fold = (
        logs[name].to_numpy()[rows] for name in ("judge_raw", "oracle_score", "fold")
    )
    weight = 1 / logs["oracle_prob"].to_numpy()[rows]
    held = None if columns is None else columns[rows]
    fit = cross_fit(score, utility, weight, fold, folds, held)
    fitted = fit.predict(score, fold, held)
    report = calibration_report(score, utility, fitted, weight)
    report |= {"form": fit.form, "utility_sd": float(utility.std(ddof=1))}
    report |= {f"cv_risk_{name.replace('-', '_')}": risk for name, risk in fit.cv_risk.items()}
    return fit, report
