"""Worlds whose policies are other models: labels on their own answers carry the estimates."""

from functools import cache

import numpy as np
import pandas as pd
import pytest

import cje
from worlds import BIAS, LEVELS, model_truth, models, shares_cover

KINDS = [("continuous", 0.5), ("skewed", 0.5), ("pass", 0.5), ("pass", 0.9), ("pass", 0.97)]


@cache
def runs(count: int, kind: str = "continuous", rate: float = 0.5, **options) -> pd.DataFrame:
    """The rows of every policy of so many worlds, with `run`, `error`, that of the mean of its
    labels, and `covered`."""
    found = []
    true = {p: model_truth(LEVELS.get(p, 0.0), kind, rate) for p in (*LEVELS, "base")}
    for seed in range(count):
        logs, draws = models(seed, kind=kind, rate=rate, **options)
        rows = cje.analyze(logs, draws).estimates
        labels = draws.groupby("policy")["oracle_score"].mean()
        labels["base"] = logs["oracle_score"].mean()
        rows["true"] = pd.Series(true)
        rows["labels_error"] = labels - rows["true"]
        found.append(rows.assign(run=seed))
    rows = pd.concat(found)
    rows["error"] = rows["v_hat"] - rows["true"]
    rows["covered"] = (rows["ci_low"] <= rows["true"]) & (rows["true"] <= rows["ci_high"])
    return rows


def shares(rows: pd.DataFrame) -> np.ndarray:
    """The share of policies covered, by run."""
    return rows.groupby("run")["covered"].mean().to_numpy()


def squared_error(rows: pd.DataFrame) -> float:
    """Against that of the labels' mean, of the targets on the same draws."""
    targets = rows.drop(index="base")
    return (targets["error"] ** 2).sum() / (targets["labels_error"] ** 2).sum()


@pytest.mark.parametrize("kind, rate", KINDS)
def test_a_hundred_labels_cover_and_are_reliable(kind, rate):
    rows = runs(40, kind, rate)
    assert shares_cover(shares(rows), 0.93, 0.98)
    assert set(rows["evidence"]) == {"own labels"} and set(rows["labels"]) == {100}
    assert (rows["verdict"] == "reliable").mean() > 0.95
    for _, policy in rows.groupby("policy"):
        assert abs(policy["error"].mean()) < 4.5 * policy["error"].sem()
    assert squared_error(rows) < 1.03


def test_the_standard_error_is_that_of_the_estimates():
    rows = runs(40)
    for policy, own in rows.groupby("policy"):
        assert own["se"].mean() == pytest.approx(own["error"].std(), rel=0.3), policy
    spread = rows.groupby("policy")["error"].std()
    assert rows["se"].mean() == pytest.approx(spread.mean(), rel=0.15)


def test_without_labels_every_target_is_refused_and_the_base_is_not():
    rows = runs(12, labels=0)
    targets, base = rows.drop(index="base"), rows.loc["base"]
    assert set(targets["verdict"]) == {"refuse"} and set(targets["evidence"]) == {"none"}
    assert set(base["verdict"]) == {"reliable"} and set(base["evidence"]) == {"own labels"}
    assert targets["covered"].mean() < 0.7  # and the judge's bias shows why


def test_a_useless_judge_costs_next_to_nothing():
    assert squared_error(runs(40, judge=0.0)) < 1.03


@pytest.mark.parametrize("judge, most", [(0.7, 0.75), (0.95, 0.45)])
def test_a_good_judge_is_worth_labels(judge, most):
    assert squared_error(runs(40, judge=judge)) < most


def test_the_bases_labels_on_the_prompts_are_worth_labels():
    """All of its answers are labelled, the judge is useless; prompts are .6 of what varies."""
    assert squared_error(runs(40, judge=0.0, fraction=1.0)) < 0.85


@pytest.mark.parametrize("labels, verdict", [(5, "refuse"), (20, "caution"), (50, "reliable")])
def test_the_number_of_labels_decides_how_far_they_are_believed(labels, verdict):
    rows = runs(15, labels=labels).drop(index="base")
    assert (rows["verdict"] == verdict).mean() > 0.9
    assert set(rows["labels"]) == {labels}


