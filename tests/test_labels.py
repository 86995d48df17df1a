"""Which answers the oracle labels: for the estimates, and to check them."""

import numpy as np
import pandas as pd
import pytest

from cje.data.frames import KEY, rewarded_frames, scored_frames
from cje.data.tables import LOGGED, check_table, empty_table, write_table
from cje.models.runner.calls import Calls
from cje.pipeline.cast import cast_of
from cje.pipeline.choice import (
    AnswerPool,
    all_answers,
    checked_prompts,
    nested_sample,
    unused_prompts,
)
from cje.pipeline.designs import answer_pool
from cje.pipeline.forecast import forecast, rule_of_thumb
from cje.pipeline.prompts import load_prompts
from cje.pipeline.sources import ModelSource
from cje.settings import parse_settings

N = 80
TARGETS = ["clone", "better", "unhelpful"]
SETTINGS = {
    "policies": {
        "base": {"model": "sim/base"},
        "clone": {"model": "sim/base"},
        "better": {"model": "sim/better"},
        "unhelpful": {"model": "sim/unhelpful"},
    },
    "base_model": "base",
    "target_models": TARGETS,
    "max_samples": N,
    "draws_per_prompt": 2,
    "oracle_fraction": 0.25,
    "target_labels": 30,
    "oracle_samples": 10,
}


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("CJE_STORE", str(tmp_path / "store"))


@pytest.fixture(scope="module")
def world():
    """Prompts, logs and draws of the simulated world."""
    source = opened()
    prompts = load_prompts(source.settings)
    return prompts, source.logs(prompts), source.draws(prompts)


def opened(**changes) -> ModelSource:
    settings = parse_settings(SETTINGS | changes)
    return ModelSource(settings, Calls(settings, "oracle_label"), cast_of(settings))


def pool(world, source: ModelSource) -> AnswerPool:
    active = source.settings.sampling == "active"
    scores = source.proxy_scores(*world) if active else empty_table("proxy_scores")
    return answer_pool(source.settings, *world, scores)


def labels(world, **changes) -> pd.DataFrame:
    source = opened(**changes)
    return check_table(source.oracle_labels(pool(world, source)), "oracle_labels")


def checks(world, used: pd.DataFrame, **changes) -> pd.DataFrame:
    source = opened(**changes)
    found = source.validation_labels(pool(world, source), used)
    return check_table(found, "validation_labels")


def labelled(found: pd.DataFrame) -> dict[str, set[str]]:
    """The labelled prompts by policy."""
    return {policy: set(rows["uid"]) for policy, rows in found.groupby("policy")}


def without(frame: pd.DataFrame, lost: np.ndarray) -> pd.DataFrame:
    """Answers of which some failed."""
    return frame.assign(answer=frame["answer"].where(~lost, None))


def test_every_targets_first_draws_on_the_same_prompts_as_the_logs(world):
    found = labels(world)
    prompts = labelled(found)
    assert {policy: len(uids) for policy, uids in prompts.items()} == {
        "base": 20, "clone": 30, "better": 30, "unhelpful": 30
    }  # fmt: skip
    assert prompts["base"] < prompts["clone"] == prompts["better"] == prompts["unhelpful"]
    assert (found["draw"] == np.where(found["policy"] == "base", LOGGED, 0)).all()
    share = np.where(found["policy"] == "base", 20 / N, 30 / N)
    assert found["oracle_prob"].to_numpy() == pytest.approx(share)


def test_the_logs_labels_are_those_of_the_order_that_they_always_had(world):
    """A user's labels from before are not paid for twice."""
    uids = world[0]["uid"]
    mask = nested_sample(uids, 20, 42, "oracle")
    assert labelled(labels(world))["base"] == set(uids[mask])


@pytest.mark.parametrize("fraction, targets", [(0.25, 5), (0.1, 30), (1.0, 30), (0.5, 200)])
def test_the_fewer_are_among_the_more(world, fraction, targets):
    prompts = labelled(labels(world, oracle_fraction=fraction, target_labels=targets))
    logged, own = prompts["base"], prompts["clone"]
    assert len(logged) == fraction * N and len(own) == min(targets, N)
    assert logged <= own or own <= logged


def test_more_labels_contain_the_fewer(world):
    few, more = (labelled(labels(world, target_labels=n)) for n in (12, 47))
    assert few["base"] == more["base"]
    assert all(few[policy] < more[policy] for policy in TARGETS)
    few, more = (labelled(labels(world, oracle_fraction=f)) for f in (0.2, 0.6))
    assert few["base"] < more["base"]


def test_no_target_labels_are_none(world):
    assert set(labels(world, target_labels=0)["policy"]) == {"base"}


def test_a_target_under_the_name_of_the_base_has_labels_of_its_own_draws(world):
    source = opened(target_models=["base"])
    prompts, logs, _ = world
    world = prompts, logs, source.draws(prompts)
    found = source.oracle_labels(pool(world, source))
    assert found.groupby("draw").size().to_dict() == {LOGGED: 20, 0: 30}
    check_table(found, "oracle_labels")


