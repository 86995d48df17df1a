"""Differences between policies: on the same prompts, whole, and of believed policies alone."""

import re
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

import cje
from worlds import coverage_is, frames, models

SAME = ("a", "b", "c", "d", "e")


def of_other_models(seed: int) -> cje.Analysis:
    return cje.analyze(*models(seed, levels=dict.fromkeys(SAME, 0.0)))


def of_exact_weights(seed: int, **changes) -> cje.Analysis:
    options = {"shifts": dict.fromkeys(SAME, 0.4), "fool": 0.1, "style": "hidden"} | changes
    return cje.analyze(*frames(seed, 400, **options))


def with_both(seed: int) -> cje.Analysis:
    return of_exact_weights(seed, label_draws=100)


@pytest.mark.parametrize("analysis", [of_other_models, of_exact_weights, with_both])
def test_five_identical_policies_are_as_far_apart_as_is_said(analysis):
    """Ten pairs of five policies are four independent contrasts a run. Of the weights' form, the
    policies share the logs, and only draws make their difference."""
    runs = 30
    tables = [analysis(seed).comparisons for seed in range(runs)]
    pairs = pd.concat(tables)
    pairs = pairs[pairs["policy_a"].isin(SAME) & pairs["policy_b"].isin(SAME)]
    assert len(pairs) > 0.9 * 10 * runs
    covered = (pairs["ci_low"] <= 0) & (pairs["ci_high"] >= 0)
    assert coverage_is(round(4 * runs * covered.mean()), 4 * runs, 0.93, 0.98)
    spread = np.sqrt((pairs["difference"] ** 2).mean())
    assert np.sqrt((pairs["se"] ** 2).mean()) == pytest.approx(spread, rel=0.15)
    significant = pairs["p_value_corrected"] < 0.05
    assert significant.mean() < 0.02


def test_policies_whose_labels_separate_them_are_separated():
    found = cje.analyze(*models(0, levels={"good": 0.6, "same": 0.6, "bad": -0.6}))
    table = found.p_values
    assert table.loc["good", "bad"] < 1e-6 and table.loc["same", "bad"] < 1e-6
    assert table.loc["good", "same"] > 0.05
    assert found.differences.loc["good", "bad"] > 0.2 > abs(found.differences.loc["good", "same"])
    assert set(found.best) == {"good", "same"}
    assert found.best_policy in ("good", "same")


def test_the_base_stands_in_every_table_and_may_be_the_best():
    found = cje.analyze(*models(1, levels={"bad": -0.8, "worse": -1.5}))
    assert list(found.estimates.index) == ["bad", "worse", "base"]
    assert found.best == ["base"] == [found.best_policy]
    pairs = set(zip(found.comparisons["policy_a"], found.comparisons["policy_b"], strict=True))
    assert pairs == {("bad", "worse"), ("bad", "base"), ("worse", "base")}


def test_a_difference_is_that_of_the_estimates_and_its_noise_that_of_the_contributions():
    found = cje.analyze(*models(2))
    for row in found.comparisons.itertuples():
        a, b = found.estimates["v_hat"][row.policy_a], found.estimates["v_hat"][row.policy_b]
        assert row.difference == pytest.approx(a - b)
        gap = found.influence[row.policy_a] - found.influence[row.policy_b]
        assert gap.mean() == pytest.approx(row.difference, abs=0.01 * row.se)
        assert row.se == pytest.approx(gap.std(ddof=1) / np.sqrt(len(gap)), rel=0.01)


def test_the_same_prompts_make_a_difference_sharper():
    found = cje.analyze(*models(3))
    alone = found.estimates["se"]
    for row in found.comparisons.itertuples():
        apart = np.hypot(alone[row.policy_a], alone[row.policy_b])
        assert row.se < 0.95 * apart


def test_a_refused_policy_is_in_no_comparison_and_is_not_the_best():
    logs, draws = models(4, levels={"a": 0.0, "b": 0.1, "c": 1.5})
    draws.loc[draws["policy"] == "c", "oracle_score"] = np.nan
    found = cje.analyze(logs, draws)
    assert found.estimates.loc["c", "verdict"] == "refuse"
    assert found.estimates["v_hat"].idxmax() == "c"  # and yet
    assert "c" not in found.best and found.best_policy != "c"
    names = set(found.comparisons["policy_a"]) | set(found.comparisons["policy_b"])
    assert names == {"a", "b", "base"}
    assert found.p_values.loc["c", ["a", "b", "base"]].isna().all()
    assert found.differences["c"].drop("c").isna().all()
    # And Holm counts the pairs that are there.
    without = cje.analyze(logs, draws[draws["policy"] != "c"]).comparisons
    wanted = np.sort(without["p_value"])[0] * 3
    assert without["p_value_corrected"].min() == pytest.approx(min(wanted, 1))
    assert len(found.comparisons) == len(without) == 3


def test_where_every_policy_is_refused_there_is_no_best():
    logs, draws = models(5, labels=3, fraction=0.01)
    found = cje.analyze(logs, draws)
    assert set(found.estimates["verdict"]) == {"refuse"}
    assert found.best == [] and found.best_policy is None and found.comparisons.empty
    assert "Every policy is refused." in found.summary()
    for text in (found.summary(), found._repr_html_()):  # as on the screen
        assert "refused" in text and not re.search(r"\brefuse\b", text)


def test_the_best_are_those_that_no_other_beats():
    for seed in range(5):
        found = cje.analyze(*models(seed, levels={f"p{i}": 0.1 * i for i in range(8)}))
        told = found.p_values < 0.05
        better = found.differences > 0
        for policy in found.estimates.index:
            beaten = any(
                told.loc[one, policy] and better.loc[one, policy]
                for one in found.estimates.index
                if one != policy
            )
            assert (policy in found.best) != beaten
        assert found.best_policy in found.best


def test_every_pair_stands_once():
    found = cje.analyze(*models(6, levels={f"p{i}": 0.0 for i in range(5)}))
    names = list(found.estimates.index)
    pairs = zip(found.comparisons["policy_a"], found.comparisons["policy_b"], strict=True)
    assert list(pairs) == list(combinations(names, 2))
    corrected, plain = found.comparisons["p_value_corrected"], found.comparisons["p_value"]
    assert (corrected >= plain).all() and corrected.max() <= 1