def test_a_few_labels_cover_too():
    rows = runs(40, labels=20)
    assert shares_cover(shares(rows.drop(index="base")), 0.93)


def rank_correlation(values: pd.Series, true: pd.Series) -> float:
    return values.rank().corr(true.rank())


def test_prompts_that_drive_length_and_score_invert_nothing():
    """Easy prompts have short answers; better policies write longer. The judge is unbiased."""
    levels = {f"p{i}": 0.15 * i for i in range(-3, 4)}
    true = pd.Series({policy: model_truth(level) for policy, level in levels.items()})
    for labels in (0, 100):
        found = []
        for seed in range(10):
            logs, draws = models(seed, levels=levels, lengths=True, labels=labels)
            rows = cje.analyze(logs, draws).estimates.drop(index="base")
            if labels:
                assert rank_correlation(rows["v_hat"], true) > 0.7
            else:  # a projection, which is the calibrated judge and nothing else
                raw = draws.groupby("policy")["judge_raw"].mean()
                found.append(rank_correlation(rows["v_hat"], raw))
        assert np.mean(found or [1.0]) > 0.9
    covered = runs(40, lengths=True)
    assert shares_cover(shares(covered), 0.93)


def test_the_judges_bias_of_a_policy_is_a_note_and_no_reason_to_refuse():
    logs, draws = models(2)
    found = cje.analyze(logs, draws)
    notes = found.violations.query("code == 'transport_failure'")
    assert BIAS["a"] == max(BIAS.values()) and "a" in set(notes["policy"])
    assert set(notes["severity"]) == {"note"}
    assert set(found.estimates["verdict"]) == {"reliable"}


def test_labels_on_a_part_that_is_not_random_are_found():
    logs, draws = models(0, labels=400)
    score = draws["judge_raw"]
    chosen = (score > score.median()) & (draws["policy"] == "a") & (draws.index % 2 == 0)
    draws.loc[(draws["policy"] == "a") & ~chosen, "oracle_score"] = np.nan
    found = cje.analyze(logs, draws)
    assert found.violations.query("code == 'labels_not_random'")["policy"].tolist() == ["a"]
    assert found.estimates.loc["a", "verdict"] == "caution"


def test_chances_to_be_labelled_that_are_given_take_the_bias_out():
    errors, naive = [], []
    for seed in range(40):
        logs, draws = models(seed, n=400, labels=400, levels={"a": 0.0})
        chance = np.where(draws["judge_raw"] > 0.6, 0.5, 0.15)
        kept = np.random.default_rng(seed).random(len(draws)) < chance
        draws["oracle_score"] = draws["oracle_score"].where(kept)
        draws["oracle_prob"] = np.where(kept, chance, np.nan)
        found = cje.analyze(logs, draws)
        row = found.estimates.loc["a"]
        errors.append(row["v_hat"] - 0.5)
        naive.append(draws["oracle_score"].mean() - 0.5)
        assert row["ci_low"] < 0.5 + 0.08 and row["ci_high"] > 0.5 - 0.08
    assert abs(np.mean(errors)) < 4.5 * np.std(errors) / np.sqrt(40)
    assert np.mean(naive) > 0.05


def test_the_powers_are_fitted_to_prompts_that_the_policies_share():
    """Labels of a policy change the guess of another's, not its level: both stay unbiased."""
    logs, draws = models(3)
    moved = draws.copy()
    own = moved["policy"] == "b"
    moved.loc[own, "oracle_score"] = 1 - moved.loc[own, "oracle_score"]
    before, after = cje.analyze(logs, draws), cje.analyze(logs, moved)
    shift = (after.estimates["v_hat"] - before.estimates["v_hat"]).abs()
    assert shift["b"] > 0.05 or abs(before.estimates.loc["b", "v_hat"] - 0.5) < 0.03
    assert (shift[["a", "c", "base"]] < before.estimates["se"][["a", "c", "base"]]).all()


