"""Calibration, weights and inference, each against what can be worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cje.calibration import Calibrator, calibration_report, cross_fit, prompt_folds, spearman
from cje.diagnostics import Violation, labels_needed, verdict
from cje.estimators import combined, mean_weight_off
from cje.inference import Influence, holm, mean_influence
from cje.weights import (
    SequenceWeights,
    effective_sample_share,
    marginal_weights,
    project_monotone,
    tail_index,
    weight_summary,
)

ONES = np.ones(4)


def test_isotonic_calibration_pools_what_falls_and_is_level_beyond_the_labels():
    fit = Calibrator.fit(np.array([1.0, 2, 3, 4]), np.array([0.1, 0.5, 0.3, 0.9]), ONES)
    np.testing.assert_allclose(
        fit.predict(np.array([0.0, 2, 3, 3.5, 9])), [0.1, 0.4, 0.4, 0.65, 0.9]
    )
    assert fit.predict(np.array([np.nan]))[0] == pytest.approx(0.45)


def test_calibration_keeps_the_weighted_mean_of_the_labels():
    rng = np.random.default_rng(0)
    score, utility, weight = rng.random(200), rng.random(200), rng.random(200) + 0.5
    fitted = Calibrator.fit(score, utility, weight).predict(score)
    assert np.average(fitted, weights=weight) == pytest.approx(np.average(utility, weights=weight))
    order = np.argsort(score)
    assert (np.diff(fitted[order]) >= 0).all()


def test_two_stages_are_taken_where_length_explains_the_judge_and_not_otherwise():
    rng = np.random.default_rng(1)
    quality, length = rng.random(400), rng.normal(size=(400, 1))
    fold = rng.integers(5, size=400)
    fair = cross_fit(quality, quality + 0.1 * rng.normal(size=400), np.ones(400), fold, 5, length)
    fooled = quality + 0.3 * length[:, 0]
    biased = cross_fit(fooled, quality + 0.1 * rng.normal(size=400), np.ones(400), fold, 5, length)
    assert (fair.form, biased.form) == ("isotonic", "two-stage")
    assert biased.cv_risk["two-stage"] < biased.cv_risk["isotonic"] / 2


def test_a_prompt_is_never_scored_by_a_fit_that_saw_it():
    rng = np.random.default_rng(2)
    score, utility, fold = rng.random(100), rng.random(100), np.arange(100) % 5
    before = cross_fit(score, utility, np.ones(100), fold, 5).predict(score, fold)
    changed = np.where(fold == 2, 1 - utility, utility)
    after = cross_fit(score, changed, np.ones(100), fold, 5).predict(score, fold)
    assert (before[fold == 2] == after[fold == 2]).all()
    assert (before != after).any()


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
    assert spearman(np.arange(4.0), np.array([1.0, 2, 4, 3])) == pytest.approx(0.8)
    assert spearman(ONES, np.arange(4.0)) is None


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


@pytest.mark.parametrize("k", [0.2, 0.5, 1.0])
def test_tail_index_finds_the_shape_of_a_pareto_tail(k):
    found = [tail_index(np.random.default_rng(s).pareto(1 / k, 4000) + 1) for s in range(20)]
    assert np.mean(found) == pytest.approx(k, abs=0.12)
    assert tail_index(np.ones(1000)) == -np.inf


def test_the_mean_weight_is_tested_in_both_directions():
    assert mean_weight_off(0.5, -8) == -1
    assert mean_weight_off(1.3, 4) == 1
    assert mean_weight_off(1.3, 2) == mean_weight_off(0.95, -9) == 0
    nothing = weight_summary(np.zeros(9), np.zeros(9))
    assert nothing["mean_weight_z"] == -np.inf and nothing["ess"] == 0


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


def test_a_mean_has_the_textbook_standard_error_and_interval():
    values = np.array([1.0, 2, 3, 4])
    found = mean_influence(values, np.arange(4), 4)
    assert found.value == 2.5
    assert found.se == pytest.approx(values.std(ddof=1) / 2)
    assert found.psi.sum() == pytest.approx(0)


def test_answers_to_one_prompt_are_one_cluster():
    values, prompt = np.array([1.0, 1, 1, 3, 3, 3]), np.array([0, 0, 0, 1, 1, 1])
    found = mean_influence(values, prompt, 2)
    assert found.se == pytest.approx(np.array([1.0, 3]).std(ddof=1) / np.sqrt(2))


def test_degrees_of_freedom_are_those_of_normal_data_and_few_for_heavy_tails():
    normal = np.random.default_rng(6).normal(size=2000)
    assert Influence(0.0, normal - normal.mean()).degrees_of_freedom > 1500
    heavy = np.zeros(2000)
    heavy[:4] = [1, -1, 1, -1]
    assert Influence(0.0, heavy).degrees_of_freedom < 10


def test_bias_and_variance_widen_the_interval_and_add_up():
    plain = Influence(0.5, np.array([1.0, -1, 1, -1]) / 10)
    wide = plain.widened(bias=0.3, variance=0.16)
    assert wide.se == pytest.approx(np.sqrt(plain.se**2 + 0.09 + 0.16))
    both = wide + wide
    assert both.value == 1.0 and both.bias == pytest.approx(0.3 * np.sqrt(2))
    low, high = wide.interval(0.05)
    assert (low + high) / 2 == pytest.approx(0.5)


def test_the_combination_leans_on_the_learned_correction_only_where_the_two_agree():
    rng = np.random.default_rng(7)
    learned, noise = rng.normal(size=1000), rng.normal(size=1000)
    learned, noise = learned - learned.mean(), noise - noise.mean()
    exact = Influence(0.0, learned + 5 * noise)
    agreeing, share = combined(exact, Influence(0.05, learned))
    assert share < 0.2 and agreeing.bias == 0
    apart, share = combined(exact, Influence(1.0, learned))
    assert share > 0.8 and apart.bias > 0 and apart.se > agreeing.se


def test_holm_by_hand():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03])), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(holm(np.array([0.5, 0.9])), [1, 1])


def test_a_verdict_is_the_worst_of_a_policys_own_and_of_the_general_violations():
    general = Violation(None, "insufficient_oracle", "warning", "few", "more")
    own = Violation("a", "poor_overlap", "critical", "none", "label")
    assert verdict("a", [general, own]) == "refuse"
    assert verdict("b", [general, own]) == "caution"
    assert verdict("b", [own]) == "reliable"


def test_the_remedys_labels_give_the_half_width_that_they_promise():
    assert 1.96 * 0.25 / np.sqrt(labels_needed(0.25)) == pytest.approx(0.05, abs=1e-3)
    assert labels_needed(0.0) == 30


def test_importing_cje_loads_no_statistics():
    import subprocess
    import sys

    code = (
        "import sys, cje; assert 'cje.analysis' not in sys.modules and 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
