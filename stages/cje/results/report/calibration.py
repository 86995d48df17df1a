"""How good the judge is, and the curve that turns its scores into utilities."""

from dataclasses import dataclass

import pandas as pd

from cje.results.report.axis import Axis, axis_over
from cje.results.rows import CalibrationBin, calibration_bins
from cje.results.view import RunView
from cje.results.words import count, counted, interval, number, short
from cje.stats.calibration import score_bins

WIDTH, HEIGHT = 620, 320
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 26, 44
CURVE_POINTS = 40


@dataclass(frozen=True)
class Curve:
    """The drawing: labels in bins, the curve as points of an SVG polyline, and the scales."""

    bins: list[CalibrationBin]
    points: str
    x: Axis
    y: Axis
    width: int = WIDTH
    height: int = HEIGHT


def calibration_facts(view: RunView) -> list[tuple[str, str, str]]:
    """The facts of the calibration: name, value, what it means."""
    found = view.calibration
    return [
        ("Labels", count(found.labels), "of logged answers, by the oracle"),
        (
            "Rank correlation (Spearman)",
            number(found.spearman),
            "judge with oracle: 0 is no signal, 1 the same order",
        ),
        (
            "Calibration error",
            number(found.calibration_error),
            "mean distance of calibrated scores from the labels' mean; with as few labels a "
            f"perfect curve would show {number(found.calibration_error_by_chance)}; without "
            f"calibration it is {number(found.calibration_error_raw)}",
        ),
        (
            "R²",
            number(found.r2),
            "share of the labels' variance that calibrated scores explain; below 0: none",
        ),
        (
            "Root mean squared error",
            number(found.rmse),
            "of one answer's calibrated score, from its label",
        ),
        (
            "Scores covered",
            interval(found.score_low, found.score_high),
            "range of judge scores, from 0 to 1, that have labels",
        ),
        *ceiling(view),
    ]


def calibration_curve(view: RunView) -> Curve | None:
    """The curve and the binned labels; None where no logged answer is labelled."""
    logs = view.run.logs
    labelled = logs.dropna(subset=["judge_raw", "oracle_score"])
    bins = calibration_bins(labelled["judge_raw"].to_numpy(), labelled["oracle_score"].to_numpy())
    if not bins:
        return None
    curve = fitted(logs)
    ends = [end for one in bins for end in one.interval]
    x = axis_over([*curve["judge"], *(one.judge_score for one in bins)], LEFT, WIDTH - RIGHT)
    y = axis_over([*curve["reward"], *ends], HEIGHT - BOTTOM, TOP)
    points = " ".join(f"{x.at(a)},{y.at(b)}" for a, b in curve.to_numpy())
    return Curve(bins, points, x, y)


def ceiling(view: RunView) -> list[tuple[str, str, str]]:
    """How far raters agree, and what that leaves for a judge, as facts; none where they shared no
    answers."""
    found = view.raters
    if found is None:
        return []
    low, high = view.run.settings.oracle_range
    return [
        (
            "Raters' agreement",
            number(found.alpha),
            f"Krippendorff's alpha on {counted(found.answers, 'answer')} that several labelled: 1 "
            "is full agreement, 0 is chance",
        ),
        (
            "Noise of one rater",
            number(found.noise),
            "standard deviation of labels of the same answer, on the scale from "
            f"{short(low)} to {short(high)}",
        ),
        (
            "Ceiling",
            number(found.ceiling),
            "no judge's correlation with these labels can be higher: the root of their "
            f"reliability, {number(found.reliability)}",
        ),
    ]


def fitted(logs: pd.DataFrame) -> pd.DataFrame:
    """The mean calibrated reward by judge score of the logged answers: `judge`, `reward`."""
    known = logs.dropna(subset=["judge_raw", "calibrated_reward"])
    groups = known.groupby(score_bins(known["judge_raw"], CURVE_POINTS, 1))
    return pd.DataFrame(
        {"judge": groups["judge_raw"].mean(), "reward": groups["calibrated_reward"].mean()}
    )
