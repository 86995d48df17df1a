"""Validation: the estimates against oracle labels that none of them used."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cje.stats.arrays import Codes
from cje.stats.facts import PolicyValidation, RunValidation
from cje.stats.guardrails import Violation, find
from cje.stats.inference import ROUNDING, Influence, bounded_interval, dispersion
from cje.vocabulary import Evidence

FEWEST = 2  # prompts with a label that a truth needs


@dataclass(frozen=True)
class Validation:
    """`results`: by policy `oracle_truth`, `se_truth`, `ci_low_truth`, `ci_high_truth`, `labels`
    (prompts), `absolute_error`, `covered`; `coverage` over the policies with labels (None without
    any); `violations` found."""

    results: pd.DataFrame
    coverage: float | None
    violations: list[Violation]


def validate(
    estimates: pd.DataFrame,
    influence: pd.DataFrame,
    labels: pd.DataFrame,
    cluster: pd.Series,
    alpha: float,
    limits: Mapping[str, float],
    more_labels: Mapping[str, str],
) -> Validation:
    """Hold the estimates against labels that they did not use.

    `estimates`: `v_hat`, `se`, `evidence` by policy. `influence`: contributions by prompt (uid) and
    policy, whose means are the estimates. `labels`: `uid`, `policy`, `oracle_score` on [0, 1],
    `oracle_prob`. `cluster`: of each prompt, by uid. An estimate is covered where its difference
    from the labels' mean, both on the same prompts and each with its own noise, is within chance.
    Policies with labels on fewer than two prompts are left out. `more_labels`: by policy, how to
    have more of its answers labelled.
    """
    codes = pd.factorize(cluster.reindex(influence.index))[0]
    by_policy = {policy: labels[labels["policy"] == policy] for policy in estimates.index}
    counts = {policy: own["uid"].nunique() for policy, own in by_policy.items()}
    truths = {
        policy: labelled_mean(own, influence.index, codes)
        for policy, own in by_policy.items()
        if counts[policy] >= FEWEST and policy in influence
    }
    spread = dispersion((truth.value, truth.se, counts[p]) for p, truth in truths.items())
    rows, violations = {}, []
    for policy, truth in truths.items():
        estimate, count = estimates.loc[policy], counts[policy]
        contribution = influence[policy].to_numpy()
        found = Influence(estimate["v_hat"], contribution - contribution.mean(), codes)
        gap = found - truth
        unseen = max(estimate["se"] ** 2 - found.variance, 0.0)  # what a fit adds beside prompts
        gap = Influence(gap.value, gap.psi, codes, np.array([unseen**0.5]))
        low, high = gap.difference_interval(alpha, 1 / count)
        steps = by_policy[policy]["oracle_score"].nunique() <= 2
        ends = bounded_interval(truth.value, truth.se, count, count - 1, alpha, steps, spread)
        rows[policy] = {
            "oracle_truth": truth.value, "se_truth": truth.se,
            "ci_low_truth": ends[0], "ci_high_truth": ends[1],
            "labels": count, "absolute_error": abs(gap.value), "covered": low <= 0 <= high,
        }  # fmt: skip
        z = gap.value / gap.se if gap.se > ROUNDING else gap.value * count
        subject = PolicyValidation(
            policy, Evidence(estimate["evidence"]), float(z), more_labels[policy]
        )
        violations += find(subject, limits)
    results = pd.DataFrame.from_dict(rows, orient="index").rename_axis("policy")
    coverage = float(results["covered"].mean()) if rows else None
    if rows:
        checked = RunValidation(int(results["covered"].sum()), len(results))
        violations += find(checked, limits)
    return Validation(results, coverage, violations)


def labelled_mean(labels: pd.DataFrame, uids: pd.Index, cluster: Codes) -> Influence:
    """The labels' mean over their prompts, each prompt once, weighted by 1 / oracle_prob; with its
    influence over all prompts `uids` (N,), of clusters `cluster` (N,)."""
    by_prompt = labels.assign(weight=1 / labels["oracle_prob"]).groupby("uid")
    by_prompt = by_prompt[["oracle_score", "weight"]].mean()
    place = uids.get_indexer(by_prompt.index)
    share = (by_prompt["weight"] / by_prompt["weight"].sum()).to_numpy()
    score = by_prompt["oracle_score"].to_numpy()
    mean = float(share @ score)
    psi = np.zeros(len(uids))
    psi[place] = len(uids) * share * (score - mean) * np.sqrt(len(score) / (len(score) - 1))
    return Influence(mean, psi, cluster)