def test_the_oracle_sees_no_answer_that_failed(world, monkeypatch):
    """And no other stands in: who was chosen does not depend on what failed."""
    prompts, logs, draws = world
    lost_logs, lost_draws = np.arange(N) % 4 == 0, np.arange(len(draws)) % 3 == 0
    holed = (prompts, without(logs, lost_logs), without(draws, lost_draws))
    seen, judge = [], ModelSource._judge

    def watched(self, prompts, answers, *rest):
        seen.append(answers["answer"])
        return judge(self, prompts, answers, *rest)

    monkeypatch.setattr(ModelSource, "_judge", watched)
    used = labels(holed)
    found = checks(holed, used)
    assert len(seen) == 2 and all(answers.notna().all() for answers in seen)
    whole = labels(world).merge(used[KEY], how="left", on=KEY, indicator=True)
    answers = all_answers(holed[1], holed[2])
    failed = pd.MultiIndex.from_frame(answers.loc[answers["answer"].isna(), KEY])
    missing = whole["_merge"] == "left_only"
    assert missing.sum() > 20
    assert missing.tolist() == pd.MultiIndex.from_frame(whole[KEY]).isin(failed).tolist()
    # What failed takes no chance from what did not.
    assert used.groupby("policy")["oracle_prob"].first().to_dict() == {
        "base": 20 / N, "clone": 30 / N, "better": 30 / N, "unhelpful": 30 / N
    }  # fmt: skip
    assert not set(found["uid"]) & set(used["uid"])


def test_all_of_a_policys_answers_failed(world):
    prompts, logs, draws = world
    found = labels((prompts, logs, without(draws, (draws["policy"] == "better").to_numpy())))
    assert set(found["policy"]) == {"base", "clone", "unhelpful"}
    nothing = without(logs, np.ones(N, bool)), without(draws, np.ones(len(draws), bool))
    assert labels((prompts, *nothing)).empty
    assert checks((prompts, *nothing), labels(world)).empty


def test_labels_that_the_oracle_could_not_give_are_stood_for_by_the_others(world, monkeypatch):
    judge = ModelSource._judge

    def failing(self, prompts, answers, *rest):
        scores = judge(self, prompts, answers, *rest)
        own = (answers["policy"] == "clone").to_numpy() & (np.arange(len(answers)) % 2 == 0)
        return scores.assign(score=scores["score"].where(~own))

    monkeypatch.setattr(ModelSource, "_judge", failing)
    shares = labels(world).groupby("policy")["oracle_prob"].agg(["first", "size"])
    assert shares.loc["clone", "size"] == 15
    assert shares.loc["clone", "first"] == pytest.approx(15 / N)
    assert shares.loc["better", "first"] == pytest.approx(30 / N)


def test_what_checks_the_estimates_is_of_prompts_that_they_did_not_use(world):
    used = labels(world)
    found = checks(world, used)
    prompts = labelled(found)
    assert set(prompts) == {"base", *TARGETS}
    assert all(uids == prompts["base"] and len(uids) == 10 for uids in prompts.values())
    assert not prompts["base"] & set(used["uid"])
    assert (found["draw"] == np.where(found["policy"] == "base", LOGGED, 0)).all()
    assert (found["oracle_prob"] == 10 / N).all()


def test_more_checks_contain_the_fewer_and_end_with_the_unused_prompts(world):
    used = labels(world)
    unused = set(unused_prompts(world[0], used)["uid"])
    assert len(unused) == N - 30
    few, more, every = (labelled(checks(world, used, oracle_samples=n)) for n in (5, 20, 1000))
    assert all(few[policy] < more[policy] < every[policy] == unused for policy in every)
    assert checks(world, used, oracle_samples=0).empty


def test_where_every_prompt_is_used_nothing_checks(world):
    assert checks(world, labels(world, oracle_fraction=1.0)).empty
    assert checks(world, labels(world, target_labels=N)).empty


def test_one_label_on_any_answer_makes_a_prompt_used(world):
    used = labels(world, oracle_fraction=0.01, target_labels=1)
    kept = used[used["policy"] == "better"]
    found = checks(world, kept, oracle_samples=N)
    assert labelled(found)["base"] == set(world[0]["uid"]) - set(kept["uid"])
    assert found["uid"].nunique() == N - 1


