"""Worlds whose log-probabilities are exact: how far they carry an estimate."""

from functools import cache

import numpy as np
import pandas as pd
import pytest

import cje
from cje.stats.estimators import kish
from worlds import coverage_is, frames, truth

RUNS = 25
WORLDS = [(0.0, "length"), (0.1, "length"), (0.1, "hidden")]


def analyzed(world, **options) -> cje.Analysis:
    logs, draws, target_logps = world
    return cje.analyze(logs, draws=draws, target_logps=target_logps, **options)


@cache
def runs(count: int, shift: float, fool: float, style: str, labels: int = 0, bend: float = 0.0):
    """The rows of policy `t` of so many worlds, with `error` and `covered`; the codes found."""
    true, rows, codes = truth(shift, fool, bend), [], []
    for seed in range(count):
        world = frames(
            seed, shifts={"t": shift}, fool=fool, style=style, label_draws=labels, bend=bend
        )
        found = analyzed(world)
        rows.append(found.estimates.loc["t"])
        codes.append(set(found.violations.query("policy == 't'")["code"]))
    rows = pd.DataFrame(rows)
    rows["error"] = rows["v_hat"].astype(float) - true
    rows["covered"] = (rows["ci_low"] <= true) & (true <= rows["ci_high"])
    return rows, codes


def unbiased(rows: pd.DataFrame) -> bool:
    return abs(rows["error"].mean()) < 4.5 * rows["error"].sem() + 1e-3


