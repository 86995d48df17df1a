"""Estimates against labels that they did not use."""

import re

import numpy as np
import pandas as pd
import pytest

import cje
from cje.stats.facts import finite_facts
from cje.stats.guardrails import more_labels
from cje.stats.validation import labelled_mean, validate
from cje.thresholds import THRESHOLDS
from cje.vocabulary import Severity
from worlds import conversations, coverage_is, models

ALPHA = 0.05


def held(found: cje.Analysis, labels: pd.DataFrame, cluster: pd.Series | None = None, **changes):
    """The analysis's estimates held against the labels."""
    uid = found.influence.index
    cluster = pd.Series(uid, uid) if cluster is None else cluster
    estimates = found.estimates.assign(**changes)
    limits = THRESHOLDS
    commands = more_labels(finite_facts(found.diagnostics))
    return validate(estimates, found.influence, labels, cluster, ALPHA, limits, commands)


def unused(seed: int, checks: int = 100, **options) -> tuple[cje.Analysis, pd.DataFrame]:
    """An analysis on some labels, and labels of prompts that it did not use."""
    logs, draws = models(seed, labels=100 + checks, **options)
    first = draws.groupby("policy")["oracle_score"].transform(lambda s: s.notna().cumsum() <= 100)
    used = draws.assign(oracle_score=draws["oracle_score"].where(first))
    rest = draws[draws["oracle_score"].notna() & ~first]
    labels = rest[["uid", "policy", "oracle_score"]].assign(oracle_prob=1.0)
    return cje.analyze(logs, used), labels


def test_what_is_right_is_covered_and_nothing_contradicts_it():
    runs, covered, codes = 30, [], []
    for seed in range(runs):
        result = held(*unused(seed))
        covered += list(result.results["covered"])
        codes += [v.code for v in result.violations]
    assert coverage_is(sum(covered), len(covered), 0.93, 0.99)
    assert codes.count("contradicted") <= 2


def test_the_table_says_what_the_labels_say():
    found, labels = unused(0)
    result = held(found, labels)
    own = labels[labels["policy"] == "a"]["oracle_score"]
    row = result.results.loc["a"]
    assert list(result.results.index) == ["a", "b", "c"]  # the base has no labels here
    assert row["oracle_truth"] == pytest.approx(own.mean())
    assert row["se_truth"] == pytest.approx(own.std() / np.sqrt(100), rel=0.02)
    assert row["labels"] == 100
    assert row["ci_low_truth"] < row["oracle_truth"] < row["ci_high_truth"]
    gap = abs(found.estimates.loc["a", "v_hat"] - own.mean())
    assert row["absolute_error"] == pytest.approx(gap)
    assert result.coverage == result.results["covered"].mean()


@pytest.mark.parametrize(
    "evidence, severity",
    [("own labels", Severity.WARNING), ("both", Severity.WARNING),
     ("exact weights", Severity.CRITICAL)],
)  # fmt: skip
def test_what_is_wrong_is_contradicted(evidence, severity):
    found, labels = unused(0)
    wrong = held(found, labels.assign(oracle_score=1.0), evidence=evidence)
    assert not wrong.results["covered"].any() and wrong.coverage == 0
    contradicted = [v for v in wrong.violations if v.code == "contradicted"]
    assert {v.policy for v in contradicted} == {"a", "b", "c"}
    assert {v.severity for v in contradicted} == {severity}
    asks = [bool(re.match(r"label \d+ more of its own", v.remedy)) for v in contradicted]
    assert all(asks) if severity == Severity.CRITICAL else not any(asks)
    poor = [v for v in wrong.violations if v.code == "poor_coverage"]
    assert [(v.policy, v.severity) for v in poor] == [(None, Severity.WARNING)]
    assert "0 of 3 intervals" in poor[0].message


def test_of_a_projection_nothing_is_contradicted():
    found, labels = unused(0)
    result = held(found, labels.assign(oracle_score=1.0), evidence="none")
    assert "contradicted" not in {v.code for v in result.violations}


def test_estimate_and_truth_on_the_same_prompts_are_compared_on_them():
    """A second opinion on the very answers: what differs is the opinion, not the prompts."""
    logs, draws = models(1, n=300, fraction=1.0, labels=300)
    found = cje.analyze(logs, draws)
    labels = draws[["uid", "policy", "oracle_score"]].assign(oracle_prob=1.0)
    noise = np.random.default_rng(0).normal(0, 0.02, len(labels))
    labels["oracle_score"] = (labels["oracle_score"] + noise).clip(0, 1)
    result = held(found, labels)
    assert result.results["covered"].all() and result.results["absolute_error"].max() < 0.005
    moved = held(found, labels.assign(oracle_score=(labels["oracle_score"] + 0.02).clip(0, 1)))
    assert not moved.results["covered"].any()  # two hundredths are beyond what is not shared
    assert moved.results["se_truth"].min() > 0.01


def test_labels_are_weighted_by_their_chance_and_several_of_a_prompt_are_one():
    uids = pd.Index(["p", "q", "r"])
    labels = pd.DataFrame(
        {"uid": ["p", "q", "q"], "oracle_score": [1.0, 0.2, 0.4], "oracle_prob": [0.5, 1.0, 1.0]}
    )
    mean = labelled_mean(labels, uids, np.arange(3))
    assert mean.value == pytest.approx((2 * 1.0 + 0.3) / 3)
    assert mean.psi[2] == 0 and mean.psi.sum() == pytest.approx(0)
    apart = labelled_mean(labels, uids, np.arange(3)).se
    assert labelled_mean(labels, uids, np.zeros(3, int)).se < 1e-9 < apart


def test_truth_is_by_conversation():
    runs, hits, errors, naive = 30, 0, [], []
    for seed in range(runs):
        logs, draws = conversations(seed, 20, 30, labels=400)
        even = draws["uid"].str.endswith(("0", "2", "4", "6", "8"))
        used = draws.assign(oracle_score=draws["oracle_score"].where(even))
        rest = draws[~even & draws["oracle_score"].notna()]
        labels = rest[["uid", "policy", "oracle_score"]].assign(oracle_prob=1.0)
        cluster = logs.set_index("uid")["cluster"]
        result = held(cje.analyze(logs, used), labels, cluster)
        hits += int(result.results["covered"].sum())
        errors.append(result.results.loc["one", "se_truth"])
        own = labels[labels["policy"] == "one"]["oracle_score"]
        naive.append(own.std() / np.sqrt(len(own)))
    assert np.mean(errors) > 2 * np.mean(naive)
    assert coverage_is(hits, 2 * runs, 0.93)


def test_policies_with_hardly_a_label_are_left_out():
    found, labels = unused(2)
    one = labels[labels["policy"] == "a"].head(1)
    result = held(found, pd.concat([one, labels[labels["policy"] == "b"]]))
    assert list(result.results.index) == ["b"]
    nothing = held(found, labels.head(0))
    assert nothing.results.empty and nothing.coverage is None and nothing.violations == []


def test_truth_of_labels_that_are_all_equal_has_an_interval():
    found, labels = unused(3)
    result = held(found, labels.assign(oracle_score=1.0))
    row = result.results.loc["a"]
    assert row["ci_low_truth"] == pytest.approx(0.025 ** (1 / 100)) and row["ci_high_truth"] == 1
    assert np.isfinite(result.results.drop(columns="covered").to_numpy(float)).all()
