"""Every policy in order, its interval drawn on a scale that all share."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cje.results.report.axis import Axis, axis_over
from cje.results.report.redaction import redacted
from cje.results.run import Run
from cje.results.words import evidence, interval, number

WIDTH = 340
MARGIN = 12
DRAWN = ["v_hat", "ci_low", "ci_high", "oracle_truth", "ci_low_truth", "ci_high_truth"]


@dataclass(frozen=True)
class Standing:
    """A policy's row: numbers in words, and coordinates of its drawing (None: not known)."""

    policy: str
    about: str
    verdict: str
    estimate: str
    interval: str
    truth: str
    covered: str
    raw_judge: str
    judge: str
    evidence: str
    marks: dict[str, float | None]


@dataclass(frozen=True)
class Ranking:
    """The rows, best first and the refused ones last, and the scale of their drawings."""

    rows: list[Standing]
    axis: Axis
    width: int
    truths: int


def ranking(run: Run) -> Ranking:
    """The table of estimates."""
    table = run.estimates
    drawn = table[[*DRAWN, "calibrated_judge"]].to_numpy(float)
    axis = axis_over(drawn.ravel(), MARGIN, WIDTH - MARGIN)
    rows = [standing(run, str(policy), row, axis) for policy, row in table.iterrows()]
    return Ranking(rows, axis, WIDTH, int(table["oracle_truth"].notna().sum()))


def standing(run: Run, policy: str, row: pd.Series, axis: Axis) -> Standing:
    """A policy's row."""
    marks = {
        name: axis.at(row[name]) if np.isfinite(row[name]) else None
        for name in (*DRAWN, "calibrated_judge")
    }
    known = pd.notna(row["oracle_truth"])
    truth = f"{number(row['oracle_truth'])} ± {number(row['se_truth'])}" if known else number(None)
    return Standing(
        policy=policy,
        about=about(run, policy),
        verdict=row["verdict"],
        estimate=number(row["v_hat"]),
        interval=interval(row["ci_low"], row["ci_high"]),
        truth=truth,
        covered=("inside" if row["covered"] else "outside") if known else "",
        raw_judge=number(row["raw_judge"]),
        judge=number(row["calibrated_judge"]),
        evidence=evidence(row),
        marks=marks,
    )


def about(run: Run, policy: str) -> str:
    """What the policy is: the base policy, and where settings say so its model and temperature."""
    words = ["wrote the logs"] if policy == run.base else []
    if run.settings.source == "files":
        return "".join(words)
    meant = run.settings.policy(policy)
    if meant.model != policy:
        words.append(redacted(meant.model))
    if meant.temperature is not None:
        words.append(f"temperature {meant.temperature:g}")
    if meant.system_prompt:
        words.append("system prompt of its own")
    return ", ".join(words)
