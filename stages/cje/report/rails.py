"""What the guard rails found: by code what it means, whom it concerns, what mends it."""

from dataclasses import dataclass

from cje.runs import Run

MEANINGS = {
    "insufficient_oracle": "Too few oracle labels on the logs to calibrate the judge well.",
    "low_proxy_correlation": "The judge hardly orders answers as the oracle does.",
    "poor_overlap": "Few of the logged answers are likely under the policy: they say little of it.",
    "extreme_weights": "A few logged answers count for far too much, or the log-probabilities "
    "disagree with themselves.",
    "missing_support": "The policy gives answers that the logs do not hold; no weight brings them "
    "back.",
    "zero_weights": "Nearly every logged answer is impossible under the policy.",
    "identical_policy_weights": "Log-probabilities that should be the same are not.",
    "calibration_out_of_range": "The judge gives scores that no label has reached.",
    "transport_failure": "Labels under the policy itself contradict the estimate.",
    "poor_coverage": "Too few intervals hold the oracle's truth.",
    "no_teacher_forcing": "Logged answers have no log-probability under the policy.",
    "raw_logprobs": "The log-probabilities are not those of what really sampled.",
    "missing_answers": "Answers are missing because calls failed.",
    "truncated_answers": "Many answers were cut at max_tokens, and were judged so.",
    "unparsed_judgements": "Answers without a judge score.",
    "no_fresh_draws": "The policy has no fresh answers: the logs alone carry its estimate.",
}


@dataclass(frozen=True)
class Remedy:
    """What would mend the cases: (policy, message); the policy is empty where all are meant."""

    words: str
    cases: list[tuple[str, str]]


@dataclass(frozen=True)
class Rail:
    """A code with its gravest severity, what it means, and the remedies with their cases."""

    code: str
    severity: str
    meaning: str
    remedies: list[Remedy]


def rails(run: Run) -> list[Rail]:
    """The critical ones first, else in the order found."""
    found = []
    for code, rows in run.violations.groupby("code", sort=False):
        remedies = [
            Remedy(words, list(zip(cases["policy"], cases["message"], strict=True)))
            for words, cases in rows.groupby("remedy", sort=False)
        ]
        severity = "critical" if (rows["severity"] == "critical").any() else "warning"
        found.append(Rail(code, severity, MEANINGS.get(code, ""), remedies))
    return sorted(found, key=lambda rail: rail.severity != "critical")
