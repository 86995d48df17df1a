"""Prompts of which the judge has no score for any answer: a stratum of their own."""

import numpy as np
import pandas as pd
import pytest

import cje
from cje.stats.calibration import Calibrator
from cje.stats.diagnostics import reply_facts, unscored_prompts
from worlds import LEVELS, coverage_is, frames, model_truth, models, shares_cover, truth

SHARE = 0.3  # of the prompts; an answer to one of them is worth half of what it would be


def apart(seed: int, *tables: pd.DataFrame) -> None:
    """Take the judge's scores from a random part of the prompts, and half of their utility."""
    uids = tables[0]["uid"]
    chosen = set(uids[np.random.default_rng([seed, 9]).random(len(uids)) < SHARE])
    for table in tables:
        rows = table["uid"].isin(chosen)
        table.loc[rows, "judge_raw"] = np.nan
        table.loc[rows, "oracle_score"] *= 0.5


def true(value: float) -> float:
    return value * (1 - SHARE / 2)


def test_own_labels_cover_and_the_judge_still_narrows_the_interval():
    found, errors = [], []
    for seed in range(40):
        logs, draws = models(seed)
        apart(seed, logs, draws)
        rows = cje.analyze(logs, draws).estimates
        rows["true"] = [true(model_truth(LEVELS.get(p, 0.0))) for p in rows.index]
        labels = draws.groupby("policy")["oracle_score"].mean()
        labels["base"] = logs["oracle_score"].mean()
        errors.append((labels - rows["true"]).drop("base"))
        found.append(rows.assign(run=seed))
    rows = pd.concat(found)
    rows["error"] = rows["v_hat"] - rows["true"]
    rows["covered"] = (rows["ci_low"] <= rows["true"]) & (rows["true"] <= rows["ci_high"])
    assert shares_cover(rows.groupby("run")["covered"].mean().to_numpy(), 0.93, 0.99)
    for _, own in rows.groupby("policy"):
        assert abs(own["error"].mean()) < 4.5 * own["error"].sem()
    ratio = (rows.drop(index="base")["error"] ** 2).sum() / (pd.concat(errors) ** 2).sum()
    assert ratio < 0.75  # of the labels' mean; measured .50


def test_exact_weights_alone_cover_too():
    errors, hits = [], 0
    for seed in range(60):
        logs, draws, logps = frames(seed)
        apart(seed, logs, draws)
        row = cje.analyze(logs, draws, logps).estimates.loc["t"]
        assert row["evidence"] == "exact weights"
        errors.append(row["v_hat"] - true(truth(0.4)))
        hits += row["ci_low"] <= true(truth(0.4)) <= row["ci_high"]
    assert coverage_is(hits, 60, 0.93)
    assert abs(np.mean(errors)) < 4.5 * np.std(errors) / np.sqrt(60)


def test_the_run_says_how_many_there_are_and_no_policy_is_doubted_for_it():
    logs, draws = models(0)
    apart(0, logs, draws)
    found = cje.analyze(logs, draws)
    (note,) = found.violations.query("code == 'unscored_prompts'").itertuples()
    assert note.severity == "note" and pd.isna(note.policy)
    count = logs["judge_raw"].isna().sum()
    assert f"any answer to {count} of 400 prompts" in note.message
    assert "unparsed_judgements" not in set(found.violations["code"])
    assert set(found.estimates["verdict"]) == {"reliable"}


def test_a_judge_that_scores_nothing_asks_for_caution():
    logs, draws = models(0)
    logs["judge_raw"] = draws["judge_raw"] = np.nan
    found = cje.analyze(logs, draws)
    severity = found.violations.query("code == 'unscored_prompts'")["severity"].tolist()
    assert severity == ["warning"] and set(found.estimates["verdict"]) == {"caution"}


def test_an_answer_alone_without_a_score_is_a_judgement_that_failed():
    logs = pd.DataFrame({"uid": ["a", "b", "c"], "judge_raw": [np.nan, np.nan, 1.0]})
    draws = pd.DataFrame({"uid": ["a", "b"], "judge_raw": [np.nan, 1.0]})
    logs["answer"] = draws["answer"] = "x"
    logs["oracle_score"] = draws["oracle_score"] = np.nan
    apart = unscored_prompts(logs, draws)
    assert apart == {"a"}
    assert reply_facts(logs, apart)["unparsed"] == pytest.approx(1 / 3)
    assert reply_facts(draws, apart)["unparsed"] == 0.0


def test_an_answer_without_a_score_is_worth_what_such_answers_were():
    score = np.array([0.2, 0.8, *[np.nan] * 5])
    utility = np.array([0.4, 0.8, *[0.1] * 5])
    fit = Calibrator.fit(score, utility, np.ones(7))
    assert fit.predict(np.array([np.nan]))[0] == pytest.approx(0.1)
    few = Calibrator.fit(score[:-1], utility[:-1], np.ones(6))
    assert few.predict(np.array([np.nan]))[0] == pytest.approx(utility[:-1].mean())
