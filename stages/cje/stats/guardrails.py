"""When not to believe a number, why, and what would fix it: what the guard rails (`rails`) find."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import pandas as pd

from cje.stats.facts import PolicyDiagnostics
from cje.stats.rails import RAILS, Limits, Subject, label_answers
from cje.vocabulary import Severity, Verdict

COLUMNS = ["policy", "code", "severity", "message", "remedy"]


@dataclass(frozen=True)
class Violation:
    """One guard rail passed; `policy` is None where it concerns all of them."""

    policy: str | None
    code: str
    severity: Severity
    message: str
    remedy: str


def find(subject: Subject, limits: Limits) -> list[Violation]:
    """What the guard rails of this kind of subject find in it."""
    policy = getattr(subject, "policy", None)
    return [
        Violation(policy, item.code, *finding)
        for item in RAILS
        if item.subject is type(subject)
        for finding in item.check(subject, limits)
    ]


def verdict(policy: str, violations: Iterable[Violation]) -> Verdict:
    """refuse with a critical violation of the policy or of all, caution with a warning."""
    severities = {v.severity for v in violations if v.policy in (policy, None)}
    if Severity.CRITICAL in severities:
        return Verdict.REFUSE
    return Verdict.CAUTION if Severity.WARNING in severities else Verdict.RELIABLE


def best_policy(estimates: pd.DataFrame) -> str | None:
    """The policy of the highest `v_hat` whose verdict is not refuse; None if there is none."""
    kept = estimates[estimates["verdict"] != Verdict.REFUSE]
    return None if kept.empty else str(kept["v_hat"].idxmax())


def violations_frame(violations: Iterable[Violation]) -> pd.DataFrame:
    """The violations as the table of that name."""
    rows = [vars(v) | {"severity": str(v.severity)} for v in violations]
    return pd.DataFrame(rows, columns=COLUMNS)


def violations_list(frame: pd.DataFrame) -> list[Violation]:
    """The rows of such a table as violations."""
    rows = frame.astype(object).where(frame.notna(), None)
    return [
        Violation(**(row | {"severity": Severity(row["severity"])}))
        for row in rows.to_dict("records")
    ]


def more_labels(facts: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """By policy, how to have more of its answers labelled; `facts` are those of `finite_facts`."""
    unknown: dict[str, Any] = dict.fromkeys(field.name for field in fields(PolicyDiagnostics))
    return {
        policy: label_answers(PolicyDiagnostics(**{**unknown, **found, "policy": policy}))
        for policy, found in facts.items()
    }
