"""`cje.analyze` as people call it: under invariances, at its edges, and on what cannot be right."""

import random
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cje
from cje import CJEError
from cje.stats.diagnostics import reply_facts
from cje.thresholds import THRESHOLDS
from cje.vocabulary import EstimatorName, Evidence, Severity, Verdict
from worlds import conversations, frames, models

NUMBERS = ["v_hat", "se", "ci_low", "ci_high", "ess"]
NAMES = ("logs", "draws", "target_logps")
COLUMNS = ["v_hat", "se", "ci_low", "ci_high", "method", "evidence", "labels", "weights", "ess",
           "verdict"]  # fmt: skip


def by_name(frames_in_order) -> dict[str, pd.DataFrame]:
    return dict(zip(NAMES, frames_in_order, strict=False))


def same(one: cje.Analysis, other: cje.Analysis) -> None:
    """To the last bit."""
    for table in ("estimates", "influence", "comparisons", "violations", "diagnostics"):
        pd.testing.assert_frame_equal(getattr(one, table), getattr(other, table), rtol=0, atol=0)
    assert one.best == other.best


def test_an_analysis_has_what_it_says():
    found = cje.analyze(**by_name(frames(0, shifts={"b": 0.2, "a": 0.4}, label_draws=50)))
    assert list(found.estimates.index) == ["a", "b", "base"]
    assert list(found.estimates.columns) == COLUMNS
    assert set(found.estimates["verdict"]) <= set(Verdict)
    assert set(found.estimates["evidence"]) <= set(Evidence)
    assert set(found.violations["severity"]) <= set(Severity)
    assert list(found.influence.columns) == ["a", "b", "base"] and len(found.influence) == 1000
    wanted = found.estimates["v_hat"]
    np.testing.assert_allclose(found.influence.mean(), wanted, rtol=0.001)
    assert list(found.diagnostics.index) == ["a", "b", "base"]
    assert found.best_policy == wanted.idxmax()
    for text in (found.summary(), found._repr_html_()):
        assert all(name in text for name in ("a", "base", "evidence", "verdict"))


def test_frames_may_come_in_any_order_and_by_their_names():
    logs, draws, logps = frames(1, n=200)
    named = cje.analyze(target_logps=logps, draws=draws, logs=logs)
    same(named, cje.analyze(logs, draws, logps))
    same(named, cje.analyze(logs, logps, draws))
    logs, draws = models(1)
    same(cje.analyze(logs, draws), cje.analyze(logs, None, draws))
    alone = cje.analyze(logs, draws)
    empty = logps.iloc[:0]
    same(alone, cje.analyze(logs, draws, empty))
    same(alone, cje.analyze(logs, empty, draws))


def test_frames_given_are_left_as_they_were():
    world = frames(2, n=200, label_draws=50)
    before = [frame.copy(deep=True) for frame in world]
    cje.analyze(**by_name(world))
    for frame, copy in zip(world, before, strict=True):
        pd.testing.assert_frame_equal(frame, copy)


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 10_000))
def test_the_order_of_the_rows_changes_nothing(seed):
    shuffle = random.Random(seed)
    worlds = (
        by_name(frames(seed % 7, 120, shifts={"a": 0.3, "b": 0.8}, label_draws=40)),
        by_name(models(seed % 5, 100, draws=2, lengths=True)),
        by_name(conversations(seed % 3, 12, 10, labels=60)),
    )
    for world in worlds:
        shuffled = {
            name: frame.sample(frac=1, random_state=shuffle.randrange(2**31))
            for name, frame in world.items()
        }
        same(cje.analyze(**world), cje.analyze(**shuffled))


