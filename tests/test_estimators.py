"""The other estimators: what they cover, and how far their verdicts go."""

import numpy as np
import pytest

import cje
from cje.stats.estimators import ESTIMATORS
from cje.vocabulary import EstimatorName
from worlds import coverage_is, frames, model_truth, models, truth

RUNS = 30
WEIGHTED = ["ips", "snips", "calibrated-ips"]


def rows_of(world, estimator: str, **options):
    logs, draws, target_logps = world
    return cje.analyze(logs, draws, target_logps, estimator=estimator, **options).estimates


def test_the_registry_has_every_name_and_each_class_its_own():
    assert list(ESTIMATORS) == list(EstimatorName)
    assert all(estimator.name is name for name, estimator in ESTIMATORS.items())


@pytest.mark.parametrize("estimator", [*WEIGHTED, "direct"])
def test_they_cover_where_the_judge_is_fair_and_the_logs_reach(estimator):
    hits = 0
    for seed in range(RUNS):
        row = rows_of(frames(seed, 500), estimator).loc["t"]
        hits += row["ci_low"] <= truth(0.4) <= row["ci_high"]
        assert (row["method"], row["evidence"]) == (estimator, "exact weights")
    assert coverage_is(hits, RUNS, 0.93)


@pytest.mark.parametrize("estimator", ["ips", "snips", "calibrated-ips"])
def test_weighted_means_cover_where_the_judge_is_fooled(estimator):
    hits = 0
    for seed in range(RUNS):
        row = rows_of(frames(seed, fool=0.1, style="hidden"), estimator).loc["t"]
        hits += row["ci_low"] <= truth(0.4, 0.1) <= row["ci_high"]
    assert coverage_is(hits, RUNS, 0.9)


@pytest.mark.parametrize("estimator", list(EstimatorName))
def test_without_evidence_none_is_better_than_refused(estimator):
    """Other models, no label of theirs; a policy out of reach of its exact weights; raw ones."""
    logs, draws = models(0, labels=0)
    rows = cje.analyze(logs, draws, estimator=estimator).estimates.drop(index="base")
    assert set(rows["verdict"]) == {"refuse"} and set(rows["evidence"]) == {"none"}
    far = rows_of(frames(0, shifts={"t": 2.5}), estimator).loc["t"]
    assert (far["verdict"], far["evidence"]) == ("refuse", "none")
    logs, draws, logps = frames(0)
    raw = rows_of((logs.drop(columns="logprob_kind"), draws, logps), estimator).loc["t"]
    assert (raw["verdict"], raw["evidence"]) == ("refuse", "none")


@pytest.mark.parametrize("estimator", [*WEIGHTED, "direct"])
def test_learned_weights_make_no_verdict_better(estimator):
    logs, draws, logps = frames(0)
    alone = cje.analyze(logs, draws, estimator=estimator, weights="marginal").estimates.loc["t"]
    assert (alone["verdict"], alone["evidence"]) == ("refuse", "none")
    assert alone["weights"] == ("none" if estimator == "direct" else "marginal")
    row = rows_of((logs, draws, logps), estimator, weights="marginal").loc["t"]
    assert row["verdict"] == "refuse"  # where learned weights are asked for, exact ones are not


def test_direct_is_never_reliable():
    for world in (frames(0), frames(0, label_draws=100), frames(1, shifts={"t": 0.0})):
        verdicts = rows_of(world, "direct")["verdict"]
        assert "reliable" not in set(verdicts)
    found = cje.analyze(*models(0), estimator="direct")
    assert "reliable" not in set(found.estimates["verdict"])


def test_directs_interval_holds_that_of_the_evidence():
    for seed in range(5):
        logs, draws = models(seed)
        direct = cje.analyze(logs, draws, estimator="direct").estimates
        own = cje.analyze(logs, draws, estimator="ppi").estimates
        assert (direct["ci_low"] <= own["ci_low"]).all()
        assert (direct["ci_high"] >= own["ci_high"]).all()
        assert direct["v_hat"].between(direct["ci_low"], direct["ci_high"]).all()
        exact = rows_of(frames(seed, fool=0.1), "dr-cpo").loc["t"]
        wide = rows_of(frames(seed, fool=0.1), "direct").loc["t"]
        assert wide["ci_low"] <= exact["ci_low"] and wide["ci_high"] >= exact["ci_high"]


def test_direct_is_refused_where_the_evidence_shows_that_the_judge_does_not_transport():
    logs, draws, logps = frames(1, shifts={"t": 1.0}, fool=0.1, style="hidden")
    found = cje.analyze(logs, draws, logps, estimator="direct")
    assert found.estimates.loc["t", "verdict"] == "refuse"
    assert "transport_failure" in set(found.violations["code"])


def test_directs_comparisons_are_those_of_the_evidence():
    logs, draws = models(2)
    kept = cje.analyze(logs, draws, estimator="direct").comparisons
    wanted = cje.analyze(logs, draws, estimator="ppi").comparisons
    key = ["policy_a", "policy_b"]
    both = kept.merge(wanted, on=key)
    assert len(both) == len(kept) > 0
    np.testing.assert_allclose(both["difference_x"], both["difference_y"])


def test_own_labels_widen_weighted_means_to_hold_theirs():
    world = frames(0, label_draws=100)
    own = rows_of(world, "ppi").loc["t"]
    for estimator in WEIGHTED:
        row = rows_of(world, estimator).loc["t"]
        exact = estimator != "calibrated-ips"  # whose weights are no longer exact
        assert row["evidence"] == ("both" if exact else "own labels")
        assert row["verdict"] == "caution"
        slack = 0.05 * own["se"]  # the number of labels that a t quantile is of differs
        assert row["ci_low"] <= own["ci_low"] + slack
        assert row["ci_high"] >= own["ci_high"] - slack


@pytest.mark.parametrize("estimator", WEIGHTED)
def test_without_log_probabilities_a_weighted_mean_is_the_direct_estimate_and_says_so(estimator):
    logs, draws = models(0)
    rows = cje.analyze(logs, draws, estimator=estimator).estimates
    assert set(rows["method"]) == {"direct"} and "reliable" not in set(rows["verdict"])


def test_every_estimator_is_near_the_truth_with_labels_and_overlap():
    logs, draws, logps = frames(3, label_draws=200)
    for estimator in EstimatorName:
        row = cje.analyze(logs, draws, logps, estimator=estimator).estimates.loc["t"]
        assert row["v_hat"] == pytest.approx(truth(0.4), abs=0.02), estimator
    logs, draws = models(3)
    row = cje.analyze(logs, draws).estimates.loc["c"]
    assert row["v_hat"] == pytest.approx(model_truth(0.3), abs=0.06)