@pytest.mark.parametrize("shift", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("fool, style", WORLDS)
def test_exact_weights_with_overlap_cover_whatever_the_judge(shift, fool, style):
    rows, codes = runs(RUNS, shift, fool, style)
    believed = rows[rows["verdict"] != "refuse"]
    assert len(believed) >= RUNS - 2
    for column, value in (
        ("evidence", "exact weights"), ("labels", 0), ("weights", "sequence"), ("method", "dr-cpo")
    ):  # fmt: skip
        assert set(believed[column]) == {value}
    assert coverage_is(believed["covered"].sum(), len(believed), 0.95)
    assert unbiased(believed)
    if fool and shift == 1.0:  # the judge overrates the style: a fact, and no reason to refuse
        assert sum("transport_failure" in found for found in codes) > 0.9 * RUNS
    if not fool:
        assert (rows["verdict"] == "reliable").mean() > 0.8


@pytest.mark.parametrize("shift, fool, style", [(0.4, 0.1, "hidden"), (1.0, 0.1, "length")])
def test_own_labels_join_exact_weights(shift, fool, style):
    alone, _ = runs(RUNS, shift, fool, style)
    rows, _ = runs(RUNS, shift, fool, style, labels=100)
    assert (rows["evidence"] == "both").mean() > 0.6
    assert set(rows["evidence"]) <= {"both", "own labels"}
    assert (rows["verdict"] == "reliable").mean() > 0.9
    assert coverage_is(rows["covered"].sum(), RUNS, 0.95)
    assert unbiased(rows)
    both = (rows["evidence"] == "both").to_numpy()
    assert (rows["se"].to_numpy()[both] < alone["se"].to_numpy()[both]).mean() > 0.9


def test_labels_that_contradict_exact_weights_stand_alone():
    """The log-probabilities are of another policy than the one that was drawn."""
    logs, draws, logps = frames(0, label_draws=100)
    draws["oracle_score"] -= 0.1
    found = analyzed((logs, draws, logps))
    assert (found.estimates.loc["t", ["evidence", "weights"]] == ["own labels", "none"]).all()
    own = draws["oracle_score"].mean()
    assert found.estimates.loc["t", "v_hat"] == pytest.approx(own, abs=0.02)
    notes = found.violations.query("code == 'transport_failure'")["message"]
    assert notes.str.contains("exact weights and its own labels differ").any()


def test_beyond_the_reach_of_the_logs_nothing_checks_a_number():
    for fool, style in WORLDS:
        rows, codes = runs(8, 2.5, fool, style)
        assert set(rows["verdict"]) == {"refuse"} and set(rows["evidence"]) == {"none"}
        assert all({"nothing_checks_it", "poor_overlap"} <= found for found in codes)


def test_labels_of_its_own_carry_a_policy_beyond_the_reach_of_the_logs():
    rows, codes = runs(30, 2.5, 0.1, "hidden", labels=100)
    assert set(rows["verdict"]) == {"reliable"} and set(rows["evidence"]) == {"own labels"}
    assert set(rows["weights"]) == {"none"}
    assert coverage_is(rows["covered"].sum(), 30, 0.95) and unbiased(rows)
    assert not any({"poor_overlap", "extreme_weights", "missing_support"} & f for f in codes)


@pytest.mark.parametrize("fool, style", WORLDS[1:])
def test_where_the_weights_are_weak_the_interval_is_theirs_and_asks_for_caution(fool, style):
    rows, codes = runs(25, 1.4, fool, style)
    believed = rows[rows["verdict"] != "refuse"]
    assert len(believed) > 20 and set(believed["verdict"]) == {"caution"}
    assert coverage_is(believed["covered"].sum(), len(believed), 0.93)
    assert sum("poor_overlap" in found for found in codes) > 22


@pytest.mark.parametrize("bend", [0.05, 0.1])
def test_a_judge_that_the_traits_square_fools_is_hardly_ever_called_reliable(bend):
    rows, _ = runs(30, 1.0, 0.0, "hidden", bend=bend)
    assert (rows["verdict"] == "reliable").sum() <= 2
    believed = rows[rows["verdict"] != "refuse"]
    assert coverage_is(believed["covered"].sum(), len(believed), 0.93)


@pytest.mark.parametrize("shift, spread", [(1.3, 0.1), (1.8, 0.02), (2.1, 0.1)])
def test_a_hidden_shift_is_covered_or_refused(shift, spread):
    rows, _ = runs(15, shift, 2 * spread, "hidden")
    assert (rows["verdict"] != "reliable").mean() > 0.9
    believed = rows[rows["verdict"] != "refuse"]
    if len(believed):
        assert coverage_is(believed["covered"].sum(), len(believed), 0.9)


def test_labels_of_tiny_weights_are_counted_as_any_others():
    assert kish(np.full(5, 1e-200)) == pytest.approx(5)
    assert kish(np.zeros(3)) == kish(np.zeros(0)) == 0


def test_with_few_labels_on_the_logs_a_shift_is_covered_or_refused():
    for shift, bend in ((1.0, 0.0), (1.3, 0.0), (1.6, 0.0), (1.3, 0.05)):
        covered = []
        for seed in range(30):
            world = frames(seed, 400, shifts={"t": shift}, fool=0.04, bend=bend, style="hidden")
            row = analyzed(world).estimates.loc["t"]
            if row["verdict"] != "refuse":
                assert row["verdict"] == "caution"
                covered.append(row["ci_low"] <= truth(shift, 0.04, bend) <= row["ci_high"])
        if covered:
            assert coverage_is(sum(covered), len(covered), 0.95)


def test_the_threshold_that_is_set_says_where_weights_check_nothing():
    world = frames(3, shifts={"t": 1.0})
    share = analyzed(world).diagnostics.loc["t", "sequence_ess"]
    for refuse, verdict in ((share / 2, False), (share * 1.5, True)):
        limits = {"refuse_ess": refuse, "caution_ess": max(refuse, 0.3)}
        found = analyzed(world, thresholds=limits)
        assert (found.estimates.loc["t", "verdict"] == "refuse") is verdict
        assert ("nothing_checks_it" in set(found.violations["code"])) is verdict


def test_labels_that_happen_to_miss_the_heavy_answers_count_as_the_log_ratios_promise():
    for seed in range(5):
        found = analyzed(frames(seed, 400, shifts={"t": 1.0}, fool=0.04, style="hidden"))
        assert found.diagnostics.loc["t", "effective_labels"] < 45  # 100 labels at sd 1: 37


def test_an_identical_policy_weighs_exactly_one():
    found = analyzed(frames(3, shifts={"t": 0.0}))
    assert (found.importance_weights["t"] == 1.0).all()
    assert found.estimates.loc["t", "ess"] == 1.0


def test_an_identical_policy_whose_weights_vary_is_refused_unless_labels_carry_it():
    found = analyzed(frames(3), identical={"t"})
    assert found.estimates.loc["t", "verdict"] == "refuse"
    assert "identical_policy_weights" in set(found.violations["code"])
    labelled = analyzed(frames(3, shifts={"t": 2.5}, label_draws=100), identical={"t"})
    assert labelled.estimates.loc["t", "verdict"] == "reliable"


def test_log_probabilities_that_average_above_one_are_not_believed():
    logs, draws, logps = frames(8)
    raised = np.arange(1000) % 10 < 2
    logps["sequence_logp"] = np.where(raised, logs["sequence_logp"] + 1.2, logs["sequence_logp"])
    found = analyzed((logs, draws, logps))
    assert (found.estimates.loc["t", ["evidence", "verdict"]] == ["none", "refuse"]).all()
    assert {"extreme_weights", "nothing_checks_it"} <= set(found.violations["code"])


@pytest.mark.parametrize("kind", [None, "raw", "other", "absent"])
@pytest.mark.parametrize("where", ["logs", "target_logps"])
def test_log_probabilities_of_another_or_an_unknown_kind_make_no_weights(kind, where):
    logs, draws, logps = frames(0)
    frame = logs if where == "logs" else logps
    frame = frame.drop(columns="logprob_kind") if kind == "absent" else frame.assign(
        logprob_kind=kind
    )  # fmt: skip
    logs, logps = (frame, logps) if where == "logs" else (logs, frame)
    found = analyzed((logs, draws, logps))
    assert (found.estimates.loc["t", ["evidence", "weights"]] == ["none", "none"]).all()
    assert found.importance_weights.empty
    assert {"raw_logprobs", "nothing_checks_it"} <= set(found.violations["code"])
    labelled = analyzed((logs, frames(0, label_draws=100)[1], logps)).estimates.loc["t"]
    assert (labelled["evidence"], labelled["verdict"]) == ("own labels", "reliable")


def test_one_raw_policy_does_not_spoil_the_others():
    logs, draws, logps = frames(0, shifts={"a": 0.3, "b": 0.4})
    logps.loc[logps["policy"] == "a", "logprob_kind"] = "raw"
    evidence = analyzed((logs, draws, logps)).estimates["evidence"]
    assert (evidence["a"], evidence["b"]) == ("none", "exact weights")


def test_learned_weights_check_nothing():
    row = analyzed(frames(0), weights="marginal").estimates.loc["t"]
    assert (row["weights"], row["evidence"], row["verdict"]) == ("marginal", "none", "refuse")
    labelled = analyzed(frames(0, label_draws=100), weights="marginal").estimates.loc["t"]
    assert (labelled["weights"], labelled["evidence"]) == ("none", "own labels")


def test_asking_for_exact_weights_that_do_not_reach_does_not_make_them_evidence():
    row = analyzed(frames(0, shifts={"t": 2.5}), weights="sequence").estimates.loc["t"]
    assert (row["weights"], row["evidence"], row["verdict"]) == ("sequence", "none", "refuse")