def arrow_decimals(frame):
    scores = [None if np.isnan(x) else Decimal(f"{x:.12f}") for x in frame["oracle_score"]]
    kind = pd.ArrowDtype(pa.decimal128(20, 12))
    return frame.assign(oracle_score=pd.array(scores, dtype=kind))


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.convert_dtypes(),
        lambda t: t.convert_dtypes(dtype_backend="pyarrow"),
        lambda t: t.assign(policy=t["policy"].astype("category")) if "policy" in t else t,
        lambda t: (
            t.assign(logprob_kind=t["logprob_kind"].astype("string"))
            if "logprob_kind" in t
            else t.assign(cluster=t["cluster"].astype(float))
        ),
        lambda t: t.assign(uid=t["uid"].astype(float)),
        lambda t: t.assign(uid=t["uid"].astype(str)) if "policy" in t else t,
        lambda t: t.drop(columns="cluster") if "policy" not in t else t,
        lambda t: arrow_decimals(t) if "oracle_score" in t else t,
    ],
)
def test_the_types_of_the_columns_change_nothing(change):
    world = by_name(frames(3, 80, shifts={"a": 0.3, "b": 0.8}, label_draws=40))
    number = {uid: place for place, uid in enumerate(world["logs"]["uid"])}
    world = {name: t.assign(uid=t["uid"].map(number)) for name, t in world.items()}
    for name in ("logs", "draws"):
        world[name]["cluster"] = world[name]["uid"] // 2
    world["target_logps"].loc[3, ["sequence_logp", "logprob_kind"]] = None
    plain = cje.analyze(**world)
    found = cje.analyze(**{name: change(table.copy()) for name, table in world.items()})
    pd.testing.assert_frame_equal(plain.estimates, found.estimates, rtol=1e-6)
    assert plain.violations["code"].tolist() == found.violations["code"].tolist()


@settings(max_examples=5, deadline=None)
@given(st.floats(-50, 50), st.floats(0.1, 1000))
def test_the_scale_of_the_scores_changes_nothing(low, width):
    scale = (low, low + width)
    for world in (by_name(frames(2, n=120)), by_name(models(2, 120, draws=2))):
        plain = cje.analyze(**world).estimates
        scaled = {name: frame.copy() for name, frame in world.items()}
        for name in ("logs", "draws"):
            for column in ("judge_raw", "oracle_score"):
                scaled[name][column] = low + width * scaled[name][column]
        found = cje.analyze(**scaled, judge_range=scale, oracle_range=scale).estimates
        np.testing.assert_allclose(found[NUMBERS], plain[NUMBERS], rtol=1e-5, atol=1e-8)


def test_with_exact_weights_another_policy_moves_no_estimate():
    logs, draws, logps = frames(4, shifts={"a": 0.3, "b": 1.0})
    alone = [frame[frame["policy"] == "a"] for frame in (draws, logps)]
    both, one = cje.analyze(logs, draws, logps), cje.analyze(logs, *alone)
    pd.testing.assert_series_equal(both.estimates.loc["a"], one.estimates.loc["a"])


def test_the_seed_moves_folds_and_no_estimate_by_much():
    logs, draws = models(5)
    one, other = (cje.analyze(logs, draws, seed=seed).estimates for seed in (1, 2))
    assert (one["v_hat"] != other["v_hat"]).any()
    assert ((one["v_hat"] - other["v_hat"]).abs() < 0.3 * one["se"]).all()


def test_alpha_is_the_level():
    logs, draws = models(6)
    wide, narrow = (cje.analyze(logs, draws, alpha=alpha).estimates for alpha in (0.01, 0.2))
    assert (wide["ci_high"] - wide["ci_low"] > narrow["ci_high"] - narrow["ci_low"]).all()
    assert (wide["v_hat"] == narrow["v_hat"]).all()


def test_the_base_goes_by_its_own_name():
    logs, draws = models(7)
    found = cje.analyze(logs, draws, base="today")
    assert list(found.estimates.index) == ["a", "b", "c", "today"]
    assert (
        found.estimates.loc["today", "v_hat"]
        == cje.analyze(logs, draws).estimates.loc["base", "v_hat"]
    )


def test_noise_of_a_float_beyond_the_scale_is_clipped():
    logs, draws = models(8)
    logs.loc[0, "judge_raw"], draws.loc[1, "judge_raw"] = 1 + 1e-10, -1e-10
    assert np.isfinite(cje.analyze(logs, draws).estimates[NUMBERS].to_numpy(float)).all()


def test_bootstrap_refits_and_agrees_with_the_influence_functions():
    for world in (by_name(frames(5, n=200)), by_name(conversations(5, 30, 6, labels=90))):
        plain, resampled = cje.analyze(**world), cje.analyze(**world, bootstrap=25)
        ratio = resampled.estimates["se"] / plain.estimates["se"]
        assert ratio.between(0.5, 1.8).all()
        assert (resampled.estimates["v_hat"] == plain.estimates["v_hat"]).all()
        low, high = resampled.estimates["ci_low"], resampled.estimates["ci_high"]
        assert (low < high).all() and plain.estimates["v_hat"].between(low, high).all()
    again = cje.analyze(**world, bootstrap=25)
    pd.testing.assert_frame_equal(resampled.estimates, again.estimates)


