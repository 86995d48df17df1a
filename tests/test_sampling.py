"""Active labels: their chances are those stated, and what stands on them is right."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cje
from cje.stats.sampling import (
    Design,
    judged_places,
    pivotal,
    residual_sizes,
    sized_design,
    spread_design,
    tempered,
)
from worlds import coverage_is, shares_cover

WORLDS, LOGGED = 40, 100


@given(
    st.lists(st.floats(0.001, 1000), min_size=2, max_size=60),
    st.floats(0, 1),
    st.integers(0, 10**6),
)
def test_of_every_number_of_labels_the_chances_add_up_and_the_fewer_are_among_the_more(
    size, part, seed
):
    size = np.array(size)
    prompts, phase = len(size), max(1, round(part * len(size)))
    logged = spread_design(size, seed)
    own = sized_design(size, size, logged, phase, seed)
    for design in (logged, own):
        before = design.chosen(0)
        assert sorted(design.order) == list(range(prompts))
        for count in range(1, prompts + 1):
            chosen, chance = design.chosen(count), design.probability(count)
            assert chosen.sum() == count and chance[chosen].min() > 0
            assert (chance >= 0.2 * count / prompts - 1e-9).all() and (chance <= 1 + 1e-9).all()
            assert (before <= chosen).all()
            before = chosen
            # Of the second phase given the first: n1 / N times a design of the n1.
            among = logged.chosen(phase) if design is own and count <= phase else chosen | True
            total = count * among.sum() / prompts
            assert chance[among].sum() == pytest.approx(total)
            if design is own and count <= phase:
                assert (chosen <= among).all() and (chance <= phase / prompts + 1e-9).all()
    assert own.probability(phase) == pytest.approx(logged.probability(phase))
    assert (sized_design(size, size, logged, phase, seed).order == own.order).all()


def test_labels_fall_on_prompts_as_often_as_stated():
    rng = np.random.default_rng(0)
    size, place, runs, phase = rng.gamma(1, 1, 40), rng.random(40), 4000, 24
    logged = spread_design(place, 7)
    designs = [sized_design(size, place, logged, phase, seed) for seed in range(runs)]
    inside = logged.chosen(phase)
    for count in (3, 7, 12, 23):
        hits = sum(design.chosen(count).astype(int) for design in designs)[inside]
        chance = designs[0].probability(count)[inside] * len(size) / phase
        assert all(coverage_is(int(h), runs, p, p) for h, p in zip(hits, chance, strict=True))
    assert np.ptp(designs[0].probability(12)[inside]) > 0.3
    drawn = sum(spread_design(place, seed).chosen(13).astype(int) for seed in range(runs))
    assert all(coverage_is(int(h), runs, 13 / 40, 13 / 40) for h in drawn)


def test_totals_are_unbiased_although_the_first_labels_decide_where_the_second_are():
    """The pi* estimator over both phases; sizes hang on labels that go with what is estimated."""
    rng = np.random.default_rng(2)
    base = rng.integers(0, 2, 60).astype(float)
    target, place, runs, phase, count = base * rng.random(60) + 0.1, rng.random(60), 800, 30, 10
    scores = np.column_stack([place, rng.random(60)])
    found = np.empty(runs)
    for seed in range(runs):
        logged = spread_design(place, seed)
        size = residual_sizes(scores, np.where(logged.chosen(phase), base, np.nan))
        own = sized_design(size, place, logged, phase, seed)
        chosen = own.chosen(count)
        found[seed] = (target[chosen] / own.probability(count)[chosen]).sum()
    assert abs(found.mean() - target.sum()) < 3.9 * found.std(ddof=1) / np.sqrt(runs)


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


def test_sizes_are_those_of_the_base_policys_residuals_where_they_differ_and_alike_else():
    rng = np.random.default_rng(3)
    scores = rng.random((400, 1)) + 0.1 * rng.normal(size=(400, 3))
    hard = scores.mean(axis=1) < 0.5
    utility = np.where(hard, rng.random(400) < 0.5, 1.0)
    utility[200:] = np.nan
    size = residual_sizes(scores, utility)
    assert size[200:][hard[200:]].mean() > 2 * size[200:][~hard[200:]].mean()
    failed = utility == 0
    assert size[failed].min() > size[:200][hard[:200] & ~failed[:200]].mean()
    for nothing in (np.full(400, np.nan), np.where(np.arange(400) < 1, 0.5, np.nan), np.ones(400)):
        assert residual_sizes(scores, nothing) == pytest.approx(np.ones(400))
    scores[rng.random(scores.shape) < 0.3] = np.nan
    assert np.isfinite(residual_sizes(scores, utility)).all()
    assert np.isfinite(residual_sizes(np.full((400, 3), np.nan), utility)).all()
    assert np.isfinite(judged_places(scores)).all()


def test_where_the_judge_says_nothing_of_residuals_sizes_are_nearly_alike():
    rng = np.random.default_rng(4)
    found = []
    for _ in range(20):
        utility = np.where(np.arange(400) < 100, rng.normal(size=400), np.nan)
        found.append(residual_sizes(rng.random((400, 3)), utility)[100:])
    assert np.std(found, axis=1).mean() < 0.05


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
    place = judged_places(judge)
    logged = spread_design(place, seed)
    size = residual_sizes(judge, np.where(logged.chosen(LOGGED), oracle[:, 0], np.nan))
    own = sized_design(size if active else np.ones(len(size)), place, logged, LOGGED, seed)
    uid = [f"prompt {i}" for i in range(len(judge))]

    def answers(policy: int, design: Design, count: int) -> pd.DataFrame:
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

    draws = [answers(policy, own, labels) for policy in (1, 2, 3)]
    return {
        "logs": answers(0, logged, LOGGED).drop(columns=["policy", "draw"]),
        "draws": pd.concat(draws),
    }


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
