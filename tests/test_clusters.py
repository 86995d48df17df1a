"""Conversations: prompts that share one are no independent evidence."""

import numpy as np
import pandas as pd
import pytest

import cje
from worlds import conversations, coverage_is

RUNS = 40


def analyses(count: int, turns: int, **options) -> list[cje.Analysis]:
    found = []
    for seed in range(RUNS):
        logs, draws = conversations(seed, count, turns, **options)
        found.append(cje.analyze(logs, draws))
    return found


def hits(found: list[cje.Analysis], policy: str) -> int:
    rows = [analysis.estimates.loc[policy] for analysis in found]
    return sum(row["ci_low"] <= 0.6 <= row["ci_high"] for row in rows)


@pytest.mark.parametrize("count, turns, labels", [(60, 10, 150), (20, 30, 200)])
def test_conversations_cover_and_their_comparisons_hold(count, turns, labels):
    found = analyses(count, turns, labels=labels)
    for policy in ("one", "two", "base"):
        assert coverage_is(hits(found, policy), RUNS, 0.93)
    pairs = pd.concat([analysis.comparisons for analysis in found])
    covered = (pairs["ci_low"] <= 0) & (pairs["ci_high"] >= 0)
    assert coverage_is(round(2 * RUNS * covered.mean()), 2 * RUNS, 0.93)


def test_without_the_column_the_intervals_would_be_far_too_short():
    named, nameless = (analyses(20, 30, labels=200, named=named) for named in (True, False))
    assert not coverage_is(hits(nameless, "one"), RUNS, 0.93)
    for one, other in zip(named, nameless, strict=True):
        assert one.estimates.loc["one", "se"] > 2 * other.estimates.loc["one", "se"]
        assert one.estimates.loc["one", "v_hat"] == pytest.approx(
            other.estimates.loc["one", "v_hat"], abs=0.01
        )


def test_labels_are_counted_by_conversation():
    rows = cje.analyze(*conversations(0, 20, 30, labels=200)).estimates
    assert (rows["labels"] == 20).all() and set(rows["verdict"]) == {"caution"}
    assert (cje.analyze(*conversations(0, 60, 10, labels=200)).estimates["labels"] > 50).all()


def test_conversations_of_one_turn_are_prompts():
    logs, draws = conversations(0, 600, 1, labels=100)
    named = cje.analyze(logs, draws)
    for frame in (logs, draws):
        frame["cluster"] = frame["uid"]
    one = cje.analyze(logs, draws)
    plain = cje.analyze(*(frame.drop(columns="cluster") for frame in (logs, draws)))
    numbers = ["v_hat", "se", "ci_low", "ci_high"]
    for found in (one, named):  # folds are of clusters, and their names differ
        assert (found.estimates["labels"] == plain.estimates["labels"]).all()
        np.testing.assert_allclose(found.estimates["se"], plain.estimates["se"], rtol=0.02)
        gap = (found.estimates["v_hat"] - plain.estimates["v_hat"]).abs()
        assert (gap < 0.3 * plain.estimates["se"]).all()
    for frame in (logs, draws):
        frame["cluster"] = None
    empty = cje.analyze(logs, draws)
    pd.testing.assert_frame_equal(empty.estimates[numbers], plain.estimates[numbers])


def test_a_prompt_without_a_cluster_is_one_of_its_own():
    logs, draws = conversations(1, 60, 10, labels=150)
    for frame in (logs, draws):
        frame.loc[frame["cluster"].isin([f"talk {i}" for i in range(30)]), "cluster"] = np.nan
    rows = cje.analyze(logs, draws).estimates
    whole = cje.analyze(*conversations(1, 60, 10, labels=150)).estimates
    assert (rows["labels"] > whole["labels"]).all()
    assert (rows["se"] < whole["se"]).all()


def test_folds_keep_a_conversation_together():
    from cje.stats.checking import check_frames
    from cje.stats.rewards import calibrate

    logs, draws = conversations(2, 20, 30, labels=200)
    logs, _, draws = check_frames(logs, None, draws, (0, 1), (0, 1))
    found = calibrate(logs, draws)
    both = pd.concat([found.logs, found.draws])
    assert (both.groupby("cluster")["fold"].nunique() == 1).all()
    assert both["fold"].nunique() == 5
