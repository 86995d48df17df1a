"""This project before its estimates stood on labels; the path leads to the library of that time.

former: its default estimate, which the labels on the targets' own answers did not touch. former_
audited: the estimate from these labels that it gave beside. former_logps: its default with the
log-probabilities, where the set has any. direct: its calibrated judge alone, which is refused now.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

import cje
from label_efficiency.exchange import Answers, Redraw, interval_answer, serve
from label_efficiency.frames import claimed, input_frames

DEFAULT = ["v_hat", "se", "ci_low", "ci_high"]
AUDITED = ["v_audited", "se_audited", "ci_low_audited", "ci_high_audited"]


def answer(redraw: Redraw) -> Answers:
    targets = redraw.policies[1:]
    redraw = replace(redraw, judge=redraw.whole_judge)

    def default(analysis: cje.Analysis) -> dict[str, np.ndarray]:
        rows = analysis.estimates.loc[list(targets)]
        return interval_answer(
            *numbers(rows, DEFAULT),
            claims=claimed(analysis.comparisons, targets),
            verdict=rows["verdict"].to_numpy("U8"),
        )

    frames = input_frames(redraw)
    known = cje.analyze(**frames)
    audited = numbers(known.estimates.loc[list(targets)], AUDITED)
    found = {
        "direct": default(cje.analyze(**frames, estimator="direct")),
        "former": default(known),
        "former_audited": interval_answer(*audited),
    }
    if redraw.target_logps is not None:
        found["former_logps"] = default(cje.analyze(**input_frames(redraw, logps=True)))
    return found


def numbers(rows: pd.DataFrame, columns: list[str]) -> np.ndarray:
    return rows[columns].to_numpy(float).T


if __name__ == "__main__":
    serve(answer)
