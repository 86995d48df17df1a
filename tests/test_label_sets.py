"""Real evaluations, most of whose labels are hidden: coverage, and error against the peers'."""

from functools import cache

import numpy as np
import pandas as pd
import pytest

import cje
from label_sets import label_set, prediction_powered, redraw
from worlds import shares_cover

RUNS = 40


@cache
def redraws(name: str, labels: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of every policy of 40 redraws, with `run`, `covered`; and by run the squared errors
    of `ours`, of the labels' `mean` and of `ppi`, summed over policies."""
    judge, oracle = label_set(name)
    true, found, errors = oracle.mean(), [], []
    for seed in range(RUNS):
        logs, draws = redraw(judge, oracle, seed, labels)
        rows = cje.analyze(logs, draws).estimates
        covered = (rows["ci_low"] <= true[rows.index]) & (true[rows.index] <= rows["ci_high"])
        found.append(rows.assign(run=seed, covered=covered))
        by_policy = draws.groupby("policy")
        numbers = {
            "ours": rows["v_hat"].drop("base"),
            "mean": by_policy["oracle_score"].mean(),
            "ppi": pd.Series({policy: prediction_powered(own) for policy, own in by_policy}),
        }
        errors.append({k: ((v - true[v.index]) ** 2).sum() for k, v in numbers.items()})
    return pd.concat(found), pd.DataFrame(errors)


@pytest.mark.parametrize("name, labels", [("wildbench", 100), ("realsumm", 50)])
def test_own_labels_cover_and_are_believed(name, labels):
    rows, _ = redraws(name, labels)
    believed = rows[rows["verdict"] == "reliable"]
    assert len(believed) > 0.9 * len(rows)
    shares = believed.groupby("run")["covered"].mean()
    assert shares_cover(shares.to_numpy(), 0.93, 0.98)
    assert believed.groupby(level=0)["covered"].mean().min() > 0.8


@pytest.mark.parametrize(
    "name, labels, over_mean", [("wildbench", 100, 0.5), ("realsumm", 50, 0.95)]
)
def test_their_error_is_below_the_means_and_not_above_prediction_powered(name, labels, over_mean):
    _, errors = redraws(name, labels)
    total = errors.sum()
    assert total["ours"] < over_mean * total["mean"]
    assert total["ours"] < 1.03 * total["ppi"]


def test_without_labels_no_policy_of_a_real_set_is_believed():
    judge, oracle = label_set("wildbench")
    logs, draws = redraw(judge, oracle, 0, 0)
    found = cje.analyze(logs, draws)
    targets = found.estimates.drop(index="base")
    assert set(targets["verdict"]) == {"refuse"} and found.best == ["base"]
    assert found.comparisons.empty
    assert np.isfinite(targets["v_hat"]).all()
