"""What the guard rails found: by code what it means, whom it concerns, what mends it."""

from dataclasses import dataclass

from cje.runs import Run
from cje.stats.guardrails import RAILS
from cje.vocabulary import Severity

MEANINGS = {rail.code: f"{rail.meaning[0].upper()}{rail.meaning[1:]}." for rail in RAILS}
GRAVITY = list(reversed(Severity))


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
    """The gravest first, else in the order found."""
    found = []
    for code, rows in run.violations.groupby("code", sort=False):
        remedies = [
            Remedy(words, list(zip(cases["policy"], cases["message"], strict=True)))
            for words, cases in rows.groupby("remedy", sort=False)
        ]
        severity = min(rows["severity"], key=GRAVITY.index)
        found.append(Rail(code, severity, MEANINGS.get(code, ""), remedies))
    return sorted(found, key=lambda rail: GRAVITY.index(rail.severity))
