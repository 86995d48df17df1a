"""The answer in plain words."""

from dataclasses import dataclass

from cje.report.words import counted, interval, listed, number
from cje.runs import Run
from cje.vocabulary import Severity, Verdict

VERDICTS = {
    Verdict.RELIABLE: "reliable", Verdict.CAUTION: "caution", Verdict.REFUSE: "refused",
}  # fmt: skip
NAMED = 6  # names at most in a sentence


@dataclass(frozen=True)
class Headline:
    """A title, sentences under it, and what would mend the estimates that are refused."""

    title: str
    sentences: list[str]
    advice: list[str]


def headline(run: Run) -> Headline:
    """What the run says, for someone who reads nothing else."""
    table, best = run.estimates, run.best_policy
    refused = run.refused
    if best is None:
        every = "The only policy is" if len(refused) == 1 else f"All {len(refused)} policies are"
        words = f"{every} refused: the numbers are below, struck out, each with its reason."
        return Headline("No estimate may be believed", [words], advice(run))
    row, rivals = table.loc[best], run.rivals
    value = number(row["v_hat"])
    care = ", to be taken with caution" if row["verdict"] == Verdict.CAUTION else ""
    others = len(run.kept) - 1
    sentences = [
        f"The {level(run)} interval of {best} is {interval(row['ci_low'], row['ci_high'])}, on a "
        f"scale from 0 to 1; verdict: {VERDICTS[row['verdict']]}."
    ]
    if not others:
        title = f"{best} is worth {value}{care}"
    elif not rivals:
        title = f"{best} is the best, at {value}{care}"
        sentences.append(
            f"Each of the {counted(others, 'other policy', 'others')} that may be believed is "
            "beaten beyond chance."
            if others > 1
            else "The other policy that may be believed is beaten beyond chance."
        )
    else:
        title = (
            f"No clear winner: {best} has the highest estimate, {value}"
            if len(rivals) == others
            else f"{best} has the highest estimate, {value}, and rivals within chance"
        )
        sentences.append(f"No policy beats {listed(rivals, NAMED, 'or')} beyond chance either.")
    if refused:
        verb = "is" if len(refused) == 1 else "are"
        sentences.append(
            f"{len(refused)} of {counted(len(table), 'policy', 'policies')} {verb} refused, with "
            f"a projection that nothing upholds: {listed(refused, NAMED)}."
        )
    return Headline(title, sentences, advice(run))


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
    oracle = f"{settings.oracle_model}, the oracle (dear, and right)" if models else "the oracle"
    judge = f"{settings.proxy_model}, the judge (cheap, and biased)" if models else "the judge"
    own = int(draws["oracle_score"].notna().sum())
    labels = int(logs["oracle_score"].notna().sum())
    scores = int(logs["judge_raw"].notna().sum() + draws["judge_raw"].notna().sum())
    return (
        f"{base} answered {counted(len(logs), 'prompt')}; {oracle}, labelled {labels:,} of the "
        f"answers and {own:,} of the other policies', and {judge}, scored {scores:,}, of all "
        "policies. Estimated from that: the oracle's mean over each policy's answers, from 0 to 1."
    )
