"""Whether a run has reached its aim, and what stopping for it means."""

from typing import TYPE_CHECKING

from cje.results.view import RunView
from cje.results.words import counted, listed, number, short
from cje.stats.planning import Aim, Planner, Size
from cje.vocabulary import Conclusion, Intervals

if TYPE_CHECKING:
    from cje.stats.planning import Pilot

WIDTHS = (
    "You may look at widths after every batch and stop because of them, with either kind of "
    "intervals: a width does not show which way an estimate falls."
)
ANYTIME = (
    "Its intervals are valid at any time: you may look at the differences while labels come in, "
    "and stop because of what they show."
)
FIXED_TIME = (
    "Its intervals are fixed-time: you may stop because of the differences only at a number of "
    "labels that was set beforehand. To look while labels come in, and stop when a difference "
    "shows, set intervals: anytime (params.yaml)."
)


def standing(view: RunView, aim: Aim, pilot: "Pilot | None") -> tuple[bool, list[str]]:
    """Whether the run has reached the aim, and sentences that say so, or what is missing. `pilot`
    is that of the run, which an aim with `apart` needs: None where its labels are too few for
    one."""
    on = f"on {counted(view.answers.labels, 'label')}"
    if refused := view.refused:
        verb = "is" if len(refused) == 1 else "are"
        return False, [f"Do not stop yet: {listed(refused, 4)} {verb} refused, {on}."]
    there: list[str] = []
    missing: list[str] = []
    rules = []
    if aim.within is not None:
        reached, words = within(view, aim.within)
        (there if reached else missing).append(words)
        rules.append(WIDTHS)
    if aim.apart is not None:
        reached, words = clear(view, aim, aim.apart, pilot)
        (there if reached else missing).append(words)
        anytime = view.run.settings.intervals is Intervals.ANYTIME
        rules.append(ANYTIME if anytime else FIXED_TIME)
    if missing:
        return False, [f"Do not stop yet: {' and '.join(missing)}, {on}."]
    return True, [f"You can stop: {' and '.join(there)}, {on}.", *rules]


def within(view: RunView, most: float) -> tuple[bool, str]:
    """Whether every interval is as narrow as that, and the words for it."""
    widest = max(view.estimates, key=lambda row: row.half_width or 0.0)
    half = widest.half_width or 0.0
    words = f"at most {short(most)} (the widest, of {widest.policy}, is {number(half)})"
    if half <= most:
        return True, f"every half width is {words}"
    return False, f"not every half width is {words}"


def clear(view: RunView, aim: Aim, apart: float, pilot: "Pilot | None") -> tuple[bool, str]:
    """Whether all differences are clear, or such a difference would be detected, and the words for
    it."""
    if all(row.conclusion != Conclusion.SAME for row in view.differences):
        return True, "the differences of all policies are clear"
    least = detected_from(view, aim, pilot)
    words = "" if least is None else f" (smallest detectable difference: {number(least)})"
    if least is not None and least <= apart:
        return True, f"a difference of {short(apart)} is detected{words}"
    return False, f"a difference of {short(apart)} would not be detected{words}"


def detected_from(view: RunView, aim: Aim, pilot: "Pilot | None") -> float | None:
    """From which difference on the run detects it with the aim's power, at the pair
    where that is hardest; None where too few labels say it."""
    if pilot is None or set(pilot.policies) != set(view.policies):
        return None
    own = min(row.labels for row in view.estimates if not row.is_base)
    size = Size(len(view.run.prompts), view.answers.base_labels, own)
    return Planner(pilot, aim).reach(size).detectable


def pilot_of(view: RunView) -> "Pilot":
    """The pilot that the run is; raises CJEError where its labels are too few."""
    from cje.data.frames import rewarded_frames
    from cje.stats.planning import pilot

    run = view.run
    logs, draws = rewarded_frames(run.data, run.settings)
    return pilot(logs, draws, base=run.base, folds=run.settings.folds, seed=run.settings.seed)
