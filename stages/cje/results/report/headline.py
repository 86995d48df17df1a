"""The answer in plain words."""

from dataclasses import dataclass

from cje.results import answer
from cje.results.answer import NAMED
from cje.results.run import Run
from cje.results.words import VERDICTS, counted, interval, listed
from cje.vocabulary import Severity


@dataclass(frozen=True)
class Headline:
    """A title, paragraphs under it, and what would fix the estimates that are refused."""

    title: str
    sentences: list[str]
    advice: list[str]


def headline(run: Run) -> Headline:
    """What the run says, for someone who reads nothing else."""
    refused = run.refused
    if run.best_policy is None:
        every = "The only policy is" if len(refused) == 1 else f"All {len(refused)} policies are"
        words = f"{every} refused: the numbers are below, struck out, each with its reason."
        return Headline(answer.title(run), [words], advice(run))
    row = run.kept.iloc[0]
    first = (
        f"The {level(run)} interval of {run.best_policy} is "
        f"{interval(row['ci_low'], row['ci_high'])}, on a scale from 0 to 1; verdict: "
        f"{VERDICTS[row['verdict']]}."
    )
    paragraphs = [
        [first, *answer.rivals(run)],
        answer.against_base(run),
        [
            answer.labels(run),
            *answer.looking(run),
            *([answer.refusals(run)] if refused else []),
        ],
    ]
    sentences = [" ".join(sentences) for sentences in paragraphs if sentences]
    return Headline(answer.title(run), sentences, advice(run))


def advice(run: Run) -> list[str]:
    """The remedies of what refuses policies, each with whom it would help."""
    critical = run.violations[run.violations["severity"] == Severity.CRITICAL]
    found = []
    for remedy, rows in critical.groupby("remedy", sort=False):
        names = [policy for policy in dict.fromkeys(rows["policy"]) if policy]
        found.append(f"{listed(names, NAMED) or 'All policies'}: {remedy}.")
    return found


def level(run: Run) -> str:
    """The intervals' level in words: `95 %`."""
    return f"{100 * (1 - run.settings.alpha):g} %"


def question(run: Run) -> str:
    """What was done, in two sentences."""
    logs, draws, settings = run.logs, run.draws, run.settings
    models = settings.source == "models"
    base = settings.base_model if models else "The base policy"
    oracle = (
        f"{settings.oracle_model}, the oracle (expensive, and right)" if models else "the oracle"
    )
    judge = f"{settings.proxy_model}, the judge (cheap, and biased)" if models else "the judge"
    own = int(draws["oracle_score"].notna().sum())
    labels = int(logs["oracle_score"].notna().sum())
    scores = int(logs["judge_raw"].notna().sum() + draws["judge_raw"].notna().sum())
    return (
        f"{base} answered {counted(len(logs), 'prompt')}; {oracle}, labelled {labels:,} of the "
        f"answers and {own:,} of the other policies', and {judge}, scored {scores:,}, of all "
        "policies. Estimated from that: the oracle's mean over each policy's answers, from 0 to 1."
    )
