"""Whole tables through the real SDKs, against a server that fails on purpose."""

import json

import pandas as pd
import pytest

from cje.data.tables import prompt_uids
from cje.errors import CJEError
from cje.models.lookup import provider_for
from cje.models.provider import Judging
from cje.models.rows import EMPTY
from cje.models.runner.calls import Calls
from cje.models.runner.store import ReplyStore
from cje.settings import Policy, parse_settings
from loopback import Loopback

OPENAI, ANTHROPIC = "openai/gpt-4o-mini", "anthropic/claude-haiku-4-5"
SECRET = "sk-loopback-0123456789abcdef"
# What goes away when asked again, by the SDK (soon, where a Retry-After says so) or by the calls.
FAULTS = (
    "429:0.02 429-bare 500:0.02 502:0.02 529:0.02 408:0.02 reset hangup reset-body drip:9 "
    "truncated empty html"
).split()


@pytest.fixture
def keys(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("ANTHROPIC_API_KEY", SECRET)


@pytest.fixture
def serve(monkeypatch, keys):
    """Start a loopback server, which both SDKs then call."""
    running = []

    def start(**options) -> Loopback:
        server = Loopback(**options)
        server.__enter__()
        running.append(server)
        monkeypatch.setenv("OPENAI_BASE_URL", server.url + "/v1")
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        return server

    yield start
    for server in running:
        server.__exit__()


def prompts(count: int) -> pd.DataFrame:
    texts = [f"Say something about the number {i}." for i in range(count)]
    return pd.DataFrame({"uid": prompt_uids(texts), "prompt": texts})


def policy(model: str, **changes) -> Policy:
    # Room for all that the server says: what is empty at the limit was thought, and is no fault.
    options = {"temperature": 0.7, "top_p": None, "max_tokens": 100} | changes
    return Policy(name="p", model=model, **options)


def calls(folder, **changes) -> Calls:
    base = {"base_model": OPENAI, "target_models": [OPENAI], "top_p": None, "timeout": 2.0}
    return Calls(parse_settings(base | changes), "generate_logs", ReplyStore(folder))


def answers(folder, model: str, count: int, **changes) -> pd.DataFrame:
    provider = provider_for(model, calls(folder, **changes))
    return provider.generate(prompts(count), policy(model), draw=0, seed=1)


@pytest.mark.parametrize("model", [OPENAI, ANTHROPIC])
def test_with_a_fifth_of_the_calls_failing_the_table_is_whole_and_nothing_is_paid_for_twice(
    tmp_path, serve, model
):
    server = serve(fault_rate=0.2, fault_names=FAULTS, seed=3, keep=False)
    faults = [*FAULTS, "no-choices"] if model == OPENAI else FAULTS
    server.fault_names[:] = faults
    # So few at once that none comes late by itself, on however busy a machine.
    found = answers(tmp_path / "a", model, 800, concurrency=16, timeout=6.0)
    lost = found["answer"].isna()  # four replies of no use to one request are rare
    assert lost.sum() <= 3 and found["reason"][lost].str.contains("asked 4 times in all").all()
    assert found["reason"][~lost].isna().all()
    assert server.paid_twice() == {}
    hit = {name: n for name, n in server.faults.items() if name}
    assert set(hit) == set(faults) and sum(hit.values()) > 160
    server.fault_rate = 0.0
    calm = answers(tmp_path / "b", model, 800, concurrency=64, timeout=60.0)
    pd.testing.assert_frame_equal(found[~lost], calm[~lost])
    assert max(server.successes.values()) == 2  # once a store


@pytest.mark.parametrize("model", [OPENAI, ANTHROPIC])
@pytest.mark.parametrize(
    "fault, words",
    [
        ("401", "access is denied, check the API key"),
        ("404", "the model or address is unknown"),
        ("400-temperature", "the model refuses temperature; set temperature: null"),
        ("credit", "no credit left"),
    ],
)
def test_what_no_retry_mends_stops_at_the_first_call_in_words_without_the_key(
    tmp_path, serve, capsys, model, fault, words
):
    server = serve()
    server.decide = lambda path, body, attempt: fault
    with pytest.raises(CJEError, match=words) as error:
        answers(tmp_path, model, 50)
    words_alone = fault == "credit" or (model == ANTHROPIC and fault == "400-temperature")
    assert len(server.calls) == (3 if words_alone else 1)
    text = str(error.value) + capsys.readouterr().err
    text += "".join(p.read_text() for p in tmp_path.rglob("*") if p.is_file())
    assert SECRET not in text and SECRET[:12] not in text
    assert error.value.__cause__ is None or SECRET not in repr(error.value.__cause__)


def test_a_server_that_is_not_there_is_said_so(tmp_path, monkeypatch, keys):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    with pytest.raises(CJEError, match="no connection") as error:
        answers(tmp_path, OPENAI, 1, max_retries=1)
    assert "1 of 1 calls failed" in str(error.value)


def test_refusals_are_answers_and_an_answer_without_log_probabilities_is_kept(tmp_path, serve):
    server = serve()
    server.decide = lambda path, body, attempt: (
        "refusal" if "number 3." in str(body)
        else "no-logprobs" if "number 5." in str(body) else None
    )  # fmt: skip
    found = answers(tmp_path, OPENAI, 8)
    assert found["finish_reason"].tolist().count("refusal") == 1
    assert found["answer"].notna().all()
    known = found["sequence_logp"].notna()
    assert known.tolist() == [row not in (3, 5) for row in range(8)]
    assert max(server.attempts.values()) == 1
    assert (found.loc[known, "logprob_kind"] == "raw").all()  # temperature 0.7


@pytest.mark.parametrize("model", [OPENAI, ANTHROPIC])
def test_an_empty_answer_is_asked_once_more_and_then_counted_as_empty(
    tmp_path, serve, capsys, model
):
    server = serve()
    server.decide = lambda path, body, attempt: (
        "null-content" if "number 3." in str(body) or ("number 5." in str(body) and attempt == 1)
        else None
    )  # fmt: skip
    found = answers(tmp_path, model, 8)
    assert found["answer"].isna().tolist() == [row == 3 for row in range(8)]
    assert found["reason"][3] == EMPTY and found["sequence_logp"].isna()[3]
    assert max(server.attempts.values()) == 2 and len(server.calls) == 10
    assert f"p: 1 of 8 answers: {EMPTY}" in capsys.readouterr().err
    again = answers(tmp_path, model, 8)
    pd.testing.assert_frame_equal(found, again)
    assert len(server.calls) == 10  # both replies are kept


def test_a_model_without_log_probabilities_is_not_asked_for_them_for_ever(tmp_path, serve):
    server = serve()
    server.decide = lambda path, body, attempt: "no-logprobs"
    found = answers(tmp_path, OPENAI, 30)
    assert found["answer"].notna().all() and found["sequence_logp"].isna().all()
    assert len(server.calls) <= 32


@pytest.mark.parametrize("model", [OPENAI, ANTHROPIC])
def test_judgements_without_a_score_are_asked_for_once_more_and_then_null_with_a_reason(
    tmp_path, serve, model
):
    server = serve()

    def decide(path, body, attempt):
        text = json.dumps(body)
        once = {"number 1.": "score-eleven", "number 2.": "prose"}
        always = {"number 3.": "score-eleven", "number 4.": "score-range", "number 5.": "refusal"}
        for part, fault in always.items():
            if part in text:
                return fault
        return next((f for part, f in once.items() if part in text and attempt == 1), None)

    server.decide = decide
    given = prompts(7).assign(answer=[f"Answer {i}." for i in range(6)] + [None])
    provider = provider_for(model, calls(tmp_path, max_failed_fraction=0.0))
    name = model.partition("/")[2]
    found = provider.judge(given, name, Judging((0, 10), seed=1))
    assert found["score"].isna().tolist() == [False] * 3 + [True] * 4
    assert found["score"].dropna().between(0, 10).all()
    assert found["reason"].notna().all()  # the judge's own, or why there is no score
    assert found["reason"][6] == "there is no answer"
    by_prompt = [sum(f"number {i}." in json.dumps(c.body) for c in server.calls) for i in range(7)]
    assert by_prompt == [1, 2, 2, 2, 2, 2, 0]
    assert len(provider.calls.table()) == 6 + 5


@pytest.mark.parametrize("model", [OPENAI, ANTHROPIC])
def test_batches_give_the_same_tables_at_half_the_price_and_ask_what_failed_once_more(
    tmp_path, serve, model
):
    server = serve(batch_polls=1)
    failing = {"left": 3}

    def outcome(key, body):
        failing["left"] -= 1
        return "expired" if failing["left"] >= 0 else None

    found = {}
    for name, batch in (("calls", False), ("batch", True)):
        server.batches.outcome = outcome if batch else None
        stage = calls(tmp_path / name, batch=batch)
        provider = provider_for(model, stage)
        drawn = provider.generate(prompts(40), policy(model), draw=0, seed=1)
        judged = provider.judge(drawn, model.partition("/")[2], Judging((0, 10), seed=1))
        found[name] = drawn, judged, stage.table().set_index("key")["cost_usd"].astype(float)
    for one, other in zip(found["calls"][:2], found["batch"][:2], strict=True):
        pd.testing.assert_frame_equal(one, other)
    assert found["batch"][0]["answer"].notna().all() and failing["left"] < 0
    shares = (found["batch"][2] / found["calls"][2]).round(6)
    tried = 20 + 10  # the first answers and verdicts, one by one: they decide about the batch
    assert shares.value_counts().to_dict() == {1.0: tried, 0.5: 80 - tried}
    assert len(server.calls) == 80 + tried and set(server.batches.paid.values()) == {1}


def test_equal_answers_are_judged_once(tmp_path, serve):
    server = serve()
    given = prompts(1).loc[[0, 0, 0]].assign(answer=["Yes.", "Yes.", "No."])
    provider = provider_for(OPENAI, calls(tmp_path))
    found = provider.judge(given, "gpt-4o-mini", Judging((0, 10), seed=1))
    assert found["score"][0:1].tolist() == found["score"][1:2].tolist()
    assert len(server.calls) == 2


def test_a_reply_in_halves_of_surrogates_ends_as_text_that_a_table_can_hold(tmp_path, serve):
    from cje.models.requests import Reply

    assert Reply.from_json('{"text":"a\\ud800","tokens":["\\udc00"]}').text == "a?"
