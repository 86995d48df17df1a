"""The answer to the run's question in plain words, for the screen, the report and the notebook."""

from cje.results import words
from cje.results.run import Run
from cje.results.words import counted, interval, listed, number
from cje.vocabulary import Intervals, Severity

NAMED = 6  # names at most in a sentence


def title(run: Run) -> str:
    """Which policy is best, as far as it can be told."""
    return words.title(run.estimates, run.rivals)


def rivals(run: Run) -> list[str]:
    """Whom the highest estimate beats, or not; nothing where it stands alone."""
    others = len(run.kept) - 1
    if others < 1:
        return []
    if run.rivals:
        return [f"No policy beats {listed(run.rivals, NAMED, 'or')} beyond chance either."]
    if others == 1:
        return ["The other policy that may be believed is beaten beyond chance."]
    return [f"Each of the {others} others that may be believed is beaten beyond chance."]


def against_base(run: Run) -> list[str]:
    """Who is better than the base policy, who is worse, and who is neither."""
    found, sentences = run.against_base, []
    for told in ("better", "worse"):
        rows = found[found["told"] == told]
        if len(rows):
            names = [
                f"{policy} (by {number(abs(row['difference']))}, "
                f"{interval(*sorted((abs(row['ci_low']), abs(row['ci_high']))))})"
                for policy, row in rows.iterrows()
            ]
            sentences.append(f"{told.capitalize()} than {run.base}: {listed(names)}.")
    if len(found) and not (found["told"] == "better").any():
        sentences.insert(0, f"No policy is better than {run.base} beyond chance.")
    same = list(found.index[found["told"] == "same"])
    if same:
        sentences.append(f"No clear difference from {run.base}: {listed(same)}.")
    return sentences


def labels(run: Run) -> str:
    """How many labels it took, and how many labelling everything would have."""
    counts = run.label_counts
    used = counts["base"] + counts["others"]
    return (
        f"It took {counted(used, 'label')} ({counts['base']:,} of {run.base}'s answers, "
        f"{counts['others']:,} of the others'); labelling every answer would have taken "
        f"{counts['answers']:,}."
    )


def looking(run: Run) -> list[str]:
    """How often one may look, while answers wait for labels of people, or where the intervals are
    wider for it."""
    anytime = run.settings.intervals is Intervals.ANYTIME
    return [words.looks(run.settings.intervals)] if run.waiting or anytime else []


def raters(run: Run) -> list[str]:
    """How far raters agree, and what that leaves for a judge to reach; nothing where they shared no
    answers."""
    found = run.raters
    if not found:
        return []
    sentence = (
        f"On {counted(found['answers'], 'answer')} that several raters labelled, Krippendorff's "
        f"alpha is {number(found['alpha'])} (1 is full agreement, 0 is chance)"
    )
    if found["ceiling"] is None:
        return [f"{sentence}."]
    limit = number(found["ceiling"])
    return [f"{sentence}; no judge's correlation with these labels can be higher than {limit}."]


def refusals(run: Run) -> str:
    """How many policies are refused, and why."""
    count, every = len(run.refused), len(run.estimates)
    if not count:
        return f"None of {counted(every, 'policy', 'policies')} is refused."
    critical = run.violations[run.violations["severity"] == Severity.CRITICAL]
    codes = {
        policy: ", ".join(rows["code"].unique()) for policy, rows in critical.groupby("policy")
    }
    named = [f"{policy} ({codes.get(policy) or codes['']})" for policy in run.refused]
    verb = "is" if count == 1 else "are"
    return (
        f"{count} of {counted(every, 'policy', 'policies')} {verb} refused, with a projection that "
        f"nothing supports: {listed(named, NAMED)}."
    )


def distances(run: Run) -> list[str]:
    """How far raw judge, calibrated judge and estimate are from the truth, of the policies that are
    not refused, and how many intervals agree with it; nothing where it is not known."""
    known = run.kept.dropna(subset=["oracle_truth"])
    if known.empty:
        return []
    means = {
        name: (known[column] - known["oracle_truth"]).abs().mean()
        for name, column in (
            ("raw judge", "raw_judge"), ("calibrated judge", "calibrated_judge"),
            ("estimate", "v_hat"),
        )
    }  # fmt: skip
    told = ", ".join(f"{name} {number(value)}" for name, value in means.items())
    whose = " of those that are not refused" if run.refused else ""
    return [
        f"Mean distance to the truth{whose}: {told}. "
        f"{int(known['covered'].astype(bool).sum())} of {len(known)} intervals agree with it."
    ]


def conclusion(run: Run) -> list[str]:
    """The answer in a few sentences: the best, the others, the base, and what is refused."""
    if run.best_policy is None:
        return [f"{title(run)}: see the remedies of the guard rails."]
    return [f"{title(run)}.", *rivals(run), *against_base(run), refusals(run)]