def test_several_draws_a_prompt_narrow_the_interval_and_one_label_serves():
    one, three = models(5), models(5, draws=3)
    rows, more = cje.analyze(*one).estimates, cje.analyze(*three).estimates
    assert (more["labels"] == rows["labels"]).all()
    assert (more["v_hat"] - rows["v_hat"]).abs().max() < 3 * rows["se"].max()
    assert more.drop(index="base")["se"].mean() < rows.drop(index="base")["se"].mean()


def test_labels_of_several_draws_of_a_prompt_are_one_label():
    logs, draws = models(6, draws=2, labels=50)
    first = draws[draws["draw"] == 0].set_index(["policy", "uid"])["oracle_score"]
    both = draws.copy()
    both["oracle_score"] = [first[key] for key in zip(both["policy"], both["uid"], strict=True)]
    rows, twice = cje.analyze(logs, draws).estimates, cje.analyze(logs, both).estimates
    assert (twice["labels"] == rows["labels"]).all()
    assert (twice["se"] > 0.9 * rows["se"]).all()  # the same label twice is no more


def test_draws_that_are_the_logged_answers_have_the_bases_estimate():
    found = cje.analyze(*with_copy(*models(7)))
    numbers = found.estimates[["v_hat", "se", "ci_low", "ci_high"]]
    assert numbers.loc["clone"].to_numpy() == pytest.approx(numbers.loc["base"].to_numpy())
    pair = found.comparisons.query("policy_a == 'clone' and policy_b == 'base'").iloc[0]
    assert abs(pair["difference"]) < 1e-9 and pair["p_value"] > 0.5


def with_copy(logs: pd.DataFrame, draws: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Policy `clone` has the logged answers as its draws."""
    return logs, pd.concat([draws, logs.assign(policy="clone", draw=0)])


def test_draws_that_are_the_logged_answers_count_once():
    logs, draws = models(7)
    found = cje.analyze(*with_copy(logs, draws))
    rows, alone = found.estimates, cje.analyze(logs, draws).estimates
    assert rows.loc["base", "labels"] == rows.loc["clone", "labels"] == 100
    assert alone.loc["base", "labels"] == 100
    assert rows.loc["clone", "se"] == pytest.approx(rows.loc["base", "se"], rel=0.02)
    pair = found.comparisons.query("policy_a == 'clone' and policy_b == 'base'").iloc[0]
    assert abs(pair["difference"]) < 0.2 * rows.loc["base", "se"] and pair["p_value"] > 0.05


def test_more_labels_of_the_logged_answers_on_their_copy_are_the_bases_too():
    logs, draws = models(7, fraction=1.0)
    known = logs.assign(policy="base", draw=0)
    few = logs.assign(oracle_score=logs["oracle_score"].where(logs.index < 50), oracle_prob=1.0)
    found = cje.analyze(few, pd.concat([draws, known])).estimates
    assert found.loc["base", "labels"] == 400
    assert found.loc["base", "v_hat"] == pytest.approx(logs["oracle_score"].mean())


def test_fresh_draws_of_the_base_are_more_of_its_answers():
    logs, draws = models(8)
    _, again = models(9, levels={"base": 0.0}, labels=200)
    rows = cje.analyze(logs, pd.concat([draws, again])).estimates
    assert list(rows.index) == ["a", "b", "c", "base"]
    assert rows.loc["base", "labels"] > 200
    assert rows.loc["base", "se"] < cje.analyze(logs, draws).estimates.loc["base", "se"]


def test_labels_on_draws_alone_are_enough():
    logs, draws = models(10, fraction=0.0)
    found = cje.analyze(logs, draws)
    rows = found.estimates
    assert set(rows["verdict"][list(LEVELS)]) == {"reliable"}
    assert (rows.loc["base", "verdict"], rows.loc["base", "evidence"]) == ("refuse", "none")
    assert "base" not in set(found.comparisons["policy_a"]) | set(found.comparisons["policy_b"])


def test_ppi_is_the_own_label_form_alone():
    rows = cje.analyze(*models(11), estimator="ppi").estimates
    assert set(rows["method"]) == {"ppi"}
    default = cje.analyze(*models(11)).estimates
    assert (rows["v_hat"] == default["v_hat"]).all()
