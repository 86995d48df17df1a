"""The answer in plain words."""

from dataclasses import dataclass

from cje.results import answer
from cje.results.answer import NAMED
from cje.results.view import RunView
from cje.results.words import VERDICTS, counted, interval, level, listed


@dataclass(frozen=True)
class Headline:
    """A title, paragraphs under it, and what would fix the estimates that are refused."""

    title: str
    sentences: list[str]
    advice: list[str]


def headline(view: RunView) -> Headline:
    """What the run says, for someone who reads nothing else."""
    if not view.kept:
        count = len(view.refused)
        every = (
            "The only policy is"
            if count == 1
            else f"All {counted(count, 'policy', 'policies')} are"
        )
        words = f"{every} refused: the numbers are below, struck out, each with its reason."
        return Headline(answer.title(view), [words], advice(view))
    best = view.kept[0]
    first = (
        f"The {level(view.alpha)} interval of {best.policy} is "
        f"{interval(best.ci_low, best.ci_high)}, on a scale from 0 to 1; verdict: "
        f"{VERDICTS[best.verdict]}."
    )
    refusals = [answer.refusals(view)] if view.refused else []
    paragraphs = [
        [*answer.rivals(view), first],
        answer.against_base(view),
        [answer.labels(view), *answer.looking(view), *refusals],
    ]
    sentences = [" ".join(sentences) for sentences in paragraphs if sentences]
    return Headline(answer.title(view), sentences, advice(view))


def advice(view: RunView) -> list[str]:
    """The remedies of what refuses policies, each with whom it would help."""
    by_remedy: dict[str, list[str]] = {}
    for one in view.critical:
        by_remedy.setdefault(one.remedy, []).extend([one.policy] if one.policy else [])
    return [
        f"{listed(list(dict.fromkeys(policies)), NAMED) or 'All policies'}: {remedy}."
        for remedy, policies in by_remedy.items()
    ]
