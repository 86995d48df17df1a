"""Validation: the estimates against oracle labels on the policies' own fresh draws."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from cje.diagnostics import DIFFERENT, Violation
from cje.estimators import audited, per_prompt
from cje.stats.samples import Draws, Logs


@dataclass(frozen=True)
class Validation:
    """`results`: by policy `oracle_truth`, `se_truth`, `ci_low_truth`, `ci_high_truth`, `labels`,
    `absolute_error`, `covered`, `v_audited`, `se_audited`, `ci_low_audited`, `ci_high_audited`;
    `coverage` over the policies with labels (None without any); `violations` found."""

    results: pd.DataFrame
    coverage: float | None
    violations: list[Violation]


def validate(
    estimates: pd.DataFrame,
    logs: Logs,
    draws: Mapping[str, Draws | None],
    alpha: float,
    min_coverage: float,
) -> Validation:
    """Hold the estimates (`v_hat`, `se` by policy) against the labelled draws.

    An estimate is covered where it differs from the labels' mean by no more than the t quantile
    times sqrt(se^2 + se_truth^2): the truth is itself measured. Policies with fewer than two
    labelled prompts are left out.
    """
    rows, violations = {}, []
    for policy, estimate in estimates.iterrows():
        drawn = draws.get(policy)
        audit = None if drawn is None else audited(logs, drawn, alpha)
        if audit is None:
            continue
        truth, error, count = labelled_mean(drawn)
        quantile = stdtrit(count - 1, 1 - alpha / 2)
        gap = abs(estimate["v_hat"] - truth)
        rows[policy] = {
            "oracle_truth": truth,
            "se_truth": error,
            "ci_low_truth": truth - quantile * error,
            "ci_high_truth": truth + quantile * error,
            "labels": count,
            "absolute_error": gap,
            "covered": bool(gap <= quantile * np.hypot(estimate["se"], error)),
            **dict(zip(AUDITED, audit, strict=True)),
        }
        distance = np.hypot(estimate["se"], audit[1])
        if distance > 0 and abs(audit[0] - estimate["v_hat"]) > DIFFERENT * distance:
            violations.append(
                Violation(
                    policy,
                    "transport_failure",
                    "critical",
                    f"oracle labels on its own draws say {audit[0]:.3f}, the estimate "
                    f"{estimate['v_hat']:.3f}",
                    "read the audited estimate in place of this one",
                )
            )
    results = pd.DataFrame.from_dict(rows, orient="index").rename_axis("policy")
    coverage = float(results["covered"].mean()) if rows else None
    if coverage is not None and coverage < min_coverage:
        violations.append(
            Violation(
                None,
                "poor_coverage",
                "warning",
                f"{int(results['covered'].sum())} of {len(results)} intervals cover the oracle's "
                f"truth; {min_coverage:.0%} is the least",
                "read the audited estimates, and look for what the judge misses",
            )
        )
    return Validation(results, coverage, violations)


AUDITED = ("v_audited", "se_audited", "ci_low_audited", "ci_high_audited")


def labelled_mean(draws: Draws) -> tuple[float, float, int]:
    """Mean utility of the labelled draws, its standard error, and the labelled prompts."""
    labelled = draws.label_weight > 0
    prompts = np.unique(draws.prompt[labelled])
    values = per_prompt(draws.utility, draws, labelled)[prompts]
    return float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5), len(values)
