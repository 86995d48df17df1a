"""This project's default estimate.

ours: dr-cpo on scores and labels, as the others have them. ours_active: as many labels, of the
prompts that `sampling: active` chooses by the judge's scores and the labels on the logs.
ours_logps: dr-cpo that also has the log-probabilities, where the set has any.
"""

from dataclasses import replace

import numpy as np

import cje
from cje.stats.sampling import judged_places, residual_sizes, sized_design, spread_design
from label_efficiency.exchange import Answers, Redraw, interval_answer, serve
from label_efficiency.frames import claimed, input_frames


def answer(redraw: Redraw) -> Answers:
    found = {"ours": from_analysis(cje.analyze(**input_frames(redraw)), redraw.policies)}
    active, chance = actively_labelled(redraw)
    found["ours_active"] = from_analysis(
        cje.analyze(**input_frames(active, chance=chance)), redraw.policies
    )
    if redraw.target_logps is not None:
        known = cje.analyze(**input_frames(redraw, logps=True))
        found["ours_logps"] = from_analysis(known, redraw.policies)
    return found


def actively_labelled(redraw: Redraw) -> tuple[Redraw, np.ndarray]:
    """The redraw with its labels where active sampling wants them; and the chance (n, 1 + T) of
    each answer to be labelled."""
    place = judged_places(redraw.judge)
    first, *counts = (~np.isnan(redraw.oracle)).sum(axis=0).tolist()
    logged = spread_design(place, redraw.number)
    utility = np.where(logged.chosen(first), redraw.all_labels[:, 0], np.nan)
    size = residual_sizes(redraw.judge, utility)
    own = sized_design(size, place, logged, first, redraw.number)
    plan = [(logged, first), *((own, count) for count in counts)]
    chosen = np.column_stack([design.chosen(count) for design, count in plan])
    chance = np.column_stack([design.probability(count) for design, count in plan])
    return replace(redraw, oracle=np.where(chosen, redraw.all_labels, np.nan)), chance


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
