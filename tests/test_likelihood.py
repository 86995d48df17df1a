"""The likelihood judge, over a scoring model whose log-probabilities are known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cje.errors import CJEError
from cje.models.likelihood import BLAND_PROMPT, LikelihoodJudge
from cje.models.lookup import provider_for
from cje.models.provider import InProcessBackend, Judging
from cje.models.requests import CallFailed, Reply, Request
from cje.models.runner.calls import Calls
from cje.models.runner.store import ReplyStore
from cje.models.table_provider import TableProvider
from cje.pipeline.cast import cast_of
from cje.pipeline.sources import ModelSource
from cje.settings import parse_settings
from loopback import Loopback
from loopback_replies import Switches


class Scorer(InProcessBackend):
    """A model in process: a token is a word, likelier where the prompt has it."""

    def __init__(self):
        self.asked = 0

    def can(self, name):
        return frozenset({"score"})

    def check(self, name, role, policy):
        pass

    def answer(self, policy, prompt):
        raise NotImplementedError

    def score(self, policy, prompt, scoring):
        return Request("score", policy.model, (("user", prompt),), temperature=policy.temperature)

    def ask_many(self, requests):
        for request in requests:
            self.asked += 1
            words = request.answer.split()
            if "fail" in words:
                yield request, CallFailed("too long")
                continue
            known = request.messages[-1][1].lower().split()
            logprobs = [-0.5 if word.lower() in known else -2.0 for word in words]
            yield request, Reply(tokens=words, token_logprobs=logprobs, logprob_kind="sampling")


@pytest.fixture
def judge(tmp_path):
    settings = parse_settings({"base_model": "sim/base", "target_models": ["sim/base"],
                               "max_failed_fraction": 0.5})  # fmt: skip
    calls = Calls(settings, "proxy_score", ReplyStore(tmp_path))
    return LikelihoodJudge(TableProvider(Scorer(), calls))


def judged(judge, answers, prompt="tell me about bees"):
    frame = pd.DataFrame({"prompt": prompt, "answer": answers}, index=range(5, 5 + len(answers)))
    return judge.judge(frame, "local/m", Judging((0, 10), seed=1))


def test_the_score_is_the_gain_of_the_prompt_over_a_bland_one_on_the_judges_scale(judge):
    found = judged(judge, ["bees about", "bees say", "something else"])
    gain = np.array([1.5, (-0.5 - 2.0) / 2 + 2.0, -2.0 - (-2.0)])
    assert BLAND_PROMPT == "Say something."
    assert found["score"].tolist()[0] == pytest.approx(10 / (1 + np.exp(-gain[0])))
    assert found["score"].is_monotonic_decreasing and found["reason"].isna().all()
    assert found["score"][2] == pytest.approx(5.0)


def test_what_cannot_be_scored_is_null_with_its_reason_and_a_blank_answer_is_the_lowest(judge):
    found = judged(judge, [None, " \n", "bees", "fail"])
    assert found["score"].isna().tolist() == [True, False, False, True]
    assert found["score"][1] == 0.0
    assert found["reason"].tolist() == ["there is no answer", None, None, "too long"]


def test_the_bland_scores_of_equal_answers_are_asked_for_once(judge):
    judged(judge, ["bees", "bees"])
    assert judge.scorer.backend.asked == 2
    judged(judge, ["bees"], prompt="tell me more")
    assert judge.scorer.backend.asked == 3


@pytest.mark.parametrize(
    "model", ["likelihood/openai/gpt-4o", "likelihood/sim/base", "likelihood/anthropic/claude-x"]
)
def test_a_model_that_cannot_score_a_text_is_refused(model):
    with pytest.raises(CJEError, match=r"cannot score a text; give local/\.\.\. or server/"):
        provider_for(model).check(model.partition("/")[2], "judge", None)


def test_a_likelihood_writes_no_answers():
    with pytest.raises(CJEError, match="judges answers and cannot write them"):
        provider_for("likelihood/local/smollm2-135m").check("local/smollm2-135m", "policy", None)


def test_requests_differ_in_prompt_alone():
    one = Scorer().score(type("P", (), {"model": "local/m", "temperature": 1.0}), "p", None)
    assert replace(one, messages=(("user", "q"),)).key != one.key


@pytest.mark.parametrize("tokenize", [True, False])
def test_a_judge_on_a_server_has_its_address_and_template(tokenize, tmp_path):
    with Loopback(switches=Switches(tokenize=tokenize)) as server:
        given = {"base_model": "sim/base", "target_models": ["sim/base"],
                 "base_url": server.url + "/v1", "max_retries": 0,
                 "extra_body": {"server": {"priority": 1}},
                 "proxy_model": "likelihood/server//models/loopback"}  # fmt: skip
        if not tokenize:
            given["chat_template"] = "chatml"
        settings = parse_settings(given)
        calls = Calls(settings, "proxy_score", ReplyStore(tmp_path))
        source = ModelSource(settings, calls, cast_of(settings))
        prompts = pd.DataFrame({"uid": ["a", "b"], "prompt": ["Why?", "How?"]})
        source.try_targets(prompts)
        assert {call.body["model"] for call in server.calls if "model" in call.body} == {
            "/models/loopback"
        }
        assert all(call.body["priority"] == 1 for call in server.calls)
        prompts = prompts.assign(checks=None, reference=None)
        logs = prompts.assign(answer=[" bada keda", " moda"], action="base")
        found = source.proxy_scores(prompts, logs, logs.head(0).assign(policy="base", draw=0))
    assert found["judge_raw"].between(0, 1).all() and found["reason"].isna().all()


def test_a_server_that_scores_no_text_is_no_judge_before_anything_is_paid(tmp_path):
    with Loopback(switches=Switches(tokenize=False)) as server:
        given = {"base_model": "server/m", "target_models": ["server/m"], "temperature": 1.0,
                 "base_url": server.url + "/v1", "proxy_model": "likelihood/server/m"}  # fmt: skip
        settings = parse_settings(given)
        calls = Calls(settings, "try_targets", ReplyStore(tmp_path))
        source = ModelSource(settings, calls, cast_of(settings))
        with pytest.raises(CJEError, match=r"proxy_model: .* cannot score a given text"):
            source.try_targets(pd.DataFrame({"uid": ["a"], "prompt": ["Why?"]}))
        assert all("garden" in str(call.body) for call in server.calls)
