import asyncio
import json
import os
from dataclasses import replace

import openai
import pytest

from cje.errors import CJEError
from cje.models import http
from cje.models.completions import VERY_UNLIKELY
from cje.models.provider import CallSettings, JudgePrompt
from cje.models.providers.chat import parse_completion
from cje.models.providers.openai import BACKEND
from cje.models.requests import CallFailed
from cje.settings import Policy
from loopback import Loopback
from loopback_replies import Switches

KEY = "sk-proj-loopback0123456789wxyz"
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"reason": {"type": "string"}, "score": {"type": "number"}},
        "required": ["reason", "score"],
        "additionalProperties": False,
    }
)
PLAIN = {"temperature": 1.0, "top_p": 1.0, "max_tokens": 8}
QUICK = CallSettings(timeout=10.0, max_retries=1, concurrency=4)


def policy(model="gpt-4o", **changes):
    return Policy(**{"name": "p", "model": model} | PLAIN | changes)


def request(model="gpt-4o", prompt="Say it.", **changes):
    return BACKEND.answer(policy(model, **changes), prompt)


def ask(server, *requests, call_settings=QUICK):
    """The outcome of each request, one after another through one connection, and its notes."""

    async def work():
        connection = BACKEND.connect(call_settings)
        outcomes = []
        try:
            for one in requests:
                try:
                    outcomes.append(await connection.ask(one))
                except CallFailed as failed:
                    outcomes.append(failed)
        finally:
            await connection.close()
        return outcomes, connection.notes

    return asyncio.run(work())


@pytest.fixture
def server(monkeypatch):
    with Loopback(require_key=KEY) as loopback:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", loopback.url + "/v1")
        yield loopback


def test_an_answer_has_its_tokens_and_their_log_probabilities(server):
    (reply,), notes = ask(server, request())
    assert "".join(reply.tokens) == reply.text
    assert (
        len(reply.token_logprobs)
        == len(reply.tokens)
        == reply.completion_tokens - (reply.finish_reason == "stop")
    )
    assert all(v < 0 for v in reply.token_logprobs)
    assert (reply.logprob_kind, reply.model) == ("sampling", "gpt-4o-2026-07-01")
    assert reply.prompt_tokens > 0 and not notes


def test_log_probabilities_are_raw_unless_nothing_was_scaled_or_cut(server):
    given = [request(temperature=t, top_p=p) for t in (0.7, 1.0, None) for p in (0.9, 1.0, None)]
    outcomes, _ = ask(server, *given)
    kinds = [reply.logprob_kind for reply in outcomes]
    assert kinds == ["raw"] * 3 + ["raw", "sampling", "sampling"] * 2


def test_what_is_null_is_left_out_of_the_call(server):
    ask(server, request(temperature=None, top_p=None, system_prompt="Be brief."))
    assert server.calls[0].body == {
        "model": "gpt-4o",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Say it."},
        ],
        "max_completion_tokens": 8,
        "logprobs": True,
    }


def test_a_verdict_is_held_to_the_schema(server):
    asked = BACKEND.judgement("gpt-4o", JudgePrompt((("user", "From 0 to 10: well?"),), SCHEMA))
    (reply,), _ = ask(server, asked)
    assert 0 <= json.loads(reply.text)["score"] <= 10
    assert reply.tokens is None and reply.logprob_kind is None
    body = server.calls[0].body
    assert body["temperature"] == 0 and "logprobs" not in body
    form = body["response_format"]["json_schema"]
    assert form["strict"] is True and form["schema"] == json.loads(SCHEMA)