def world(change=None):
    """The frames of a small world by name, changed."""
    tables = by_name(frames(0, n=60))
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


def one_label(t):
    t["logs"]["oracle_score"] = [0.5] + [np.nan] * 59


def two_clusters(t):
    t["logs"]["cluster"] = "a"
    t["draws"]["cluster"] = ["b" if i == 3 else None for i in range(60)]


def half_a_chance(t):
    labelled = t["logs"]["oracle_score"].notna()
    first = labelled & (labelled.cumsum() == 1)
    t["logs"]["oracle_prob"] = np.where(first, 0.5, np.nan)


@pytest.mark.parametrize(
    "change, words",
    [
        (set_cell("logs", "oracle_score", np.nan, slice(None)),
         "none of them has an oracle_score, nor has a draw"),
        (one_label, "one of them has an oracle_score"),
        (set_cell("logs", "judge_raw", 1.2, 7), r"logs: row 7: judge_raw: 1.2 is outside judge_ra"),
        (set_cell("draws", "judge_raw", -3, 2), r"draws: row 2: judge_raw: -3(.0)? is outside"),
        (set_cell("logs", "oracle_score", 7, 1), r"oracle_score: 7(.0)? is outside oracle_range"),
        (set_cell("draws", "oracle_score", 7, 1), r"draws: row 1: oracle_score: 7(.0)? is outside"),
        (set_cell("logs", "sequence_logp", 3.0, 4), "row 4: sequence_logp: 3; must be at most 0"),
        (set_cell("logs", "sequence_logp", -np.inf, 4), "cannot be -inf"),
        (set_cell("logs", "sequence_logp", -9999.0, 4),
         "logs: row 4: sequence_logp: -9999; a server's sign for one that it did not compute"),
        (set_cell("target_logps", "sequence_logp", -9999.0, 5), "target_logps: row 5: sequence_lo"),
        (set_cell("target_logps", "sequence_logp", 0.5, 5), "target_logps: row 5: .*at most 0"),
        (set_cell("draws", "uid", None, 5), "draws: row 5: uid: null in the key"),
        (drop_column("logs", "judge_raw"), "logs: column judge_raw: missing"),
        (drop_column("draws", "draw"), "draws: column draw: missing"),
        (drop_column("target_logps", "uid"), "target_logps: column uid: missing"),
        (repeat_row("logs"), "logs: row 60: uid='prompt 3': a second row with this key"),
        (repeat_row("draws"), "draws: row 60: uid='.*', policy='.*', draw=0: a second row"),
        (repeat_row("target_logps"), "target_logps: row 60: .*a second row"),
        (set_cell("target_logps", "uid", "nobody", 0), "uid='nobody' is not in the logs"),
        (lambda t: t["logs"].__setitem__("judge_raw", "good"), "row 0: judge_raw: 'good' is not a"),
        (lambda t: t["logs"].__setitem__("oracle_prob", 0.0), "row .*: oracle_prob: 0; a labelled"),
        (half_a_chance, "logs: row .*: oracle_prob: nan; a labelled row needs the probability"),
        (lambda t: t.update(logs=t["logs"].iloc[:0], target_logps=None), "logs: no rows"),
        (lambda t: t.update(draws=None, target_logps=None), "no rows; there is no policy to est"),
        (lambda t: t.update(logs=[1, 2]), "logs: a list, not a DataFrame"),
        (lambda t: t.update(logs=pd.concat([t["logs"], t["logs"][["uid"]]], axis=1)),
         "logs: column uid: there twice"),
        (lambda t: t["draws"].__setitem__("finish_reason", "max_tokens"),
         "draws: row 0: finish_reason: 'max_tokens' is not stop or length or refusal or tool_call"),
        (lambda t: t["draws"].__setitem__("policy", ""), "draws: row 0: policy: empty"),
        (lambda t: t["draws"].__setitem__("uid", 2.0**60 + np.arange(60) * 512),
         "draws: row 0: uid: .*: its last digits are lost; read ids as text"),
        (two_clusters, "draws: row 3: cluster: 'b', but 'a' in another row of uid='prompt 3'"),
    ],
)  # fmt: skip
def test_what_cannot_be_right_is_an_error_that_says_where(change, words):
    with pytest.raises(CJEError, match=words):
        cje.analyze(**world(change))


