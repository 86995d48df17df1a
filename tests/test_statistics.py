"""Calibration, weights and influence functions, each against what can be worked out by hand."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cje.stats.calibration import Calibrator, calibration_report, cross_fit, prompt_folds, spearman
from cje.stats.inference import (
    Influence,
    combined,
    holm,
    mean_influence,
    paired_comparisons,
    square,
    unbeaten,
)
from cje.stats.own_labels import tuned_power
from cje.stats.weights import (
    SequenceWeights,
    effective_sample_share,
    expected_sample_share,
    marginal_weights,
    off_one,
    project_monotone,
    tail_index,
    weight_summary,
)

ONES = np.ones(4)


def influence(value: float, psi: np.ndarray, cluster: np.ndarray | None = None) -> Influence:
    """An influence function, each prompt its own cluster where none is given."""
    return Influence(value, psi, np.arange(len(psi)) if cluster is None else cluster)


def noise(seed: int, size: int = 1000) -> np.ndarray:
    """Normal, with mean 0."""
    drawn = np.random.default_rng(seed).normal(size=size)
    return drawn - drawn.mean()


def test_isotonic_calibration_pools_what_falls_and_is_level_beyond_the_labels():
    fit = Calibrator.fit(np.array([1.0, 2, 3, 4]), np.array([0.1, 0.5, 0.3, 0.9]), ONES)
    np.testing.assert_allclose(
        fit.predict(np.array([0.0, 2, 3, 3.5, 9])), [0.1, 0.4, 0.4, 0.65, 0.9]
    )
    assert fit.predict(np.array([np.nan]))[0] == pytest.approx(0.45)
    assert fit.terms == 3


def test_calibration_keeps_the_weighted_mean_of_the_labels():
    rng = np.random.default_rng(0)
    score, utility, weight = rng.random(200), rng.random(200), rng.random(200) + 0.5
    fitted = Calibrator.fit(score, utility, weight).predict(score)
    assert np.average(fitted, weights=weight) == pytest.approx(np.average(utility, weights=weight))
    order = np.argsort(score)
    assert (np.diff(fitted[order]) >= 0).all()


def test_a_prompt_is_never_scored_by_a_fit_that_saw_it():
    rng = np.random.default_rng(2)
    score, utility, fold = rng.random(100), rng.random(100), np.arange(100) % 5
    before = cross_fit(score, utility, np.ones(100), fold, 5).predict(score, fold)
    changed = np.where(fold == 2, 1 - utility, utility)
    after = cross_fit(score, changed, np.ones(100), fold, 5).predict(score, fold)
    assert (before[fold == 2] == after[fold == 2]).all()
    assert (before != after).any()


@pytest.mark.parametrize("scale", [1e-320, 1e-200, 1.0])
def test_the_curve_does_not_depend_on_the_scale_of_the_scores(scale):
    score = np.array([0.0, 1, 2, 5])
    fit = Calibrator.fit(scale * score, np.array([0.0, 0.2, 0.4, 1.0]), ONES)
    asked = np.array([0.5, 2.0, 3.5]) if scale == 1 else np.array([1.0, 2.0, 5.0])
    wanted = [0.1, 0.4, 0.7] if scale == 1 else [0.2, 0.4, 1.0]
    np.testing.assert_allclose(fit.predict(scale * asked), wanted, atol=1e-9)


def test_folds_belong_to_the_prompt_and_are_even():
    uids = np.array([f"u{i}" for i in range(5000)], dtype=object)
    fold = prompt_folds(uids, 5, 42)
    assert (prompt_folds(uids[::-1], 5, 42) == fold[::-1]).all()
    assert (prompt_folds(uids, 5, 43) != fold).mean() > 0.5
    assert np.abs(np.bincount(fold, minlength=5) - 1000).max() < 5 * np.sqrt(800)


def test_calibration_report_by_hand():
    report = calibration_report(np.arange(4.0), np.array([0, 0, 1, 1.0]), np.full(4, 0.5), ONES)
    assert report["labels"] == 4 and report["r2"] == 0 and report["rmse"] == 0.5
    assert report["calibration_error"] == 0.5  # tenths of four labels are the labels themselves
    assert (report["score_low"], report["score_high"]) == (0, 3)
    assert spearman(np.arange(4.0), np.array([1.0, 2, 4, 3])) == pytest.approx(0.8)
    assert spearman(ONES, np.arange(4.0)) is None


def test_a_perfect_curve_shows_the_calibration_error_that_is_called_chance():
    rng, found = np.random.default_rng(3), []
    for _ in range(200):
        score = rng.random(100)
        utility = score + 0.2 * rng.normal(size=100)
        found.append(calibration_report(score, utility, score, np.ones(100)))
    error = np.mean([report["calibration_error"] for report in found])
    chance = np.mean([report["calibration_error_by_chance"] for report in found])
    assert chance == pytest.approx(error, rel=0.05)
    bad = calibration_report(score, utility, 1 - score, np.ones(100))
    assert bad["calibration_error"] > 3 * bad["calibration_error_by_chance"]


@given(st.lists(st.floats(-30, 5), min_size=1, max_size=50))
def test_sequence_weights_have_mean_one_and_keep_their_ratios(log_ratio):
    log_ratio = np.array(log_ratio)
    found = SequenceWeights.from_log_ratio(log_ratio)
    assert found.weight.mean() == pytest.approx(1)
    np.testing.assert_allclose(found.weight * found.ratio.mean(), found.ratio, rtol=1e-9)


def test_impossible_and_unscored_answers_weigh_nothing_and_only_the_first_counts():
    found = SequenceWeights.from_log_ratio(np.array([0.0, -np.inf, np.nan, 0.0]))
    np.testing.assert_array_equal(found.weight, [1.5, 0, 0, 1.5])
    np.testing.assert_array_equal(found.scored, [True, True, False, True])
    huge = SequenceWeights.from_log_ratio(np.array([900.0, 0, -900]))
    np.testing.assert_allclose(huge.weight, [3, 0, 0], atol=1e-12)
    assert np.isfinite(huge.ratio).all()


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=40))
def test_effective_sample_share_is_kishs(weights):
    weights = np.array(weights)
    share = effective_sample_share(weights)
    assert 1 / len(weights) - 1e-12 <= share <= 1 + 1e-12
    assert share == pytest.approx(weights.sum() ** 2 / (weights**2).sum() / len(weights))


@pytest.mark.parametrize("scale", [1e-250, 1e-160, 1e160])
def test_the_effective_sample_does_not_depend_on_the_scale_however_extreme(scale):
    weights = np.array([1.0, 2.0, 0.0, 5.0])
    assert effective_sample_share(scale * weights) == pytest.approx(effective_sample_share(weights))
    assert effective_sample_share(np.zeros(3)) == 0


@pytest.mark.parametrize("shift", [0.3, 1.0, 1.5])
def test_the_expected_effective_sample_is_that_of_normal_log_ratios(shift):
    found = [
        expected_sample_share(shift * np.random.default_rng(s).normal(size=20_000) - shift**2 / 2)
        for s in range(10)
    ]
    assert np.mean(found) == pytest.approx(np.exp(-(shift**2)), rel=0.05)
    assert expected_sample_share(np.full(3, -np.inf)) == 0
    assert expected_sample_share(np.zeros(100)) == 1


@pytest.mark.parametrize("k", [0.2, 0.5, 1.0])
def test_tail_index_finds_the_shape_of_a_pareto_tail(k):
    found = [tail_index(np.random.default_rng(s).pareto(1 / k, 4000) + 1) for s in range(20)]
    assert np.mean(found) == pytest.approx(k, abs=0.12)
    assert tail_index(np.ones(1000)) == -np.inf


def test_the_mean_weight_is_tested_in_both_directions():
    assert off_one(0.5, -8) == -1
    assert off_one(1.3, 4) == 1
    assert off_one(1.3, 2) == off_one(0.95, -9) == 0
    nothing = weight_summary(np.zeros(9), np.zeros(9))
    assert nothing.mean_weight_z == -np.inf and nothing.ess == 0
    assert off_one(nothing.mean_weight, nothing.mean_weight_z) == -1


@pytest.mark.parametrize("shift", [0.0, 0.5, 1.0])
def test_marginal_weights_balance_the_features_and_find_an_exponential_tilt(shift):
    rng = np.random.default_rng(3)
    logs = rng.normal(size=(4000, 2))
    draws = rng.normal(size=(4000, 2)) + np.array([shift, 0])
    found = marginal_weights(logs, draws, np.full(4000, 1 / 4000))
    assert found.weight.mean() == pytest.approx(1)
    np.testing.assert_allclose(found.weight @ found.logs / 4000, 0, atol=5e-3)
    exact = np.exp(shift * logs[:, 0] - shift**2 / 2)
    assert np.corrcoef(found.weight, exact + 1e-9 * logs[:, 0])[0, 1] > 0.97 or shift == 0


def test_draws_beyond_the_logs_give_finite_weights_of_few_logs():
    logs, draws = np.random.default_rng(4).random((200, 1)), np.full((200, 1), 5.0)
    found = marginal_weights(logs, draws, np.full(200, 1 / 200))
    assert np.isfinite(found.weight).all()
    assert effective_sample_share(found.weight) < 0.05


def test_monotone_projection_keeps_the_mean_and_does_not_lower_the_sample():
    rng = np.random.default_rng(5)
    score = rng.random(300)
    weight = np.exp(score + rng.normal(size=300))
    projected = project_monotone(weight, score)
    assert projected.mean() == pytest.approx(weight.mean())
    assert (np.diff(projected[np.argsort(score)]) >= -1e-12).all()
    assert effective_sample_share(projected) >= effective_sample_share(weight)
    falling = project_monotone(np.exp(-score), score)
    assert (np.diff(falling[np.argsort(score)]) <= 1e-12).all()


def test_a_mean_has_the_textbook_standard_error():
    values = np.array([1.0, 2, 3, 4])
    found = mean_influence(values, np.arange(4), np.arange(4))
    assert found.value == 2.5
    assert found.se == pytest.approx(values.std(ddof=1) / 2)
    assert found.psi.sum() == pytest.approx(0)


def test_answers_to_one_prompt_and_prompts_of_one_cluster_are_summed():
    values = np.array([1.0, 1, 1, 3, 3, 3])
    wanted = np.array([1.0, 3]).std(ddof=1) / np.sqrt(2)
    prompt = np.array([0, 0, 0, 1, 1, 1])
    assert mean_influence(values, prompt, np.arange(2)).se == pytest.approx(wanted)
    assert mean_influence(values, np.arange(6), prompt).se == pytest.approx(wanted)
    assert mean_influence(values, np.arange(6), np.zeros(6, int)).se == pytest.approx(0)


def test_degrees_of_freedom_are_those_of_normal_data_and_few_for_heavy_tails():
    assert influence(0.0, noise(6, 2000)).degrees_of_freedom > 1500
    heavy = np.zeros(2000)
    heavy[:4] = [1, -1, 1, -1]
    assert influence(0.0, heavy).degrees_of_freedom < 10


def test_what_a_fit_adds_is_a_variance_and_cancels_in_differences():
    psi = np.array([1.0, -1, 1, -1]) / 10
    plain = influence(0.5, psi)
    one = Influence(0.5, psi, np.arange(4), np.array([0.3, -0.4]))
    other = Influence(0.4, 0 * psi, np.arange(4), np.array([0.3, -0.4]))
    assert one.variance == pytest.approx(plain.variance + 0.25)
    assert (one - other).se == pytest.approx(plain.se)
    assert (one - plain).se == pytest.approx(0.5)
    assert one.covariance(other) == pytest.approx(0.25)


def test_a_difference_without_noise_has_the_standard_error_that_its_labels_admit():
    same = influence(0.2, np.zeros(50))
    assert same.p_value(0.5) > 0.6 and same.p_value(0.01) < 1e-6
    low, high = same.difference_interval(0.05, 0.05)
    assert low < 0.11 and high > 0.29
    assert influence(0.9, np.zeros(50)).difference_interval(0.05, 1.0)[1] == 1.0


def test_the_combination_has_the_least_variance():
    one, other = influence(0.5, noise(1)), influence(0.6, 2 * noise(2))
    mixed, kappa = combined(one, other)
    assert kappa == pytest.approx(1 / 5, abs=0.03)
    assert mixed.value == pytest.approx(0.5 + 0.1 * kappa)
    assert mixed.se < one.se and mixed.se < (one + 0.05 * (other - one)).se
    assert combined(one, influence(0.9, 3 * one.psi))[1] == 0
    assert combined(influence(0.9, 3 * one.psi), one)[1] == 1
    assert combined(one, one)[0] is one


def test_holm_by_hand():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03])), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(holm(np.array([0.5, 0.9])), [1, 1])
    assert len(holm(np.zeros(0))) == 0


def test_every_pair_once_and_the_unbeaten_ones_are_best():
    shared = noise(7)
    policies = {
        "a": influence(0.5, shared + 0.1 * noise(8)),
        "b": influence(0.502, shared + 0.1 * noise(9)),
        "c": influence(0.4, shared + 0.1 * noise(10)),
    }
    floors = dict.fromkeys(policies, 0.01)
    pairs = paired_comparisons(policies, floors, 0.05)
    assert list(zip(pairs["policy_a"], pairs["policy_b"], strict=True)) == [
        ("a", "b"), ("a", "c"), ("b", "c")
    ]  # fmt: skip
    assert pairs["se"].max() < 0.006  # what is shared has gone: one policy's own is .032
    assert unbeaten(pairs, list(policies), 0.05) == ["a", "b"]
    assert unbeaten(pairs, list(policies), 1e-200) == ["a", "b", "c"]
    table = square(pairs, "difference", [*policies, "refused"])
    assert table.loc["a", "c"] == pytest.approx(0.1) == -table.loc["c", "a"]
    assert table["refused"].isna().sum() == 3 and table.loc["a", "a"] == 0
    p_values = square(pairs, "p_value_corrected", list(policies))
    assert (p_values == p_values.T).all(axis=None) and (np.diag(p_values) == 1).all()
    assert unbeaten(paired_comparisons({}, {}, 0.05), [], 0.05) == []


def test_a_signals_power_is_what_was_claimed_unless_the_labels_say_otherwise():
    signal = noise(11, 100)
    assert tuned_power(signal + noise(12, 100), signal, 1.0)[0] == pytest.approx(1.0, abs=0.25)
    assert tuned_power(noise(13, 100), signal, 0.0)[0] == 0.0
    strong = 3 * signal + 0.1 * noise(14, 100)
    assert tuned_power(strong, signal, 1.0)[0] == pytest.approx(3, abs=0.1)
    assert tuned_power(-signal, signal, 1.0)[0] == 0.0  # never the other way round
    assert tuned_power(signal, np.zeros(100), 1.0)[0] == 1.0


def test_importing_cje_loads_no_statistics():
    code = "import sys, cje; assert not {'cje.stats', 'pandas', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
