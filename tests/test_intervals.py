"""The interval of a mean on [0, 1], and what it makes of labels that do not vary."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from scipy.stats import beta

import cje
from cje.stats.inference import (
    FULL_LABELS,
    Ends,
    Influence,
    bounded_interval,
    dispersion,
    nearness,
    paired_comparisons,
    recovered_interval,
)
from worlds import coverage_is, models

VALUES = st.floats(1e-6, 1 - 1e-6)
LABELS = st.floats(2, 1e4)
NOISE = st.floats(0, 1)  # part of the most that so many labels can have
LEVELS = st.floats(0.001, 0.5)
NUMBERS = ["v_hat", "se", "ci_low", "ci_high", "ess"]


def most(value: float, labels: float) -> float:
    """The largest standard error of a mean of so many scores within [0, 1]."""
    return float(np.sqrt(value * (1 - value) / labels))


@given(VALUES | st.sampled_from([0.0, 1.0]), NOISE, LABELS, LEVELS, st.booleans())
def test_it_holds_the_value_is_within_the_scale_and_never_of_width_zero(
    value, noise, labels, alpha, steps
):
    se = noise * most(value, labels)
    low, high = bounded_interval(value, se, labels, labels - 1, alpha, steps)
    assert 0 <= low <= value <= high <= 1
    assert high - low > min(0.6 * se, 1e-5)


@given(VALUES, NOISE, LABELS, LEVELS, LEVELS, st.booleans())
def test_more_confidence_is_wider(value, noise, labels, one, other, steps):
    assume(one < other)
    se = noise * most(value, labels)
    sure = bounded_interval(value, se, labels, labels - 1, one, steps)
    less = bounded_interval(value, se, labels, labels - 1, other, steps)
    assert sure[0] <= less[0] + 1e-12 and less[1] <= sure[1] + 1e-12


@given(VALUES, NOISE, LABELS, st.booleans())
@example(0.10956932924371213, 1e-8, 2.0, True)
def test_it_is_the_same_from_either_end_of_the_scale(value, noise, labels, steps):
    se = noise * most(value, labels)
    low, high = bounded_interval(value, se, labels, labels - 1, 0.05, steps)
    mirrored = bounded_interval(1 - value, se, labels, labels - 1, 0.05, steps)
    np.testing.assert_allclose(mirrored, (1 - high, 1 - low), atol=1e-4)


@given(VALUES, NOISE, LABELS, st.floats(0, 1), st.booleans())
@example(0.125, 0.25, 2.0, 1.0, False)
def test_what_all_labels_say_of_the_variance_only_widens_and_only_near_an_end(
    value, noise, labels, spread, steps
):
    se = noise * most(value, labels)
    alone = bounded_interval(value, se, labels, labels - 1, 0.05, steps)
    found = bounded_interval(value, se, labels, labels - 1, 0.05, steps, spread)
    if labels * min(value, 1 - value) >= 2 * FULL_LABELS:
        assert found == alone
    assert found[1] - found[0] >= alone[1] - alone[0] - 1e-9


@given(st.lists(st.tuples(VALUES, NOISE, LABELS), max_size=8))
def test_a_dispersion_is_a_share_of_the_most_that_labels_can_vary(policies):
    found = dispersion((value, noise * most(value, m), m) for value, noise, m in policies)
    assert 0 < found <= 1


def test_the_dispersion_of_pass_and_fail_is_1_and_of_nothing_known_too():
    shares = [(0.03, most(0.03, 100), 100.0), (0.98, most(0.98, 50), 50.0)]
    assert dispersion(shares) == pytest.approx(1)
    assert dispersion([]) == dispersion([(0.5, 0.01, 100)]) == 1


def rare_labels(rng: np.random.Generator, rate: float, shape: tuple[int, ...]) -> np.ndarray:
    """Labels next to 0, but for a few next to 1: what a strict comparison with a stronger model
    gives."""
    rare = rng.random(shape) < rate
    return np.where(rare, rng.beta(8, 2, shape), rng.beta(1, 200, shape))


def test_rare_high_labels_that_a_sample_has_missed_are_allowed_for():
    """Eight policies, 50 labels each; mean labels from .02 to .15."""
    rates, labels, runs = np.linspace(0.02, 0.18, 8), 50, 300
    truth = 0.8 * rates + (1 - rates) / 201
    rng = np.random.default_rng(1)
    alone = together = 0
    for _ in range(runs):
        y = np.stack([rare_labels(rng, rate, (labels,)) for rate in rates])
        means, errors = y.mean(axis=1).tolist(), (y.std(axis=1, ddof=1) / labels**0.5).tolist()
        spread = dispersion((v, se, labels) for v, se in zip(means, errors, strict=True))
        for true, v, se in zip(truth, means, errors, strict=True):
            low, high = bounded_interval(v, se, labels, labels - 1, 0.05, False)
            alone += low <= true <= high
            low, high = bounded_interval(v, se, labels, labels - 1, 0.05, False, spread)
            together += low <= true <= high
    assert alone / (8 * runs) < 0.9
    assert coverage_is(together, 8 * runs, 0.95, 0.985)


def test_differences_of_means_near_an_end_allow_for_what_the_samples_have_missed():
    """Four policies, 50 labels each; mean labels from .008 to .03. Six pairs a run, compared with
    and without the policies' own intervals."""
    rates, labels, runs = np.array([0.004, 0.01, 0.02, 0.03]), 50, 60
    truth = 0.8 * rates + (1 - rates) / 201
    rng = np.random.default_rng(2)
    alone = together = 0
    for _ in range(runs):
        influences, means = {}, []
        for rate in rates:
            y = rare_labels(rng, rate, (labels,))
            psi = (y - y.mean()) * np.sqrt(labels / (labels - 1))
            influences[str(rate)] = Influence(float(y.mean()), psi, np.arange(labels))
            means.append((float(y.mean()), float(y.std(ddof=1) / labels**0.5), labels))
        spread, ends = dispersion(means), {}
        for policy, (v, se, m) in zip(influences, means, strict=True):
            own = bounded_interval(v, se, m, m - 1, 0.05, False, spread)
            ends[policy] = Ends(v, *own, nearness(v, m))
        true = dict(zip(influences, truth, strict=True))
        floors = dict.fromkeys(influences, 1 / labels)
        plain = paired_comparisons(influences, floors, 0.05)
        found = paired_comparisons(influences, floors, 0.05, ends=ends)
        gap = plain["policy_a"].map(true) - plain["policy_b"].map(true)
        alone += ((plain["ci_low"] <= gap) & (gap <= plain["ci_high"])).sum()
        together += ((found["ci_low"] <= gap) & (gap <= found["ci_high"])).sum()
        assert (found["ci_low"] <= plain["ci_low"]).all()
        assert (found["ci_high"] >= plain["ci_high"]).all()
        other = ["difference", "se", "p_value", "p_value_corrected"]
        pd.testing.assert_frame_equal(found[other], plain[other])
    assert alone / (6 * runs) < 0.9
    assert coverage_is(round(together / 2), 3 * runs, 0.95)  # three contrasts of four policies


