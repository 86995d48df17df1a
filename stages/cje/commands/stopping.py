"""Whether a run has reached its aim, and what stopping for it means."""

from typing import TYPE_CHECKING

from cje.results.run import Run
from cje.results.words import counted, listed
from cje.stats.planning import Aim, Planner, Size
from cje.vocabulary import Intervals

if TYPE_CHECKING:
    from cje.stats.planning import Pilot

WIDTHS = (
    "One may look at widths after every batch and stop for them, whatever the intervals: widths "
    "do not know which way estimates fall."
)
ANYTIME = (
    "Its intervals are valid at any time: who looked at the differences while labels came in, and "
    "stops because of what they show, may."
)
FIXED_TIME = (
    "Its intervals are fixed-time: one may stop for the differences only at a number of labels "
    "that was set beforehand. Who looked while labels came in, and stops because a difference "
    "shows, needs intervals: anytime (params.yaml)."
)


def standing(run: Run, aim: Aim, pilot: "Pilot | None") -> tuple[bool, list[str]]:
    """Whether the run has reached the aim, and sentences that say so, or what is missing. `pilot`
    is that of the run, which an aim with `apart` needs: None where its labels are too few for
    one."""
    labels = run.label_counts["base"] + run.label_counts["others"]
    on = f"on {counted(labels, 'label')}"
    if refused := run.refused:
        verb = "is" if len(refused) == 1 else "are"
        return False, [f"Do not stop yet: {listed(refused, 4)} {verb} refused, {on}."]
    there, missing, rules = [], [], []
    if aim.within is not None:
        half = (run.estimates["ci_high"] - run.estimates["ci_low"]) / 2
        widest = f"the widest, of {half.idxmax()}, is {half.max():.3f}"
        if half.max() <= aim.within:
            there.append(f"every half width is at most {aim.within:g} ({widest})")
            rules.append(WIDTHS)
        else:
            missing.append(f"not every half width is at most {aim.within:g} ({widest})")
    if aim.apart is not None:
        least = detected_from(run, aim, pilot)
        words = "" if least is None else f" (from {least:.3f} on)"
        if run.comparisons["p_value_corrected"].lt(run.settings.alpha).all():
            there.append("the differences of all policies are clear")
        elif least is not None and least <= aim.apart:
            there.append(f"a difference of {aim.apart:g} is detected{words}")
        else:
            missing.append(f"a difference of {aim.apart:g} would not be detected{words}")
        anytime = run.settings.intervals is Intervals.ANYTIME
        rules.append(ANYTIME if anytime else FIXED_TIME)
    if missing:
        return False, [f"Do not stop yet: {' and '.join(missing)}, {on}."]
    return True, [f"You can stop: {' and '.join(there)}, {on}.", *rules]


def detected_from(run: Run, aim: Aim, pilot: "Pilot | None") -> float | None:
    """From which difference on the run detects it with the aim's power, at the pair
    where that is hardest; None where too few labels say it."""
    if pilot is None or set(pilot.policies) != set(run.estimates.index):
        return None
    own = run.estimates["labels"].drop(run.base)
    size = Size(len(run.prompts), run.label_counts["base"], int(own.min()))
    return Planner(pilot, aim).reach(size).apart


def pilot_of(run: Run) -> "Pilot":
    """The pilot that the run is; raises CJEError where its labels are too few."""
    from cje.data.frames import rewarded_frames
    from cje.stats.planning import pilot

    logs, draws = rewarded_frames(run.data, run.settings)
    return pilot(logs, draws, base=run.base, folds=run.settings.folds, seed=run.settings.seed)
