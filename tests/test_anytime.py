"""Intervals valid at any time hold the truth at every look at once, which those for one do not."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtr, ndtri

import cje
from cje.errors import CJEError
from cje.stats.inference import anytime_level, anytime_p_value
from worlds import coverage_is

RUNS, LOOKS = 600, np.unique(np.geomspace(30, 1500, 60).astype(int))


@pytest.fixture(scope="module")
def paths() -> np.ndarray:
    """Means of skewed labels over their standard errors about the truth, (runs, looks)."""
    labels = np.random.default_rng(3).beta(5, 2, (RUNS, LOOKS[-1])) - 5 / 7
    mean = labels.cumsum(axis=1)[:, LOOKS - 1] / LOOKS
    square = (labels**2).cumsum(axis=1)[:, LOOKS - 1] / LOOKS
    return mean / np.sqrt((square - mean**2) / (LOOKS - 1))


def test_all_looks_together_cover(paths):
    level = np.array([anytime_level(0.05, n) for n in LOOKS])
    held = (np.abs(paths) <= -ndtri(level / 2)).all(axis=1).sum()
    assert coverage_is(held, RUNS, 0.95)
    for_one = (np.abs(paths) <= -ndtri(0.025)).all(axis=1).sum()
    assert not coverage_is(for_one, RUNS, 0.85)


def test_small_p_values_at_any_look_are_as_rare_as_they_say(paths):
    fixed = 2 * ndtr(-np.abs(paths[:300]))
    least = [
        min(anytime_p_value(p, 0.05, n) for p, n in zip(row, LOOKS, strict=True)) for row in fixed
    ]
    assert coverage_is(int((np.array(least) > 0.05).sum()), 300, 0.95)
    assert coverage_is(int((np.array(least) > 0.3).sum()), 300, 0.7)


def test_p_values_and_intervals_agree():
    for labels in (10, 100, 3000):
        level = anytime_level(0.05, labels)
        assert anytime_p_value(level, 0.05, labels) == pytest.approx(0.05, rel=1e-6)
        assert anytime_p_value(1.0, 0.05, labels) == 1.0
        assert 0 < anytime_p_value(0.0, 0.05, labels) < 1e-12


def test_the_price_is_as_published():
    """Of the shortest two-sided interval of level .05: 3.04 standard errors, not 1.96."""
    price = [ndtri(anytime_level(0.05, n) / 2) / ndtri(0.025) for n in (30, 100, 1000)]
    assert price[1] == pytest.approx(1.548, abs=0.002) and price[1] == min(price)
    assert max(price) < 2


def frames(n: int = 300) -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(0)
    oracle = np.clip(rng.normal([0.6, 0.6, 0.75], 0.1, (n, 3)), 0, 1)
    judge = np.clip(oracle + rng.normal(0, 0.1, (n, 3)), 0, 1)
    uid = [f"prompt {i}" for i in range(n)]

    def answers(policy: int, labels: int) -> pd.DataFrame:
        known = np.where(np.arange(n) < labels, oracle[:, policy], np.nan)
        return pd.DataFrame({"uid": uid, "judge_raw": judge[:, policy], "oracle_score": known})

    draws = [answers(i, 60).assign(policy=p, draw=0) for i, p in ((1, "same"), (2, "better"))]
    return {"logs": answers(0, 100), "draws": pd.concat(draws)}


def test_an_analysis_at_any_time_is_wider_and_claims_less():
    one, any_time = (cje.analyze(**frames(), intervals=kind) for kind in ("fixed-time", "anytime"))
    width = [found.estimates["ci_high"] - found.estimates["ci_low"] for found in (one, any_time)]
    assert ((width[1] / width[0]).between(1.4, 2)).all()
    assert (any_time.estimates["v_hat"] == one.estimates["v_hat"]).all()
    assert (any_time.comparisons["p_value"] > one.comparisons["p_value"]).all()
    gaps = [found.comparisons["ci_high"] - found.comparisons["ci_low"] for found in (one, any_time)]
    assert (gaps[1] > 1.4 * gaps[0]).all()
    assert any_time.best == ["better"]
    with pytest.raises(CJEError, match="intervals"):
        cje.analyze(**frames(), intervals="always")
    with pytest.raises(CJEError, match="one look"):
        cje.analyze(**frames(), intervals="anytime", bootstrap=20)
