"""What the guard rails found: by code what it means, whom it concerns, what fixes it."""

from dataclasses import dataclass

import pandas as pd

from cje.stats.rails import RAILS

MEANINGS = {rail.code: f"{rail.meaning[0].upper()}{rail.meaning[1:]}." for rail in RAILS}


@dataclass(frozen=True)
class Remedy:
    """What would fix the cases: (policy, message); the policy is empty where all are meant."""

    words: str
    cases: list[tuple[str, str]]


@dataclass(frozen=True)
class Rail:
    """A code of one severity, what it means, and the remedies with their cases."""

    code: str
    severity: str
    meaning: str
    remedies: list[Remedy]


def rails(violations: pd.DataFrame) -> list[Rail]:
    """One for each code and severity, in the order of the violations."""
    found = []
    for (code, severity), rows in violations.groupby(["code", "severity"], sort=False):
        remedies = [
            Remedy(words, list(zip(cases["policy"], cases["message"], strict=True)))
            for words, cases in rows.groupby("remedy", sort=False)
        ]
        found.append(Rail(code, severity, MEANINGS[code], remedies))
    return found