@pytest.mark.parametrize(
    "option, words",
    [
        ({"estimator": "magic"}, "estimator: 'magic' is not allowed; give dr-cpo, ppi, direct"),
        ({"weights": "heavy"}, "weights: 'heavy' is not allowed; give auto, sequence, marginal"),
        ({"alpha": 1.0}, "alpha: 1.0"),
        ({"folds": 1}, "folds: 1"),
        ({"judge_range": (1, 0)}, r"judge_range: \[1, 0\]"),
        ({"oracle_range": (0, np.inf)}, r"oracle_range: \[0, inf\]"),
        ({"oracle_range": (-1e308, 1e308)}, r"oracle_range: \[-1e.308, 1e.308\]"),
        ({"oracle_range": (0, 1, 2)}, r"oracle_range: \[0, 1, 2\]"),
        ({"judge_range": ("0", "1")}, r"judge_range: \['0', '1'\]"),
        ({"alpha": "0.05"}, "alpha: '0.05'"),
        ({"seed": None}, "seed: None"),
        ({"bootstrap": 1}, "bootstrap: 1 is not allowed"),
        ({"identical": ["zzz"]}, "identical: zzz: no such policy; there are base, t"),
        ({"thresholds": {"max_unparsed": np.nan}}, "thresholds: max_unparsed: nan is not allowed"),
        ({"thresholds": {"nonsense": 1}}, "thresholds: nonsense: not known; there are min_oracle"),
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


def draws_of_other_prompts(t):
    t["draws"]["uid"] = [f"another {i}" for i in range(60)]


def several_draws(t):
    more = [
        t["draws"].assign(draw=k, judge_raw=t["draws"]["judge_raw"].shift(k)) for k in (0, 1, 2)
    ]
    t["draws"] = pd.concat(more)


def five_rows(t):
    for name in t:
        t[name] = t[name].iloc[:5]
    t["logs"] = t["logs"].assign(oracle_score=[0.5, 0.6, 0.7, 0.4, 0.5])


def labels_on_draws(t):
    t["draws"]["oracle_score"] = np.where(np.arange(60) < 40, t["draws"]["judge_raw"] * 0.8, np.nan)


def labels_on_draws_alone(t):
    labels_on_draws(t)
    t["logs"]["oracle_score"] = np.nan


def labels_without_scores(t):
    labels_on_draws(t)
    t["draws"].loc[:19, "judge_raw"] = np.nan


def one_cluster(t):
    for name in ("logs", "draws"):
        t[name]["cluster"] = "all"


def long_unicode(t):
    t["logs"]["answer"] = ["ünïcödé 🦉 \u2028" * 20_000] + ["猫"] * 59
    t["logs"]["uid"] = t["draws"]["uid"] = t["target_logps"]["uid"] = [f"🦉{i}" for i in range(60)]


EDGES = {
    "all labels": (all_labels, set()),
    "two labels": (two_labels, {"nothing_checks_it"}),
    "constant judge": (set_cell("logs", "judge_raw", 0.5, slice(None)), {"low_proxy_correlation"}),
    "constant oracle": (
        set_cell("logs", "oracle_score", 0.5, slice(None)), {"range_not_used"}
    ),
    "no judge score in the logs": (
        lambda t: t["logs"].__setitem__("judge_raw", np.nan), {"low_proxy_correlation"}
    ),
    "a policy without draws": (no_draws, {"no_fresh_draws"}),
    "draws of some prompts": (some_draws, {"prompts_not_shared"}),
    "draws of other prompts": (draws_of_other_prompts, {"prompts_not_shared"}),
    "several draws a prompt": (several_draws, set()),
    "impossible answers": (set_cell("target_logps", "sequence_logp", -np.inf, slice(0, 9)), set()),
    "only impossible answers": (
        set_cell("target_logps", "sequence_logp", -np.inf, slice(None)), {"nothing_checks_it"}
    ),
    "some unscored": (
        set_cell("target_logps", "sequence_logp", np.nan, slice(0, 9)), {"no_teacher_forcing"}
    ),
    "none scored": (
        set_cell("target_logps", "sequence_logp", np.nan, slice(None)), {"nothing_checks_it"}
    ),
    "raw log-probabilities": (
        lambda t: t["logs"].__setitem__("logprob_kind", "raw"),
        {"raw_logprobs", "nothing_checks_it"},
    ),
    "huge ratios": (
        lambda t: t["logs"].__setitem__("sequence_logp", -9e5), {"nothing_checks_it"}
    ),
    "five rows": (five_rows, {"nothing_checks_it"}),
    "unparsed judgements": (
        set_cell("draws", "judge_raw", np.nan, slice(0, 20)), {"unparsed_judgements"}
    ),
    "labels on draws": (labels_on_draws, set()),
    "labels on draws alone": (labels_on_draws_alone, {"nothing_checks_it"}),
    "labels of answers without a score": (labels_without_scores, {"unparsed_judgements"}),
    "one cluster": (one_cluster, {"nothing_checks_it"}),
    "unicode and long": (long_unicode, set()),
}  # fmt: skip


@pytest.mark.parametrize("estimator", EstimatorName)
@pytest.mark.parametrize("edge", EDGES)
def test_edges_give_numbers_and_say_what_is_wrong(edge, estimator):
    change, codes = EDGES[edge]
    found = cje.analyze(**world(change), estimator=estimator)
    rows = found.estimates
    assert np.isfinite(rows[NUMBERS].to_numpy(float)).all()
    assert (rows["ci_low"] >= 0).all() and (rows["ci_high"] <= 1).all()
    assert (rows["ci_low"] < rows["ci_high"]).all()
    assert rows["v_hat"].between(rows["ci_low"] - 1e-12, rows["ci_high"] + 1e-12).all()
    assert (rows.loc[rows["evidence"] == "none", "verdict"] == "refuse").all()
    kept = set(rows.index[rows["verdict"] != "refuse"])
    assert set(found.best) <= kept
    assert set(found.comparisons["policy_a"]) | set(found.comparisons["policy_b"]) <= kept
    pairs = found.comparisons.drop(columns=["policy_a", "policy_b"])
    assert np.isfinite(pairs.to_numpy(float)).all()
    if estimator == "dr-cpo":
        assert codes <= set(found.violations["code"])
    assert (rows["labels"].max() < THRESHOLDS["min_target_labels"]) <= (
        "reliable" not in set(rows["verdict"][rows["evidence"] == "own labels"])
    )


def test_a_policy_of_which_nothing_is_known_is_an_error():
    def change(t):
        t["draws"]["judge_raw"] = np.nan
        t["target_logps"] = t["target_logps"].iloc[:0]

    with pytest.raises(CJEError, match="'t' has neither scored draws nor log-probabilities"):
        cje.analyze(**world(change))


def test_missing_answers_and_judgements_are_told_apart():
    logs = pd.DataFrame(
        {"answer": ["x", None, "y", "z"], "finish_reason": ["stop", None, "length", "stop"],
         "judge_raw": [0.5, np.nan, np.nan, 1.0]}
    )  # fmt: skip
    assert reply_facts(logs) == {"truncated": 0.25, "missing": 0.25, "unparsed": 0.25}
    assert "missing" not in reply_facts(logs.drop(columns="answer"))
    assert reply_facts(logs.head(0)) == {}


def test_what_is_missing_reaches_the_guard_rails_of_its_policy():
    logs, draws, logps = frames(0, shifts={"a": 0.2, "b": 0.2}, label_draws=100)
    lost = (draws["policy"] == "a") & (np.arange(len(draws)) % 10 == 0)
    for column in ("answer", "judge_raw", "oracle_score"):
        draws[column] = draws[column].mask(lost)
    draws["finish_reason"] = np.where(draws["policy"] == "b", "length", "stop")
    found = cje.analyze(logs, draws, logps).violations
    told = set(zip(found["policy"], found["code"], strict=True))
    assert {("a", "missing_answers"), ("b", "truncated_answers")} <= told
    assert not {("b", "missing_answers"), ("a", "truncated_answers")} & told


def test_a_few_answers_that_are_missing_change_no_estimate_by_much():
    logs, draws, logps = frames(1)
    whole = cje.analyze(logs, draws, logps)
    gone = logs["oracle_score"].isna() & (np.arange(len(logs)) % 50 == 0)
    holes = logs.assign(judge_raw=logs["judge_raw"].mask(gone), answer=logs["answer"].mask(gone))
    found = cje.analyze(holes, draws, logps[~logps["uid"].isin(logs["uid"][gone])])
    moved = (found.estimates["v_hat"] - whole.estimates["v_hat"]).abs()
    assert (moved < whole.estimates["se"]).all()
