"""Which labels check the estimates, and the metrics that the stage validate writes."""

from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd

from cje.stats.guardrails import best_policy
from cje.stats.validation import Validation
from cje.vocabulary import Severity, Verdict


def unused_labels(
    labels: pd.DataFrame, used: pd.DataFrame, base: str, logged: Collection[str]
) -> pd.DataFrame:
    """The labels on prompts without a label of the same policy among those `used` for estimates.

    `logged`: the policies whose answers are those of the logs; a label that the policy `base` has
    on a prompt counts as theirs.
    """
    spent = set(zip(used["policy"], used["uid"], strict=True))
    spent |= {(policy, uid) for policy in logged for uid in used["uid"][used["policy"] == base]}
    unused = [key not in spent for key in zip(labels["policy"], labels["uid"], strict=True)]
    return labels[pd.Series(unused, labels.index, dtype=bool)]  # an empty list is not a mask


def validation_metrics(found: Validation, verdicts: Mapping[str, str]) -> dict[str, Any]:
    """Coverage, mean absolute error, and everything by policy."""
    by_policy = found.results.to_dict("index")
    results = {p: by_policy.get(p, {}) | {"verdict": word} for p, word in verdicts.items()}
    return {
        "coverage": found.coverage,
        "mean_absolute_error": _mean_error(found),
        "results": results,
    }


def guard_rail_metrics(violations: pd.DataFrame) -> dict[str, Any]:
    """How many violations there are: in all, by severity, by code."""
    counts = violations["code"].value_counts().sort_index()
    severities = violations["severity"].value_counts()
    return {
        "violations": len(violations),
        **{str(severity): int(severities.get(severity, 0)) for severity in reversed(Severity)},
        "by_code": {code: int(n) for code, n in counts.items()},
    }


def summary_metrics(
    estimates: pd.DataFrame,
    verdicts: Mapping[str, str],
    found: Validation,
    violations: pd.DataFrame,
    spearman: float | None,
) -> dict[str, Any]:
    """The few numbers by which experiments are compared, and by policy its estimate, half width and
    verdict; of a refused policy the verdict alone."""
    kept = estimates[[verdicts[policy] != Verdict.REFUSE for policy in estimates.index]]
    half_width = (kept["ci_high"] - kept["ci_low"]) / 2
    known = kept[["v_hat"]].assign(half_width=half_width).astype(float).to_dict("index")
    facts = {
        "best": best_policy(estimates.assign(verdict=pd.Series(verdicts))) or "none",
        "refused": len(estimates) - len(kept),
        "violations": int((violations["severity"] != Severity.NOTE).sum()),
        "error": _mean_error(found),
        "coverage": found.coverage,
        "spearman": spearman,
    }
    by_policy = {
        f"policy {policy}" if policy in facts else policy: known.get(policy, {}) | {"verdict": word}
        for policy, word in verdicts.items()
    }
    return facts | by_policy


def _mean_error(found: Validation) -> float | None:
    return float(found.results["absolute_error"].mean()) if len(found.results) else None
