"""`cje.analyze` in worlds of known truth, under invariances, and at its edges."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import bdtr

import cje
from cje import CJEError
from worlds import frames, truth

NUMBERS = ["v_hat", "se", "ci_low", "ci_high", "ess"]
FALSE_ALARM = 1e-4  # of each coverage test


def coverage_is(hits: int, runs: int, least: float) -> bool:
    """Whether so few hits would come less than once in 10,000 from a true coverage of `least`."""
    return bdtr(hits, runs, least) > FALSE_ALARM


@pytest.mark.parametrize("shift", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("fool, style", [(0.0, "length"), (0.1, "length"), (0.1, "hidden")])
def test_dr_cpo_covers_the_truth_and_beats_direct_where_the_judge_is_fooled(shift, fool, style):
    runs, hits, errors, direct = 60, 0, [], []
    for seed in range(runs):
        world = frames(seed, shifts={"t": shift}, fool=fool, style=style)
        row = cje.analyze(*world).estimates.loc["t"]
        hits += row["ci_low"] <= truth(shift, fool) <= row["ci_high"]
        errors.append(row["v_hat"] - truth(shift, fool))
        if shift == 1.0 and style == "hidden" and seed < 20:
            other = cje.analyze(*world, estimator="direct").estimates.loc["t"]
            direct.append(other["v_hat"] - truth(shift, fool))
    assert coverage_is(hits, runs, 0.95)
    assert abs(np.mean(errors)) < 4.5 * np.std(errors) / np.sqrt(runs) + 1e-3
    if direct:
        assert np.mean(direct) > 0.04  # the judge overrates the style; the residual undoes it


@pytest.mark.parametrize("shift", [0.0, 0.4, 1.0])
def test_without_log_probabilities_length_carries_the_correction(shift):
    runs, hits = 60, 0
    for seed in range(runs):
        logs, _, draws = frames(seed, shifts={"t": shift}, fool=0.1)
        found = cje.analyze(logs.drop(columns="sequence_logp"), None, draws)
        row = found.estimates.loc["t"]
        assert (row["weights"], row["verdict"]) == ("marginal", "caution")
        assert "no_teacher_forcing" in set(found.violations["code"])
        hits += row["ci_low"] <= truth(shift, 0.1) <= row["ci_high"]
    assert coverage_is(hits, runs, 0.95)


@pytest.mark.parametrize("fool, style", [(0.0, "length"), (0.1, "length"), (0.1, "hidden")])
def test_a_policy_out_of_reach_is_never_called_reliable(fool, style):
    for seed in range(15):
        found = cje.analyze(*frames(seed, shifts={"t": 2.5}, fool=fool, style=style))
        assert found.estimates.loc["t", "verdict"] in ("caution", "refuse")
        assert "poor_overlap" in set(found.violations["code"])


@pytest.mark.parametrize("estimator", ["ips", "snips", "calibrated-ips", "direct"])
def test_the_other_estimators_cover_where_the_judge_is_fair(estimator):
    hits = 0
    for seed in range(40):
        row = cje.analyze(*frames(seed), estimator=estimator).estimates.loc["t"]
        hits += row["ci_low"] <= truth(0.4, 0) <= row["ci_high"]
        assert row["method"] == estimator
    assert coverage_is(hits, 40, 0.9)


def test_direct_is_refused_where_the_residual_shows_that_it_does_not_transport():
    found = cje.analyze(*frames(1, shifts={"t": 1.0}, fool=0.1, style="hidden"), estimator="direct")
    assert found.estimates.loc["t", "verdict"] == "refuse"
    assert "transport_failure" in set(found.violations["code"])


def test_audited_estimate_covers_and_is_no_wider_than_the_labels_own_interval():
    hits = 0
    for seed in range(60):
        world = frames(seed, n=400, shifts={"t": 2.5}, fool=0.1, style="hidden", label_draws=50)
        row = cje.analyze(*world).estimates.loc["t"]
        labels = world[2]["oracle_score"].dropna()
        own = 2.0095752 * labels.std() / np.sqrt(50)  # t quantile of 49 degrees of freedom
        half = (row["ci_high_audited"] - row["ci_low_audited"]) / 2
        assert half <= own * (1 + 1e-6)
        hits += row["ci_low_audited"] <= truth(2.5, 0.1) <= row["ci_high_audited"]
    assert coverage_is(hits, 60, 0.95)


def test_bootstrap_refits_and_agrees_with_the_influence_functions():
    world = frames(5, n=400)
    plain, resampled = cje.analyze(*world), cje.analyze(*world, bootstrap=80)
    ratio = resampled.estimates.loc["t", "se"] / plain.estimates.loc["t", "se"]
    assert 0.6 < ratio < 1.6
    assert resampled.estimates.loc["t", "v_hat"] == plain.estimates.loc["t", "v_hat"]


def test_an_identical_policy_weighs_exactly_one():
    found = cje.analyze(*frames(3, shifts={"t": 0.0}))
    assert (found.importance_weights["t"] == 1.0).all()
    assert found.estimates.loc["t", "ess"] == 1.0


def test_an_identical_policy_whose_weights_vary_is_refused():
    found = cje.analyze(*frames(3), identical={"t"})
    assert found.estimates.loc["t", "verdict"] == "refuse"
    assert "identical_policy_weights" in set(found.violations["code"])


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_nothing(seed, random):
    world = frames(seed % 7, n=120, shifts={"a": 0.3, "b": 0.8})
    shuffled = [frame.sample(frac=1, random_state=random.randrange(2**31)) for frame in world]
    first, second = cje.analyze(*world), cje.analyze(*shuffled)
    pd.testing.assert_frame_equal(first.estimates, second.estimates, rtol=0, atol=0)
    pd.testing.assert_frame_equal(first.influence, second.influence, rtol=0, atol=0)


@settings(max_examples=10, deadline=None)
@given(st.floats(-50, 50), st.floats(0.1, 1000))
def test_the_scale_of_the_scores_changes_nothing(low, width):
    logs, logps, draws = frames(2, n=120)
    plain = cje.analyze(logs, logps, draws).estimates
    for frame in (logs, draws):
        for column in ("judge_raw", "oracle_score"):
            frame[column] = low + width * frame[column]
    scale = (low, low + width)
    scaled = cje.analyze(logs, logps, draws, judge_range=scale, oracle_range=scale).estimates
    np.testing.assert_allclose(scaled[NUMBERS], plain[NUMBERS], rtol=1e-6, atol=1e-9)


def test_adding_a_policy_does_not_move_the_others():
    logs, logps, draws = frames(4, shifts={"a": 0.3, "b": 1.5})
    alone = [frame[frame["policy"] == "a"] for frame in (logps, draws)]
    both, one = cje.analyze(logs, logps, draws), cje.analyze(logs, *alone)
    pd.testing.assert_series_equal(both.estimates.loc["a"], one.estimates.loc["a"])


def test_p_values_are_symmetric_and_find_a_real_difference():
    found = cje.analyze(*frames(6, shifts={"a": 0.0, "b": 0.0, "c": 1.0}, fool=0.2))
    assert (found.p_values == found.p_values.T).all(axis=None)
    assert (np.diag(found.p_values) == 1).all()
    assert found.p_values.loc["a", "b"] > 0.05 > found.p_values.loc["a", "c"]
    assert found.differences.loc["a", "c"] > 0
    assert found.best_policy in ("a", "b")


def world(change=None):
    tables = dict(zip(("logs", "target_logps", "draws"), frames(0, n=60), strict=True))
    if change:
        change(tables)
    return tables


def set_cell(table, column, value, rows=0):
    def change(tables):
        tables[table].loc[rows, column] = value

    return change


def drop_column(table, column):
    def change(tables):
        tables[table] = tables[table].drop(columns=column)

    return change


def repeat_row(table):
    def change(tables):
        tables[table] = pd.concat([tables[table], tables[table].iloc[[3]]])

    return change


@pytest.mark.parametrize(
    "change, words",
    [
        (set_cell("logs", "oracle_score", np.nan, slice(None)), "none of them has an oracle_score"),
        (lambda t: t["logs"].loc[t["logs"].index[1:]].pipe(
            lambda rows: t["logs"].__setitem__("oracle_score", [0.5] + [np.nan] * len(rows))
        ), "one of them has an oracle_score"),
        (set_cell("logs", "judge_raw", 1.2, 7), r"logs: row 7: judge_raw: 1.2 is outside"),
        (set_cell("draws", "judge_raw", -3, 2), r"draws: row 2: judge_raw: -3 is outside"),
        (set_cell("logs", "oracle_score", 7, 1), r"oracle_score: 7 is outside oracle_range"),
        (set_cell("logs", "sequence_logp", 3.0, 4), "row 4: sequence_logp: 3; must be at most 0"),
        (set_cell("logs", "sequence_logp", -np.inf, 4), "cannot be -inf"),
        (set_cell("draws", "uid", None, 5), "draws: row 5: uid: null in the key"),
        (drop_column("logs", "judge_raw"), "logs: column judge_raw: missing"),
        (drop_column("draws", "draw"), "draws: column draw: missing"),
        (repeat_row("logs"), "logs: row 60: uid='prompt 3': a second row with this key"),
        (repeat_row("draws"), "draws: row 60: .*a second row with this key"),
        (repeat_row("target_logps"), "target_logps: row 60: .*a second row"),
        (set_cell("target_logps", "uid", "nobody", 0), "uid='nobody' is not in the logs"),
        (lambda t: t["logs"].__setitem__("judge_raw", "good"), "'good' is not a number"),
        (lambda t: t["logs"].__setitem__("oracle_prob", 0.0), "row .: oracle_prob: 0; a labelled"),
    ],
)  # fmt: skip
def test_what_cannot_be_right_is_an_error_that_says_where(change, words):
    with pytest.raises(CJEError, match=words):
        cje.analyze(**world(change))


@pytest.mark.parametrize(
    "option, words",
    [
        ({"estimator": "magic"}, "estimator: 'magic' is not allowed; give dr-cpo"),
        ({"weights": "heavy"}, "weights: 'heavy' is not allowed"),
        ({"alpha": 1.0}, "alpha: 1.0"),
        ({"folds": 1}, "folds: 1"),
        ({"judge_range": (1, 0)}, r"judge_range: \[1, 0\]"),
    ],
)
def test_an_option_that_is_not_allowed_is_named(option, words):
    with pytest.raises(CJEError, match=words):
        cje.analyze(**world(), **option)


def all_labels(t):
    t["logs"]["oracle_score"] = t["logs"]["judge_raw"] * 0.9


def two_labels(t):
    t["logs"]["oracle_score"] = [0.4, 0.6] + [np.nan] * 58


def no_draws(t):
    t["draws"] = t["draws"].iloc[:0]


def some_draws(t):
    t["draws"] = t["draws"].iloc[::3]


def five_rows(t):
    for name in t:
        t[name] = t[name].iloc[:5]
    t["logs"] = t["logs"].assign(oracle_score=[0.5, 0.6, 0.7, 0.4, 0.5])


def long_unicode(t):
    t["logs"]["answer"] = ["ünïcödé 🦉 \u2028" * 20_000] + ["猫"] * 59
    t["logs"]["uid"] = t["draws"]["uid"] = t["target_logps"]["uid"] = [f"🦉{i}" for i in range(60)]


EDGES = {
    "all labels": (all_labels, {"insufficient_oracle"} - {"insufficient_oracle"}),
    "two labels": (two_labels, {"insufficient_oracle"}),
    "constant judge": (set_cell("logs", "judge_raw", 0.5, slice(None)), {"low_proxy_correlation"}),
    "constant oracle": (set_cell("logs", "oracle_score", 0.5, slice(None)), set()),
    "no judge score at all": (
        lambda t: t["logs"].__setitem__("judge_raw", np.nan), {"low_proxy_correlation"}
    ),
    "a policy without draws": (no_draws, {"no_fresh_draws"}),
    "draws of some prompts": (some_draws, set()),
    "impossible answers": (set_cell("target_logps", "sequence_logp", -np.inf, slice(0, 9)), set()),
    "only impossible answers": (
        set_cell("target_logps", "sequence_logp", -np.inf, slice(None)), {"missing_support"}
    ),
    "some unscored": (
        set_cell("target_logps", "sequence_logp", np.nan, slice(0, 9)), {"no_teacher_forcing"}
    ),
    "none scored": (
        set_cell("target_logps", "sequence_logp", np.nan, slice(None)), {"no_teacher_forcing"}
    ),
    "raw log-probabilities": (
        lambda t: t["logs"].__setitem__("logprob_kind", "raw"), {"raw_logprobs"}
    ),
    "huge ratios": (lambda t: t["logs"].__setitem__("sequence_logp", -9e5), set()),
    "five rows": (five_rows, {"insufficient_oracle"}),
    "unparsed judgements": (set_cell("draws", "judge_raw", np.nan, slice(0, 20)), set()),
    "unicode and long": (long_unicode, set()),
}  # fmt: skip


@pytest.mark.parametrize("estimator", ["dr-cpo", "direct", "ips", "snips", "calibrated-ips"])
@pytest.mark.parametrize("edge", EDGES)
def test_edges_give_numbers_and_say_what_is_wrong(edge, estimator):
    change, codes = EDGES[edge]
    found = cje.analyze(**world(change), estimator=estimator)
    assert np.isfinite(found.estimates[NUMBERS].to_numpy(float)).all()
    assert found.estimates["ci_low"].le(found.estimates["ci_high"]).all()
    if estimator == "dr-cpo":
        assert codes <= set(found.violations["code"])
        assert set(found.violations["severity"]) <= {"warning", "critical"}


def test_a_policy_of_which_nothing_is_known_is_an_error():
    def change(t):
        t["draws"]["judge_raw"] = np.nan
        t["target_logps"] = t["target_logps"].iloc[:0]

    with pytest.raises(CJEError, match="'t' has neither scored draws nor log-probabilities"):
        cje.analyze(**world(change))


def test_log_probabilities_that_average_above_one_are_not_believed():
    logs, logps, draws = frames(8)
    logps["sequence_logp"] = np.where(
        np.arange(1000) % 10 < 2, logs["sequence_logp"] + 1.2, logs["sequence_logp"]
    )
    found = cje.analyze(logs, logps, draws)
    assert found.estimates.loc["t", "weights"] == "marginal"
    assert "extreme_weights" in set(found.violations["code"])


def test_own_answers_that_score_otherwise_anew_refuse_the_weights_that_rest_on_them():
    from cje.diagnostics import rescored_violations

    same = pd.DataFrame(
        {"uid": ["a", "b"], "tokens": 3, "sequence_logp": [-3.0, -4.0],
         "rescored_logp": [-3.0001, -4.0], "largest_gap": [1e-4, 0.0]}
    )  # fmt: skip
    weights = {"one": "sequence", "two": "marginal", "three": "none", "four": "combination"}
    assert rescored_violations(same, weights) == []
    assert rescored_violations(same.head(0), weights) == []
    found = rescored_violations(same.assign(rescored_logp=[-2.6, -4.3]), weights)
    assert {v.policy: v.severity for v in found} == {
        "one": "critical", "two": "warning", "four": "critical"
    }  # fmt: skip
    assert {v.code for v in found} == {"identical_policy_weights"}
    assert all("0.35 each" in v.message for v in found)  # root mean square of .4 and .3


def test_missing_answers_and_judgements_are_told_apart():
    from cje.diagnostics import THRESHOLDS, reply_shares, reply_violations

    logs = pd.DataFrame(
        {"answer": ["x", None, "y", "z"], "finish_reason": ["stop", None, "length", "stop"],
         "judge_raw": [0.5, np.nan, np.nan, 1.0]}
    )  # fmt: skip
    shares = reply_shares(logs, logs.assign(policy="p"))
    assert shares == {None: (0.25, 0.25, 0.25), "p": (0.25, 0.25, 0.25)}
    codes = [v.code for v in reply_violations("p", *shares["p"], THRESHOLDS)]
    assert codes == ["missing_answers", "truncated_answers", "unparsed_judgements"]
    assert reply_violations("p", 0.0, 0.01, 0.01, THRESHOLDS) == []


def test_a_few_answers_that_are_missing_change_neither_method_nor_estimate_by_much():
    logs, target_logps, draws = frames(1)
    whole = cje.analyze(logs, target_logps, draws)
    gone = logs["oracle_score"].isna() & (np.arange(len(logs)) % 50 == 0)
    holes = logs.assign(judge_raw=logs["judge_raw"].mask(gone), answer=logs["answer"].mask(gone))
    found = cje.analyze(holes, target_logps[~target_logps["uid"].isin(logs["uid"][gone])], draws)
    assert found.calibration["form"] == whole.calibration["form"]
    moved = (found.estimates["v_hat"] - whole.estimates["v_hat"]).abs()
    assert (moved < whole.estimates["se"]).all()
