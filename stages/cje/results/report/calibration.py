"""How good the judge is, and the curve that turns its scores into utilities."""

from dataclasses import dataclass

import pandas as pd
from scipy.special import stdtrit

from cje.results.report.axis import Axis, axis_over
from cje.results.run import Run
from cje.results.words import counted, interval, number
from cje.stats.calibration import score_bins

WIDTH, HEIGHT = 620, 320
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 26, 44
BINS, PER_BIN, CURVE_POINTS = 10, 10, 40


@dataclass(frozen=True)
class Calibration:
    """Facts as (name, value, what it means); the drawing's scales, curve (points of an SVG
    polyline) and binned labels (x, y, low, high); None where nothing is labelled."""

    facts: list[tuple[str, str, str]]
    x: Axis | None
    y: Axis | None
    curve: str
    bins: list[tuple[float, float, float, float]]
    table: pd.DataFrame
    width: int = WIDTH
    height: int = HEIGHT


def calibration(run: Run) -> Calibration:
    """What `metrics/calibration.json` says, and the curve from the logs."""
    found = run.metrics("calibration")
    facts = [
        (
            "Labels",
            number(found.get("labels"), ",.0f"),
            "of logged answers, by the oracle",
        ),
        (
            "Rank correlation",
            number(found.get("spearman")),
            "Spearman, judge with oracle: 0 is no signal, 1 the same order",
        ),
        (
            "Calibration error",
            number(found.get("calibration_error")),
            "how far calibrated scores are from the labels' mean, on average; a perfect curve "
            f"would show {number(found.get('calibration_error_by_chance'))} with as few labels, "
            f"the judge as it is {number(found.get('calibration_error_raw'))}",
        ),
        (
            "Share explained",
            number(found.get("r2")),
            "R²: of the labels' variance, by the calibrated score; below 0: none",
        ),
        (
            "Error of one answer",
            number(found.get("rmse")),
            "root mean square, from its label",
        ),
        (
            "Scores covered",
            interval(found.get("score_low"), found.get("score_high")),
            "judge scores, from 0 to 1, that labels reach",
        ),
    ]
    facts += ceiling(run)
    labelled = run.logs.dropna(subset=["judge_raw", "oracle_score"])
    bins = binned(labelled)
    if bins.empty:
        return Calibration(facts, None, None, "", [], bins)
    curve = fitted(run.logs)
    x = axis_over([*curve["judge"], *bins["judge"]], LEFT, WIDTH - RIGHT)
    y = axis_over([*curve["reward"], *bins["low"], *bins["high"]], HEIGHT - BOTTOM, TOP)
    points = " ".join(f"{x.at(a)},{y.at(b)}" for a, b in curve.to_numpy())
    marks = [
        (x.at(row.judge), y.at(row.oracle), y.at(row.low), y.at(row.high))
        for row in bins.itertuples()
    ]
    return Calibration(facts, x, y, points, marks, bins)


def ceiling(run: Run) -> list[tuple[str, str, str]]:
    """How far raters agree, and what that leaves for a judge, as facts; none where they shared no
    answers."""
    found = run.raters
    if not found:
        return []
    low, high = run.settings.oracle_range
    return [
        (
            "Raters' agreement",
            number(found["alpha"]),
            f"Krippendorff's alpha on {counted(found['answers'], 'answer')} that several "
            "labelled: 1 is full agreement, 0 is chance",
        ),
        (
            "Noise of one rater",
            number(found["noise"]),
            f"standard deviation of labels of the same answer, on the scale from {low:g} to "
            f"{high:g}",
        ),
        (
            "Ceiling",
            number(found["ceiling"]),
            "no judge's correlation with these labels can be higher: the root of their "
            f"reliability, {number(found['reliability'])}",
        ),
    ]


def binned(labelled: pd.DataFrame) -> pd.DataFrame:
    """Means of bins of about as many labels: `judge`, `oracle`, `labels`, and the ends of a 95 % t
    interval, `low` and `high`, on [0, 1]."""
    groups = labelled.groupby(score_bins(labelled["judge_raw"], BINS, PER_BIN))
    labels = groups.size()
    means = groups["oracle_score"].mean()
    spread = groups["oracle_score"].std().fillna(0) / labels**0.5
    half = spread * stdtrit((labels - 1).clip(lower=1), 0.975)
    return pd.DataFrame(
        {
            "judge": groups["judge_raw"].mean(),
            "oracle": means,
            "labels": labels,
            "low": (means - half).clip(0, 1),
            "high": (means + half).clip(0, 1),
        }
    )


def fitted(logs: pd.DataFrame) -> pd.DataFrame:
    """The mean calibrated reward by judge score of the logged answers: `judge`, `reward`."""
    known = logs.dropna(subset=["judge_raw", "calibrated_reward"])
    groups = known.groupby(score_bins(known["judge_raw"], CURVE_POINTS, 1))
    return pd.DataFrame(
        {"judge": groups["judge_raw"].mean(), "reward": groups["calibrated_reward"].mean()}
    )
