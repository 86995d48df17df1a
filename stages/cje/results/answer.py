"""The answer to the run's question in plain words, for the screen, the report and the notebook."""

from cje.results import words
from cje.results.rows import DifferenceRow
from cje.results.view import RunView
from cje.results.words import count, counted, interval, listed, number
from cje.vocabulary import Conclusion, Intervals

NAMED = 6  # names at most in a sentence


def question(view: RunView) -> str:
    """What was done, for someone who reads it for the first time."""
    settings, answers = view.run.settings, view.answers
    if settings.source == "files":
        base, oracle = "The base policy", "The oracle (expensive, treated as ground truth)"
        judge = "the judge (cheap but biased)"
    else:
        base = settings.base_model
        oracle = f"{settings.oracle_model} (the oracle: expensive, treated as ground truth)"
        judge = f"{settings.proxy_model} (the judge: cheap but biased)"
    return (
        f"{base} answered {counted(answers.prompts, 'prompt')}. {oracle} labelled "
        f"{count(answers.base_labels)} of its answers and {count(answers.other_labels)} of the "
        f"other policies'; {judge} scored {counted(answers.judged, 'answer')} of all policies. "
        "Estimated for each policy: the mean score that the oracle would give its answers, from 0 "
        "to 1."
    )


def title(view: RunView) -> str:
    """Which policy is best, as far as the comparisons support it."""
    return words.title(view.estimates, view.rivals)


def rivals(view: RunView) -> list[str]:
    """Which policies the highest estimate beats, or not; nothing where it stands alone."""
    others = len(view.kept) - 1
    compared = " that are not refused" if view.refused else ""
    if others < 1:
        return []
    if view.rivals:
        verb = "is" if len(view.rivals) == 1 else "are"
        return [f"{listed(view.rivals, NAMED)} {verb} not significantly worse."]
    if others == 1:
        only = " that is not refused" if view.refused else ""
        return [f"It is significantly better than the other policy{only}."]
    if view.best_beats_all:
        return [f"It is significantly better than each of the {others} others{compared}."]
    return [
        f"Each of the {others} others{compared} is significantly worse than it, or than "
        "another of them."
    ]


def against_base(view: RunView) -> list[str]:
    """Which policies are better than the base policy, which are worse, and which are neither."""
    sentences = []
    by_conclusion = {
        conclusion: [row for row in view.against_base if row.conclusion == conclusion]
        for conclusion in Conclusion
    }
    if view.against_base and not by_conclusion[Conclusion.BETTER]:
        sentences.append(f"No policy is better than {view.base} beyond chance.")
    for conclusion in (Conclusion.BETTER, Conclusion.WORSE):
        if rows := by_conclusion[conclusion]:
            names = listed([_by_how_much(row) for row in rows])
            sentences.append(f"{conclusion.capitalize()} than {view.base}: {names}.")
    if same := [row.policy_a for row in by_conclusion[Conclusion.SAME]]:
        sentences.append(f"No clear difference from {view.base}: {listed(same)}.")
    return sentences


def _by_how_much(row: DifferenceRow) -> str:
    """A policy, how far it is from the base, whichever way, and the interval of that."""
    distance = row if row.difference >= 0 else row.reversed
    ends = interval(distance.ci_low, distance.ci_high)
    return f"{row.policy_a} (by {number(distance.difference)}, {ends})"


def labels(view: RunView) -> str:
    """How many labels it took, and how many it would take to label every answer."""
    answers = view.answers
    return (
        f"This used {counted(answers.labels, 'label')} ({count(answers.base_labels)} on "
        f"{view.base}'s answers, {count(answers.other_labels)} on the other policies'); labelling "
        f"every answer would have taken {count(answers.answers)}."
    )


def looking(view: RunView) -> list[str]:
    """How often one may look at the intervals, while answers wait for labels from people, or where
    the intervals are wider to allow it."""
    intervals = view.run.settings.intervals
    anytime = intervals is Intervals.ANYTIME
    return [words.looks(intervals)] if view.waiting or anytime else []


def raters(view: RunView) -> list[str]:
    """How far raters agree, and what that leaves for a judge to reach; nothing where they shared no
    answers."""
    found = view.raters
    if found is None:
        return []
    sentence = (
        f"On {counted(found.answers, 'answer')} that several raters labelled, Krippendorff's "
        f"alpha is {number(found.alpha)} (1 is full agreement, 0 is chance)"
    )
    if found.ceiling is None:
        return [f"{sentence}."]
    limit = number(found.ceiling)
    return [f"{sentence}; no judge's correlation with these labels can be higher than {limit}."]


def refusals(view: RunView) -> str:
    """How many policies were refused, and why: the codes of the guard rails."""
    refused, every = view.refused, counted(len(view.estimates), "policy", "policies")
    if not refused:
        return "No policy was refused."

    def codes(policy: str) -> str:
        own = [one.code for one in view.critical if one.policy == policy]
        of_all = [one.code for one in view.critical if one.policy is None]
        return ", ".join(dict.fromkeys(own or of_all))

    named = [f"{policy} ({codes(policy)})" for policy in refused]
    verb, numbers = ("was", "its number") if len(refused) == 1 else ("were", "their numbers")
    return (
        f"{len(refused)} of {every} {verb} refused, so do not rely on {numbers}: "
        f"{listed(named, NAMED)}."
    )


def distances(view: RunView) -> list[str]:
    """The sentence of `truth` where it is known of a policy that is not refused."""
    return truth(view) if view.errors else []


def truth(view: RunView) -> list[str]:
    """How far raw judge, calibrated judge and estimate are from the truth, of the policies that are
    not refused, and how many intervals agree with it; what is missing where it is not known."""
    if not view.truths:
        return [
            "No labels are left beside those that the estimates use, so the truth is not known."
        ]
    errors = view.errors
    if errors is None:
        return ["The truth is known only of policies that are refused."]
    whose = " of those that are not refused" if view.refused else ""
    return [
        f"Mean distance to the truth{whose}: raw judge {number(errors.raw_judge)}, calibrated "
        f"judge {number(errors.calibrated_judge)}, estimate {number(errors.estimate)}. "
        f"{errors.covered} of {errors.policies} intervals agree with the truth."
    ]


def conclusion(view: RunView) -> list[str]:
    """The answer in a few sentences: the best, the others, the base, and what is refused."""
    if view.best_policy is None:
        return [f"{title(view)}: see the remedies of the guard rails."]
    return [f"{title(view)}.", *rivals(view), *against_base(view), refusals(view)]