def test_the_address_of_the_request_wins(server, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    (reply,), _ = ask(server, request(base_url=server.url + "/v1"))
    assert reply.text


FLAGS = ("again", "fatal", "retried", "billed")


@pytest.mark.parametrize(
    ("fault", "words", "flags"),
    [
        ("429", "too many requests", "again retried"),
        ("500", "the server failed", "again retried"),
        ("502", "the server failed: HTTP 502", "again retried"),
        ("529", "Overloaded", "again retried"),
        ("408", "HTTP 408", "again retried"),
        ("quota", "no credit left", "fatal"),
        ("401", "check the API key", "fatal"),
        ("404", "`gpt-4o` does not exist", "fatal"),
        ("400-temperature", "set temperature: null", "fatal"),
        ("truncated", "not JSON", "again billed"),
        ("html", "not JSON", "again"),
        ("empty", "the reply is empty", "again billed"),
        ("no-choices", "the reply has no choices", "again billed"),
        ("timeout", "no whole reply in time", "again billed"),
        ("drip:5", "no whole reply in time", "again billed"),
        ("reset", "no connection", "again retried"),
        ("hangup", "no connection", "again retried"),
        ("reset-body", "no connection", "again retried"),
    ],
)
def test_a_fault_is_told_in_words_and_no_key(server, fault, words, flags):
    good = request(prompt="before")
    server.script([None] + [fault] * 2)
    late = fault.startswith(("timeout", "drip"))  # nothing else may be, on however busy a machine
    call_settings = replace(QUICK, timeout=1.0 if late else QUICK.timeout)
    (_, failed), _ = ask(server, good, request(), call_settings=call_settings)
    assert isinstance(failed, CallFailed)
    assert words in failed.reason and len(failed.reason) <= 200
    assert {f for f in FLAGS if getattr(failed, f)} == set(flags.split())
    assert KEY[:8] not in failed.reason
    assert failed.__cause__ is None and failed.__context__ is None


@pytest.mark.parametrize(
    "fault", ["429:0.01", "500", "reset", "reset-body", "text-plain", "drip:0.2"]
)
def test_the_sdk_heals_a_passing_fault(server, fault):
    server.script([fault])
    (reply,), _ = ask(server, request())
    assert reply.token_logprobs and not server.paid_twice()


def test_a_null_text_is_an_empty_reply_and_a_refusal_is_one_with_words(server):
    long = request(max_tokens=500)
    server.script(["null-content", "refusal"])
    (empty, refused), _ = ask(server, long, long)
    assert empty.is_empty and empty.tokens is None and empty.finish_reason_given == "stop"
    assert refused.finish_reason_given == "content_filter" and not refused.is_empty
    assert refused.finish_reason == "refusal" and refused.token_logprobs is None
    assert refused.text == "I'm sorry, I can't help with that."


def test_a_model_that_twice_gives_no_log_probabilities_has_none(server):
    server.switches = Switches(logprobs="ignored")
    outcomes, notes = ask(server, *[request(prompt=str(i // 2)) for i in range(6)])
    assert all(reply.text and reply.token_logprobs is None for reply in outcomes)
    assert ["logprobs" in call.body for call in server.calls] == [True] * 2 + [False] * 4
    assert len(notes) == 1 and "does not give log-probabilities" in notes[0]


def test_a_reply_without_log_probabilities_keeps_its_answer(server):
    server.script([None, "no-logprobs", "no-logprobs", "no-logprobs"])
    outcomes, notes = ask(server, *[request(prompt=str(i)) for i in range(4)])
    assert outcomes[0].token_logprobs and not notes
    assert all(reply.text and reply.token_logprobs is None for reply in outcomes[1:])
    assert all(call.body["logprobs"] for call in server.calls)  # it is asked for them still


def test_a_model_that_refuses_log_probabilities_is_asked_without(server):
    server.switches = Switches(logprobs="refused")
    (first, second), notes = ask(server, request(prompt="a"), request(prompt="b"))
    assert first.text and second.text and first.logprob_kind is None
    assert [call.status for call in server.calls] == [400, 200, 200] and len(notes) == 1


@pytest.mark.parametrize(
    "name", ["o1", "o3-mini", "gpt-5", "gpt-5-mini", "gpt-5.2-pro", "gpt-6-sol"]
)
def test_a_model_that_thinks_first_takes_neither_temperature_nor_top_p(name):
    for setting in ("temperature", "top_p"):
        set_one = {"temperature": None, "top_p": None} | {setting: 0.7}
        with pytest.raises(CJEError, match=f"set {setting}: null"):
            BACKEND.check(name, "policy", policy(f"openai/{name}", **set_one))
    unset = policy(f"openai/{name}", temperature=None, top_p=None)
    BACKEND.check(name, "policy", unset)
    BACKEND.check(name, "judge", None)
    assert BACKEND.can(name) == {"batch"}
    arguments = BACKEND.arguments(BACKEND.answer(unset, "x"))
    assert not {"logprobs", "temperature", "top_p"} & set(arguments)
    verdict = BACKEND.arguments(BACKEND.judgement(name, JudgePrompt((("user", "x"),), SCHEMA)))
    assert "temperature" not in verdict and verdict["max_completion_tokens"] > 4000


@pytest.mark.parametrize(
    "name", ["gpt-4o", "gpt-4.1-mini", "ft:gpt-4o:me::1", "gpt-5.1", "gpt-5.4-mini"]
)
def test_other_models_take_both(name):
    BACKEND.check(name, "policy", policy(f"openai/{name}"))
    assert BACKEND.gives_logprobs(name)
    arguments = BACKEND.arguments(BACKEND.answer(policy(f"openai/{name}"), "x"))
    assert arguments["logprobs"] is True and arguments["temperature"] == 1
    assert arguments.get("reasoning_effort") == ("none" if "gpt-5" in name else None)


def test_a_model_without_a_chat_interface_is_refused():
    with pytest.raises(CJEError, match="no chat interface"):
        BACKEND.check("gpt-3.5-turbo-instruct", "policy", policy())
    with pytest.raises(CJEError, match="chat_template"):
        BACKEND.check("gpt-4o", "policy", policy(chat_template="chatml"))


def completion(logprobs, text="ab"):
    rows = [{"token": t, "logprob": v} for t, v in zip(text, logprobs, strict=True)]
    choice = {"message": {"content": text}, "finish_reason": "stop", "logprobs": {"content": rows}}
    return {"choices": [choice], "model": "m"}


def test_rounding_above_zero_is_zero_and_the_unlikely_mark_is_no_number():
    reply = parse_completion(request(), completion([2e-7, -1.5]))
    assert reply.token_logprobs == [0.0, -1.5]
    reply = parse_completion(request(), completion([-0.5, VERY_UNLIKELY]))
    assert reply.tokens == ["a", "b"]
    assert reply.token_logprobs is None and reply.logprob_kind is None


@pytest.mark.parametrize("wrong", [0.2, float("nan"), None, "-1"])
def test_what_is_no_log_probability_is_left_out_with_a_note(wrong):
    reply = parse_completion(request(), completion([-0.5, wrong]))
    assert reply.text and reply.token_logprobs is None and "log-probabilit" in reply.note


@pytest.mark.parametrize("body", [None, [], "text", {}, {"choices": [{}]}, {"error": {"code": 1}}])
def test_another_shape_of_reply_is_asked_again(body):
    with pytest.raises(CallFailed) as failed:
        parse_completion(request(), body)
    assert failed.value.again


@pytest.mark.parametrize(
    "echo",
    [KEY, KEY[:12], KEY[:8] + "*" * 20 + KEY[-4:], KEY[:5] + "****wxyz", KEY[:6] + "...wxyz"],
)
def test_no_part_of_a_key_is_echoed(monkeypatch, echo):
    monkeypatch.setenv("ANY_API_KEY", KEY)
    assert http.redact(f"Wrong key: {echo}, sir") == "Wrong key: ***, sir"


def test_short_values_and_other_variables_are_no_keys(monkeypatch):
    monkeypatch.setenv("SHORT_API_KEY", "none")
    monkeypatch.setenv("HOME_KEYS", "something-long")
    assert http.redact("none of something-long") == "none of something-long"


def error_of(status, **facts):
    """An error as the SDK raises it."""
    import httpx2

    response = httpx2.Response(status, request=httpx2.Request("POST", "http://127.0.0.1/"))
    return openai.APIStatusError("x", response=response, body=facts)


@pytest.mark.parametrize(
    ("facts", "setting"),
    [
        ({"message": "no", "param": "top_p"}, "top_p"),
        ({"message": "`temperature` is deprecated for this model."}, "temperature"),
        ({"message": "You are not allowed to request logprobs from this model"}, "logprobs"),
        (
            {"detail": [{"loc": ["body", "top_k"], "msg": "Extra inputs are not permitted"}]},
            "top_k",
        ),
        ({"message": "max_tokens: the context length is 4096 tokens"}, None),
        ({"message": "x", "param": "messages", "code": "context_length_exceeded"}, None),
        ({"message": "flagged for temperature", "code": "content_policy_violation"}, None),
        ({"message": "this model is busy"}, None),
    ],
)
def test_a_bad_request_names_the_setting_that_is_refused(facts, setting):
    error = error_of(400, **facts)
    assert http.refused_setting(error) == setting
    failed = http.failure(error)
    assert (failed.fatal or failed.doubtful) == (setting is not None) and not failed.again
    assert failed.fatal == (setting is not None and facts.get("param") == setting)


def test_a_key_that_no_header_holds_is_told_without_it(monkeypatch, server):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-proj-ключ-0123456789")
    (failed,), _ = ask(server, request())
    assert failed.fatal and "API key" in failed.reason and "ключ" not in failed.reason


def test_the_key_is_read_without_the_line_end_around_it(monkeypatch, server):
    monkeypatch.setenv("OPENAI_API_KEY", os.environ["OPENAI_API_KEY"] + "\n")
    (reply,), _ = ask(server, request())
    assert reply.text
