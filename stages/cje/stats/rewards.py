"""Calibrated rewards: the judge's scores of logs and draws as utilities, cross-fitted."""

from dataclasses import dataclass

import pandas as pd

from cje.stats.calibration import CalibrationReport, CrossFit, calibration_report, cross_fit
from cje.stats.samples import add_folds
from cje.vocabulary import Form


class FitReport(CalibrationReport):
    """The same, with the form of the curve, and the standard deviation of the labels."""

    form: str
    utility_sd: float


@dataclass(frozen=True)
class Calibration:
    """The frames with `fold` and `calibrated_reward`, the fit, and its report."""

    logs: pd.DataFrame
    draws: pd.DataFrame
    fit: CrossFit
    report: FitReport


def calibrate(
    logs: pd.DataFrame, draws: pd.DataFrame, *, folds: int = 5, seed: int = 42
) -> Calibration:
    """Cross-fit the judge's calibration on the labelled logs and apply it to logs and draws.

    Frames as in `analyze`, checked, with scores on [0, 1].
    """
    logs, draws = add_folds(logs, folds, seed), add_folds(draws, folds, seed)
    fit, report = fit_labels(logs, draws, folds)
    for frame in (logs, draws):
        score, fold = frame["judge_raw"].to_numpy(), frame["fold"].to_numpy()
        frame["calibrated_reward"] = fit.predict(score, fold)
    return Calibration(logs, draws, fit, report)


def fit_labels(logs: pd.DataFrame, draws: pd.DataFrame, folds: int) -> tuple[CrossFit, FitReport]:
    """The cross-fit on the logs' labels (with fewer than two, the draws'), and its report."""
    frame = logs if logs["oracle_score"].notna().sum() >= 2 else draws
    rows = frame["oracle_score"].notna().to_numpy()
    score, utility, fold = (
        frame[name].to_numpy()[rows] for name in ("judge_raw", "oracle_score", "fold")
    )
    weight = 1 / frame["oracle_prob"].fillna(1.0).to_numpy()[rows]
    fit = cross_fit(score, utility, weight, fold, folds)
    report = calibration_report(score, utility, fit.predict(score, fold), weight)
    spread = float(utility.std(ddof=1))
    return fit, {**report, "form": str(Form.ISOTONIC), "utility_sd": spread}
