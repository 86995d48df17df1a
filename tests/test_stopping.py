"""A stage stops before more is paid for nothing, and no single prompt stops one."""

import pytest

from cje.errors import CJEError
from cje.models.lookup import provider_for
from cje.models.provider import Judging
from cje.models.requests import CallFailed, Reply, Request
from cje.models.rows import read_verdict
from cje.models.runner.calls import Calls
from cje.models.runner.store import ReplyStore
from cje.settings import parse_settings
from loopback import Loopback
from test_calls import FakeBackend, calls, questions, reply
from test_faults import prompts
from test_server import Altered

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
    how = Judging((0.0, 10.0), seed=1, base_url=server.url + "/v1")
    return provider.judge(answers, "loopback", how)


@pytest.mark.parametrize("stage, first", [("proxy_score", 20), ("oracle_label", 10)])
def test_a_judge_of_which_nothing_can_be_read_is_asked_no_more(tmp_path, server, stage, first):
    server.decide = lambda path, body, attempt: "prose"
    for _ in range(2):  # and is not asked again by the next run
        with pytest.raises(CJEError, match=f"none of its first {first} verdicts") as error:
            judged(tmp_path, server, 60, stage)
        assert len(server.calls) == first
    assert str(error.value).count("I would say that this answer is rather good") >= 3


def test_a_judge_whose_thought_takes_all_its_room_is_stopped_with_the_remedy(tmp_path):
    """As a server with a reasoning parser gives it."""

    def hidden(path, body, reply):
        reply["choices"][0]["message"] |= {"content": None, "reasoning_content": "Let me think. "}
        reply["choices"][0]["finish_reason"] = "length"
        return reply

    with Altered(hidden) as server, pytest.raises(CJEError, match="none of its first 20") as error:
        judged(tmp_path, server, 60)
    assert len(server.calls) == 20
    words = "20 x all of judge_max_tokens, 8192, was spent before the first word of the verdict"
    assert words in str(error.value) and 'no text, after the thought "Let me' in str(error.value)


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ('{"reason": "ok", "score": 8}', 8.0),
        ('```json\n{"score": 8}\n', 8.0),  # a fence that was cut
        ('{"score": 8}\n\n\n\n', 8.0),  # held to a schema, a model may end in white space
        ('A first thought: {"score": 8}, but on', None),
        ('{"score": 8} Or rather', None),
    ],
)
def test_a_draft_in_words_that_were_cut_is_no_verdict(text, score):
    request = Request(kind="judgement", model="server/j", messages=(), max_tokens=40)
    for ending, expected in (("length", score), ("stop", 8.0)):
        found = read_verdict(Reply(text=text, finish_reason=ending), request, (0, 10))
        assert found.score == expected
        assert expected is not None or "cut at judge_max_tokens, 40" in found.reason


def test_a_judge_that_can_be_read_now_and_then_goes_on(tmp_path, server):
    server.decide = lambda path, body, attempt: (
        None if "number 7." in str(body) else "prose"
    )  # fmt: skip
    found = judged(tmp_path, server, 30)
    assert found["score"].notna().sum() == 1


def policy_answers(folder, server, count, accept_cut=False, **changes):
    given = {"base_model": MODEL, "target_models": [MODEL], "base_url": server.url + "/v1"}
    settings = parse_settings(given | {"temperature": 1.0, "top_p": 1.0} | changes)
    made = Calls(settings, "generate_logs", ReplyStore(folder))
    own = {"draw": 0, "seed": 1, "accept_cut": accept_cut}
    return provider_for(MODEL, made).generate(prompts(count), settings.base, **own)


def test_answers_of_two_models_under_one_name_are_told(tmp_path, capsys):
    def moved(path, body, reply):
        if len(asked := [*getattr(moved, "asked", []), path]) > 20:
            reply["model"] = "m-2026-11"
        moved.asked = asked
        return reply

    with Altered(moved) as server:
        found = policy_answers(tmp_path, server, 30)
    told = capsys.readouterr().err
    counts = found["model"].value_counts()
    assert len(counts) == 2 and "m-2026-11" in counts
    assert (
        f"its answers are of 2 models, {', '.join(f'{m} ({n})' for m, n in sorted(counts.items()))}"
        in told
    )


def test_a_policy_of_which_every_answer_is_cut_is_asked_no_more(tmp_path, server):
    with pytest.raises(CJEError, match=r"20 answers is usable: 20 cut\. Set a larger"):
        policy_answers(tmp_path, server, 60, max_tokens=1)
    assert len(server.calls) == 20
    meant = policy_answers(tmp_path, server, 60, accept_cut=True, max_tokens=1)
    assert meant["answer"].notna().all()


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


@pytest.fixture
def sold(monkeypatch):
    """A provider that sells batches."""
    with Loopback(batch_polls=2) as running:
        monkeypatch.setenv("OPENAI_BASE_URL", running.url + "/v1")
        monkeypatch.setenv("OPENAI_API_KEY", "sk-loopback-key")
        yield running


BOUGHT = {"base_model": "openai/gpt-4o-mini", "target_models": ["openai/gpt-4o"], "batch": True}


def bought(folder, count, **changes):
    made = Calls(parse_settings(BOUGHT | changes), "proxy_score", ReplyStore(folder))
    answers = prompts(count).assign(answer="An answer.", reference=None)
    provider = provider_for("openai/gpt-4o-mini", made)
    return provider.judge(answers, "gpt-4o-mini", Judging((0.0, 10.0), seed=1))


def test_of_a_dead_judge_no_batch_is_paid_and_of_another_one_the_rest(tmp_path, sold):
    sold.decide = lambda path, body, attempt: "prose"
    with pytest.raises(CJEError, match="none of its first 20 verdicts"):
        bought(tmp_path / "dead", 60)
    assert len(sold.calls) == 20 and not sold.batches.made

    sold.decide = None
    found = bought(tmp_path / "alive", 60)
    assert found["score"].notna().all() and len(sold.calls) == 40
    (batch,) = sold.batches.made.values()
    assert len(batch.rows) == 40 and not sold.paid_twice()
    again = bought(tmp_path / "alive", 60)
    assert again.equals(found) and len(sold.calls) == 40 and len(sold.batches.made) == 1


def test_a_batch_that_is_waited_for_is_not_bought_again_one_by_one(tmp_path, sold, monkeypatch):
    """Such as one of a version that had all requests in it."""
    from cje.models import table_provider
    from cje.models.runner import calls

    def interrupt(*given):
        raise KeyboardInterrupt

    with monkeypatch.context() as before:
        before.setattr(table_provider, "FIRST_VERDICTS", {"proxy_score": 0})
        before.setattr(
            calls.CallProgress, "look", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt, match="batch_000001"):
            bought(tmp_path, 60)
    found = bought(tmp_path, 60)
    assert found["score"].notna().all() and not sold.calls and len(sold.batches.made) == 1


def test_a_policy_of_which_every_answer_is_cut_buys_no_batch(tmp_path, sold):
    settings = parse_settings(BOUGHT | {"temperature": 1.0, "top_p": 1.0, "max_tokens": 1})
    made = Calls(settings, "generate_logs", ReplyStore(tmp_path))
    provider = provider_for("openai/gpt-4o-mini", made)
    provider.try_out(prompts(60), settings.base, seed=1)
    with pytest.raises(CJEError, match="20 answers is usable: 20 cut"):
        provider.generate(prompts(60), settings.base, draw=0, seed=1)
    assert len(sold.calls) == 20 and not sold.batches.made
