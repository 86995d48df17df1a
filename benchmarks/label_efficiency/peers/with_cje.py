"""This project's default estimate.

ours: dr-cpo on scores and labels, as the others have them. ours_logps: dr-cpo that also has the
log-probabilities, where the set has any.
"""

import numpy as np

import cje
from label_efficiency.exchange import Answers, Redraw, interval_answer, serve
from label_efficiency.frames import claimed, input_frames


def answer(redraw: Redraw) -> Answers:
    found = {"ours": from_analysis(cje.analyze(**input_frames(redraw)), redraw.policies)}
    if redraw.target_logps is not None:
        known = cje.analyze(**input_frames(redraw, logps=True))
        found["ours_logps"] = from_analysis(known, redraw.policies)
    return found


def from_analysis(analysis: cje.Analysis, policies: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Estimates and claims on the targets, with verdicts; `best` (1 + T,): not beaten by any."""
    targets = policies[1:]
    rows = analysis.estimates.loc[list(targets)]
    return interval_answer(
        *rows[["v_hat", "se", "ci_low", "ci_high"]].to_numpy(float).T,
        claims=claimed(analysis.comparisons, targets),
        verdict=rows["verdict"].to_numpy("U8"),
        best=np.isin(policies, analysis.best),
    )


if __name__ == "__main__":
    serve(answer)