@given(*(2 * [st.tuples(VALUES, VALUES, VALUES)]), st.floats(-1, 1))
def test_a_recovered_interval_holds_the_difference_and_has_the_same_ends_either_way(
    one, other, correlation
):
    (a, b, c), (d, e, f) = sorted(one), sorted(other)
    mine, theirs = Ends(b, a, c, 1.0), Ends(e, d, f, 1.0)
    low, high = recovered_interval(mine, theirs, correlation)
    assert -1 <= low <= b - e <= high <= 1
    turned = recovered_interval(theirs, mine, correlation)
    assert turned == pytest.approx((-high, -low), abs=1e-12)
    wide = recovered_interval(mine, theirs, -1.0)
    assert wide == pytest.approx((max(a - f, -1), min(c - d, 1)), abs=1e-12)


def test_a_recovered_interval_by_hand():
    even, odd = Ends(0.5, 0.2, 0.8, 0.0), Ends(0.4, 0.0, 0.5, 0.0)
    low, high = recovered_interval(even, odd, 0.0)
    assert low == pytest.approx(0.1 - np.hypot(0.3, 0.1))
    assert high == pytest.approx(0.1 + np.hypot(0.3, 0.4))
    assert recovered_interval(even, even, 1.0) == pytest.approx((0, 0))


@pytest.mark.parametrize("value", [1e-200, 1e-17, 1e-4])
def test_next_to_the_end_of_the_scale_it_is_as_at_the_end(value):
    ends = bounded_interval(0.0, 0.02, 100, 99, 0.05, True)
    near = bounded_interval(value, 0.02, 100, 99, 0.05, True)
    assert near == pytest.approx(ends, abs=0.1)


@given(st.integers(1, 400), st.integers(1, 399))
def test_of_pass_and_fail_it_is_clopper_and_pearsons(n, k):
    assume(k < n)
    share = k / n
    found = bounded_interval(share, np.sqrt(share * (1 - share) / n), n, n - 1, 0.05, True)
    exact = beta.ppf(0.025, k, n - k + 1), beta.ppf(0.975, k + 1, n - k)
    np.testing.assert_allclose(found, exact, rtol=1e-6)


@pytest.mark.parametrize("share", [0.0, 1.0])
@pytest.mark.parametrize("n", [2, 52, 400])
def test_all_passing_or_all_failing_is_clopper_and_pearsons_too(share, n):
    low, high = bounded_interval(share, 0.0, n, n - 1, 0.05, True)
    reach = 1 - 0.025 ** (1 / n)
    assert (low, high) == pytest.approx((1 - reach, 1) if share else (0, reach))