@pytest.fixture
def folder(world, tmp_path):
    """The tables of a run as the stages leave them, half of the prompts in clusters, and a labelled
    one without a judge's score."""
    prompts, logs, draws = world
    source = opened()
    clusters = [f"talk {i // 2}" if i < N // 2 else None for i in range(N)]
    scores = source.proxy_scores(prompts, logs, draws)
    rewards = scores.drop(columns="reason").assign(fold=0, calibrated_reward=0.5, oracle_score=None)
    for table, name in (
        (prompts.assign(cluster=clusters), "prompts"),
        (logs, "logs"),
        (draws, "draws"),
        (scores[scores["uid"] != labels(world)["uid"].iloc[0]], "proxy_scores"),
        (labels(world), "oracle_labels"),
        (rewards, "rewards"),
    ):
        write_table(table, name, tmp_path / f"{name}.parquet")
    return tmp_path


@pytest.mark.parametrize("frames", [scored_frames, rewarded_frames])
def test_frames_carry_labels_and_clusters_of_logs_and_draws(world, folder, frames):
    prompts, _, draws = world
    found_logs, found_draws = frames(folder, opened().settings)
    assert len(found_logs) == N and len(found_draws) == len(draws)
    labelled_draws = found_draws[found_draws["oracle_prob"].notna()]
    assert labelled_draws.groupby("policy").size().to_dict() == dict.fromkeys(TARGETS, 30)
    assert (labelled_draws["draw"] == 0).all()
    assert found_logs["oracle_prob"].notna().sum() == 20
    if frames is scored_frames:
        given = labels(world).merge(pd.concat([found_logs, found_draws]), on=KEY)
        assert (given["oracle_score_x"] / 10).to_numpy() == pytest.approx(given["oracle_score_y"])
        assert found_draws["oracle_score"].notna().sum() == 90
    for found in (found_logs, found_draws):
        grouped = found["uid"].isin(prompts["uid"][: N // 2])
        assert (found["cluster"].notna() == grouped).all()
        assert found.loc[grouped, "cluster"].nunique() == N // 4


def test_the_forecast_counts_the_labels_of_both_stages(tmp_path, monkeypatch):
    """Nothing is answered yet, so every judgement is counted: none of the sim's, which computes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "")
    settings = parse_settings(SETTINGS | {"oracle_model": "openai/gpt-4.1"})
    rows = forecast(settings, load_prompts(settings))
    calls = {stage: row.calls for (stage, model), row in rows.items() if model == "openai/gpt-4.1"}
    assert 20 + 2 * 30 <= calls["oracle_label"] <= 20 + 3 * 30  # equal answers share a judgement
    assert 3 * 10 <= calls["validate"] <= 4 * 10


def test_the_rule_of_thumb_counts_them(tmp_path):
    judged = N * 0.0005
    few = parse_settings(SETTINGS)
    labels, checks = 0.01 * (20 + 3 * 30), 0.01 * 4 * 10
    assert rule_of_thumb(few, N) == pytest.approx((labels + checks + judged, checks))
    many = parse_settings(SETTINGS | {"target_labels": 500, "oracle_samples": 500})
    assert rule_of_thumb(many, N) == pytest.approx((0.01 * (20 + 3 * N) + judged, 0))


def test_a_paid_oracle_checks_on_a_hundred_prompts_and_a_free_one_on_all(world):
    def settings(oracle: str, samples: int | str):
        return parse_settings(SETTINGS | {"oracle_model": oracle, "oracle_samples": samples})

    for free in ("sim/oracle", "checks/share"):
        assert checked_prompts(settings(free, "auto"), 750) == 750
    for paid in ("gpt-4.1", "anthropic/claude-haiku-4-5", "server/judge", "local/smollm2-135m"):
        assert checked_prompts(settings(paid, "auto"), 750) == 100
        assert checked_prompts(settings(paid, "auto"), 60) == 60
        assert checked_prompts(settings(paid, 400), 750) == 400
    used = labels(world)
    assert checks(world, used, oracle_samples="auto")["uid"].nunique() == N - used["uid"].nunique()


def test_active_labels_are_nested_on_the_same_prompts_with_the_chances_that_they_had(world):
    few, more = (labelled(labels(world, sampling="active", target_labels=n)) for n in (12, 47))
    assert all(few[policy] < more[policy] and len(more[policy]) == 47 for policy in TARGETS)
    assert few["clone"] == few["better"] < few["base"] == more["base"] < more["clone"]
    found = labels(world, sampling="active", target_labels=12)
    chance = found[found["policy"] == "clone"]["oracle_prob"]
    assert chance.nunique() > 5 and (chance >= 0.2 * 12 / N).all()
    shuffled = world[0].sample(frac=1, random_state=0).reset_index(drop=True)
    again = labels((shuffled, *world[1:]), sampling="active", target_labels=12)
    key = ["uid", "policy", "draw"]
    left, right = (rows.sort_values(key, ignore_index=True) for rows in (found, again))
    pd.testing.assert_frame_equal(left[[*key, "oracle_prob"]], right[[*key, "oracle_prob"]])


def test_what_checks_active_estimates_are_prompts_that_no_policy_was_labelled_on(world):
    used = labels(world, sampling="active")
    found = checks(world, used, sampling="active", oracle_samples=N)
    assert len(set(found["uid"])) == N - 30 and not set(found["uid"]) & set(used["uid"])
    assert found["oracle_prob"].to_numpy() == pytest.approx((N - 30) / N)
