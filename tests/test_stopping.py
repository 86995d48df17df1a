"""A stage stops before more is paid for nothing, and no single prompt stops one."""

import pytest

from cje.errors import CJEError
from cje.models import provider_for
from cje.models.calls import Calls
from cje.models.requests import CallFailed, Reply
from cje.models.store import ReplyStore
from cje.settings import parse_settings
from loopback import Loopback
from test_calls import FakeBackend, calls, questions, reply
from test_faults import prompts

MODEL = "server/loopback"


@pytest.fixture
def server():
    with Loopback() as running:
        yield running


def judged(folder, server, count, stage="proxy_score"):
    given = {"base_model": MODEL, "target_models": [MODEL], "base_url": server.url + "/v1"}
    made = Calls(parse_settings(given), stage, ReplyStore(folder))
    answers = prompts(count).assign(answer="An answer.", reference=None)
    provider = provider_for(MODEL, made)
    how = {"score_range": (0.0, 10.0), "seed": 1}
    try:
        return provider.judge(answers, "loopback", rubric="default", **how)
    except TypeError:
        return provider.judge(answers, "loopback", **how)


@pytest.mark.parametrize("stage, first", [("proxy_score", 20), ("oracle_label", 10)])
def test_a_judge_of_which_nothing_can_be_read_is_asked_no_more(tmp_path, server, stage, first):
    server.decide = lambda path, body, attempt: "prose"
    for _ in range(2):  # and is not asked again by the next run
        with pytest.raises(CJEError, match=f"none of its first {first} verdicts") as error:
            judged(tmp_path, server, 60, stage)
        assert len(server.calls) == first
    assert str(error.value).count("I would say that this answer is rather good") >= 3


def test_a_judge_that_can_be_read_now_and_then_goes_on(tmp_path, server):
    server.decide = lambda path, body, attempt: (
        None if "number 7." in str(body) else "prose"
    )  # fmt: skip
    found = judged(tmp_path, server, 30)
    assert found["score"].notna().sum() == 1


def policy_answers(folder, server, count, **changes):
    given = {"base_model": MODEL, "target_models": [MODEL], "base_url": server.url + "/v1"}
    settings = parse_settings(given | {"temperature": 1.0, "top_p": 1.0} | changes)
    made = Calls(settings, "generate_logs", ReplyStore(folder))
    return provider_for(MODEL, made).generate(prompts(count), settings.base, draw=0, seed=1)


def test_a_policy_of_which_every_answer_is_cut_is_asked_no_more(tmp_path, server):
    with pytest.raises(CJEError, match=r"20 answers is of use: 20 cut\. Set a larger"):
        policy_answers(tmp_path, server, 60, max_tokens=1)
    assert len(server.calls) == 20
    meant = {"max_tokens": 1, "guard_rails": {"max_truncated": 1.0}}
    assert policy_answers(tmp_path, server, 60, **meant)["answer"].notna().all()


def failing(status: str):
    failed = CallFailed(status)
    failed.doubtful = True
    return failed


def test_one_prompt_that_is_refused_ends_nothing(tmp_path):
    def behave(request, attempt):
        return failing("denied") if request.messages[0][1] in ("Say 0.", "Say 30.") else reply()

    found = list(calls(tmp_path).replies(questions(60), FakeBackend(behave), "t"))
    assert sum(isinstance(outcome, Reply) for outcome in found) == 58


def test_a_model_that_fails_doubtfully_from_the_start_gets_three_calls(tmp_path):
    fake = FakeBackend(lambda request, attempt: failing("denied"))
    with pytest.raises(CJEError, match="denied"):
        list(calls(tmp_path).replies(questions(60), fake, "t"))
    assert sum(fake.asked.values()) == 3