def test_52_of_52_may_be_93_per_cent():
    low, high = bounded_interval(1.0, 0.0, 52, 51, 0.05, True)
    assert low == pytest.approx(0.9315, abs=1e-4) and high == 1


def test_in_the_middle_of_the_scale_it_is_the_t_interval():
    low, high = bounded_interval(0.5, 0.004, 100, 99, 0.05, False)
    assert (low, high) == pytest.approx((0.5 - 1.984 * 0.004, 0.5 + 1.984 * 0.004), abs=1e-5)


def test_fewer_labels_are_wider_where_nothing_varies():
    widths = [np.diff(bounded_interval(0.5, 0.0, n, n - 1, 0.05, False))[0] for n in (10, 40, 160)]
    assert widths == sorted(widths, reverse=True) and widths[0] > 3 * widths[1]


def honest(found: cje.Analysis) -> pd.DataFrame:
    """The estimates, which are finite and have intervals of some width within the scale."""
    rows = found.estimates
    assert np.isfinite(rows[NUMBERS].to_numpy(float)).all()
    assert (rows["ci_low"] >= 0).all() and (rows["ci_high"] <= 1).all()
    assert (rows["ci_low"] < rows["ci_high"]).all()
    assert rows["v_hat"].between(rows["ci_low"], rows["ci_high"]).all()
    return rows


@pytest.mark.parametrize("label", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("estimator", ["dr-cpo", "ppi"])
def test_labels_that_are_all_equal_give_the_interval_of_their_number(label, estimator):
    logs, draws = models(0)
    for frame in (logs, draws):
        frame["oracle_score"] = frame["oracle_score"].where(frame["oracle_score"].isna(), label)
    found = cje.analyze(logs, draws, estimator=estimator)
    rows = honest(found)
    assert rows["v_hat"].to_numpy() == pytest.approx(label)
    reach = 1 - 0.025 ** (1 / 100)
    assert (rows["ci_high"] - rows["ci_low"]).to_numpy() == pytest.approx(reach, rel=1e-6)
    assert found.comparisons["p_value"].min() > 0.5
    assert found.best == list(rows.index)


def test_labels_in_a_corner_of_the_scale_ask_for_another_scale():
    logs, draws = models(0)
    for frame in (logs, draws):
        frame["oracle_score"] = 0.5 + 0.01 * frame["oracle_score"]
    found = cje.analyze(logs, draws)
    assert "range_not_used" in set(found.violations["code"])
    assert set(honest(found)["verdict"]) == {"caution"}


def test_a_constant_judge_costs_nothing():
    logs, draws = models(1)
    found = cje.analyze(logs.assign(judge_raw=0.5), draws.assign(judge_raw=0.5))
    rows = honest(found)
    labels = draws.groupby("policy")["oracle_score"].agg(["mean", "sem"])
    targets = rows.loc[labels.index]
    assert (targets["v_hat"] - labels["mean"]).abs().max() < 1e-9
    np.testing.assert_allclose(targets["se"], labels["sem"], rtol=0.01)
    assert "low_proxy_correlation" in set(found.violations["code"])
    assert set(rows["verdict"]) == {"reliable"}


def test_scores_as_small_as_can_be_told_from_0_order_answers_as_others_do():
    logs, draws = models(2)
    plain = honest(cje.analyze(logs, draws))
    for frame in (logs, draws):
        frame["judge_raw"] = np.exp(-740.0 - 4 * frame["judge_raw"])
    tiny = honest(cje.analyze(logs, draws))
    assert (tiny["v_hat"] - plain["v_hat"]).abs().max() < plain["se"].min()
    assert (tiny["se"] < 1.5 * plain["se"]).all()


def test_a_few_scores_far_beyond_those_of_the_labelled_answers_do_not_move_an_estimate_far():
    for seed in range(6):
        logs, draws = models(seed)
        rng = np.random.default_rng(seed)
        for frame in (logs, draws):
            far = frame["oracle_score"].isna() & (rng.random(len(frame)) < 0.01)
            frame["judge_raw"] = np.where(far, 1.0, 0.001 * frame["judge_raw"])
        rows = honest(cje.analyze(logs, draws))
        labels = draws.groupby("policy")["oracle_score"].agg(["mean", "sem"])
        moved = (rows.loc[labels.index, "v_hat"] - labels["mean"]) / labels["sem"]
        assert moved.abs().max() < 3


def test_labels_as_small_as_can_be_told_from_0_are_finite():
    logs, draws = models(2)
    for frame in (logs, draws):
        frame["oracle_score"] *= np.exp(-740.0)
    rows = honest(cje.analyze(logs, draws))
    assert (rows["ci_high"] < 0.05).all()
