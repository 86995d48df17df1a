"""Active labels: their chances are those stated, and what stands on them is right."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cje
from cje.stats.sampling import active_design, expected_sizes, pivotal, tempered
from worlds import coverage_is, shares_cover

WORLDS = 40


@given(st.lists(st.floats(0.001, 1000), min_size=2, max_size=60), st.integers(0, 10**6))
def test_of_every_number_of_labels_the_chances_add_up_and_the_fewer_are_among_the_more(size, seed):
    size = np.array(size)
    design = active_design(size, size, seed)
    before = design.chosen(0)
    assert sorted(design.order) == list(range(len(size)))
    for count in range(1, len(size) + 1):
        chosen, chance = design.chosen(count), design.probability(count)
        assert chosen.sum() == count == pytest.approx(chance.sum())
        assert (chance >= 0.2 * count / len(size) - 1e-9).all() and (chance <= 1 + 1e-9).all()
        assert (before <= chosen).all()
        before = chosen


def test_labels_fall_on_prompts_as_often_as_stated():
    rng = np.random.default_rng(0)
    size, place, runs = rng.gamma(1, 1, 30), rng.random(30), 4000
    counts = (3, 7, 12, 25)
    designs = [active_design(size, place, seed) for seed in range(runs)]
    for count in counts:
        hits = sum(design.chosen(count).astype(int) for design in designs)
        chance = designs[0].probability(count)
        assert all(coverage_is(int(h), runs, p, p) for h, p in zip(hits, chance, strict=True))
    assert np.ptp(designs[0].probability(7)) > 0.3


@pytest.mark.parametrize("total", (1, 4))
def test_pivotal_sampling_takes_as_many_as_the_chances_say(total):
    rng = np.random.default_rng(1)
    chance = rng.random(20)
    chance *= total / chance.sum()
    assert {pivotal(chance, rng).sum() for _ in range(200)} == {total}


def test_no_size_is_below_a_fifth_of_the_average_or_far_above_it():
    size = tempered(np.array([1e-9, 1.0, 1.0, 1.0, 1e9]))
    assert size.mean() == pytest.approx(1) and size.min() >= 0.2 - 1e-9 and size.max() <= 3
    assert tempered(np.full(4, 7.0)) == pytest.approx(np.ones(4))


def test_labels_go_where_policies_differ_and_to_the_middle_of_the_scale():
    scores = np.array([[0.9, 0.9, 0.9], [0.5, 0.5, 0.5], [0.1, 0.5, 0.9], [0.1, 0.1, 0.1]])
    size, place = expected_sizes(scores)
    assert size[2] > size[1] > size[0] == pytest.approx(size[3])
    assert place[3] < place[1] < place[0]
    size, _ = expected_sizes(np.full((4, 3), np.nan))
    assert size == pytest.approx(np.ones(4))
    scores[1, 0] = np.nan
    assert np.isfinite(expected_sizes(scores)).all()


POLICIES = ("base", "a", "b", "c")


def world(seed: int, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Judge and oracle (n, 4): prompts differ in how far answers to them may lie apart."""
    rng = np.random.default_rng([seed, 1])
    width = rng.gamma(1.0, 1.0, (n, 1))
    quality = width * rng.normal(size=(n, 4)) + np.array([0.0, 0.0, 0.3, -0.4])
    oracle = np.clip(0.6 + 0.1 * quality, 0, 1)
    judge = np.clip(0.5 + 0.1 * (quality + 0.8 * width * rng.normal(size=(n, 4))), 0, 1)
    return judge, oracle


TRUTH = np.mean([world(seed, 20_000)[1].mean(axis=0) for seed in range(1000, 1010)], axis=0)


def labelled(seed: int, active: bool, labels: int = 60) -> dict[str, pd.DataFrame]:
    """Logs and draws of a world, so many answers of each target labelled."""
    judge, oracle = world(seed)
    size, place = expected_sizes(judge)
    design = active_design(size if active else np.ones(len(size)), place, seed)
    uid = [f"prompt {i}" for i in range(len(judge))]

    def answers(policy: int, count: int) -> pd.DataFrame:
        chosen = design.chosen(count)
        return pd.DataFrame(
            {
                "uid": uid,
                "policy": POLICIES[policy],
                "draw": 0,
                "judge_raw": judge[:, policy],
                "oracle_score": np.where(chosen, oracle[:, policy], np.nan),
                "oracle_prob": np.where(chosen, design.probability(count), np.nan),
            }
        )

    draws = [answers(policy, labels) for policy in (1, 2, 3)]
    return {"logs": answers(0, 100).drop(columns=["policy", "draw"]), "draws": pd.concat(draws)}


@pytest.fixture(scope="module")
def found() -> dict[str, list[cje.Analysis]]:
    runs = {name: [] for name in ("dr-cpo", "ppi")}
    for seed in range(WORLDS):
        frames = labelled(seed, active=True)
        for name, analyses in runs.items():
            analyses.append(cje.analyze(**frames, estimator=name))
    return runs


@pytest.mark.parametrize("estimator", ("dr-cpo", "ppi"))
def test_estimates_and_differences_under_active_labels_cover_and_are_unbiased(found, estimator):
    hits, apart, errors = [], [], []
    for analysis in found[estimator]:
        rows = analysis.estimates.loc[list(POLICIES)]
        hits.append(((rows["ci_low"] <= TRUTH) & (rows["ci_high"] >= TRUTH)).mean())
        errors.append(rows["v_hat"].to_numpy() - TRUTH)
        pairs = analysis.comparisons
        gap = [TRUTH[POLICIES.index(p)] for p in pairs["policy_a"]]
        gap = np.array(gap) - [TRUTH[POLICIES.index(p)] for p in pairs["policy_b"]]
        apart.append(((pairs["ci_low"] <= gap) & (gap <= pairs["ci_high"])).mean())
    assert shares_cover(hits, 0.93) and shares_cover(apart, 0.93)
    errors = np.array(errors)
    noise = errors.std(axis=0, ddof=1) / np.sqrt(WORLDS)
    assert (np.abs(errors.mean(axis=0)) < 3.9 * noise).all()


def test_active_labels_are_worth_more_than_uniform_ones_where_the_judge_sees_the_spread(found):
    def errors(analyses: list[cje.Analysis]) -> np.ndarray:
        rows = [analysis.estimates.loc[["a", "b", "c"], "v_hat"] for analysis in analyses]
        return (np.array(rows) - TRUTH[1:]) ** 2

    uniform = [cje.analyze(**labelled(seed, active=False)) for seed in range(WORLDS)]
    assert errors(found["dr-cpo"]).mean() < 0.95 * errors(uniform).mean()
