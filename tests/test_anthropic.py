"""The provider anthropic/...: what is asked, what is refused before it, and what comes back."""

import asyncio
import json
from dataclasses import replace

import anthropic
import pytest

import loopback_faults as faults
from cje.errors import CJEError
from cje.models.addresses import request_address
from cje.models.provider import CallSettings, JudgePrompt
from cje.models.providers.anthropic import (
    BACKEND,
    message_arguments,
    parse_message,
    server_root,
    version,
)
from cje.models.requests import CallFailed, Reply, Request
from cje.settings import Policy
from loopback import Loopback

KEY = "sk-ant-api03-not-a-key-0123456789"
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "reason": {"type": "string", "description": "One sentence."},
            "score": {"type": "number", "minimum": 0, "maximum": 10},
        },
        "required": ["reason", "score"],
        "additionalProperties": False,
    }
)
MESSAGES = (("system", "Be just."), ("user", "Judge from 0 to 10: jazz."))


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.delenv("ANTHROPIC_BASE_URL", raising=False)


@pytest.fixture
def server(monkeypatch):
    with Loopback() as loopback:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", loopback.url)
        yield loopback


def policy(model="claude-haiku-4-5", **settings) -> Policy:
    given = {"temperature": None, "top_p": None, "max_tokens": 2048} | settings
    return Policy(name="p", model=model, **given)


def at_server(request: Request) -> Request:
    """The request made while the environment has the server's address."""
    return replace(request, base_url=request_address(request.model, request.base_url))


def ask(*requests: Request, call_settings: CallSettings | None = None) -> list[Reply]:
    async def all_of_them():
        connection = BACKEND.connect(call_settings or CallSettings(timeout=20.0, max_retries=0))
        try:
            return [await connection.ask(at_server(request)) for request in requests]
        finally:
            await connection.close()

    return asyncio.run(all_of_them())


def message(*blocks, stop_reason="end_turn", **more) -> dict:
    usage = {"input_tokens": 7, "output_tokens": 5}
    return {
        "content": list(blocks),
        "stop_reason": stop_reason,
        "model": "m",
        "usage": usage,
    } | more


REQUEST = BACKEND.answer(policy(system_prompt="Be brief."), "What is jazz?")
TEXT = {"type": "text", "text": "Music."}


# What is asked


def test_an_answer_is_asked_with_the_system_prompt_apart():
    assert message_arguments(REQUEST) == {
        "model": "claude-haiku-4-5",
        "max_tokens": 2048,
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "What is jazz?"}],
    }


def test_a_bare_name_and_a_full_one_are_the_same_request():
    bare = BACKEND.answer(policy("claude-haiku-4-5"), "x")
    assert bare == BACKEND.answer(policy("anthropic/claude-haiku-4-5"), "x")
    assert bare.model == "anthropic/claude-haiku-4-5"


def test_a_setting_is_sent_unless_it_is_null_or_what_the_model_does_by_itself():
    sent = message_arguments(BACKEND.answer(policy(temperature=0.0, top_p=1.0), "x"))
    assert sent["temperature"] == 0.0 and "top_p" not in sent
    sent = message_arguments(BACKEND.answer(policy(temperature=1.0, top_p=0.9), "x"))
    assert sent["top_p"] == 0.9 and "temperature" not in sent


def test_a_verdict_is_held_to_its_schema_and_the_range_is_said_in_words():
    request = BACKEND.judgement(
        "claude-haiku-4-5", JudgePrompt(MESSAGES, SCHEMA, "http://elsewhere/v1")
    )
    assert request.base_url == "http://elsewhere/v1" and request.temperature == 0.0
    sent = message_arguments(request)
    assert sent["output_config"]["format"]["type"] == "json_schema"
    score = sent["output_config"]["format"]["schema"]["properties"]["score"]
    assert not score.keys() & {"minimum", "maximum"}
    assert "0" in score["description"] and "10" in score["description"]
    assert sent["system"] == "Be just." and "tools" not in sent


def test_an_older_model_gives_its_verdict_through_a_forced_tool():
    request = BACKEND.judgement("claude-3-5-sonnet-20241022", JudgePrompt(MESSAGES, SCHEMA))
    sent = message_arguments(request)
    assert sent["tool_choice"] == {"type": "tool", "name": "verdict"}
    assert sent["tools"][0]["input_schema"] == json.loads(SCHEMA)
    assert "output_config" not in sent


@pytest.mark.parametrize("name", ["claude-opus-5-5", "claude-opus-4-7", "claude-of-tomorrow"])
def test_a_judge_that_takes_no_temperature_is_given_none(name):
    request = BACKEND.judgement(name, JudgePrompt(MESSAGES, SCHEMA))
    assert request.temperature is None and "temperature" not in message_arguments(request)


def test_a_judge_that_thinks_first_has_room_for_it():
    thinking = BACKEND.judgement("claude-sonnet-5-5", JudgePrompt(MESSAGES, SCHEMA))
    plain = BACKEND.judgement("claude-sonnet-4-6", JudgePrompt(MESSAGES, SCHEMA))
    assert thinking.max_tokens >= 4096 > plain.max_tokens >= 256


def test_a_judgement_without_a_bound_still_has_one():
    request = Request(kind="judgement", model="anthropic/claude-haiku-4-5", messages=MESSAGES)
    assert message_arguments(request)["max_tokens"] == 512


@pytest.mark.parametrize(
    "name, expected",
    [
        ("claude-opus-4-5-20251101", (4, 5)),
        ("claude-opus-4-20250514", (4, 0)),
        ("claude-sonnet-5", (5, 0)),
        ("claude-haiku-5-5", (5, 5)),
        ("claude-fable-5-2", (5, 2)),
        ("claude-3-5-sonnet-20241022", (3, 5)),
        ("claude-3-haiku-20240307", (3, 0)),
        ("claude-4-opus-20250514", (4, 0)),
        ("claude-mythos-preview", (5, 0)),
        ("claude-latest", None),
        ("loopback", None),
    ],
)
def test_a_models_version_is_read_from_its_name(name, expected):
    assert version(name) == expected


def test_an_address_of_the_other_kind_of_server_loses_its_v1():
    assert server_root("http://localhost:8000/v1") == "http://localhost:8000"
    assert server_root("http://localhost:8000/v1/") == "http://localhost:8000"
    assert server_root("http://localhost:8000/proxy") == "http://localhost:8000/proxy"


# What is refused before the run


@pytest.mark.parametrize(
    "settings, words",
    [
        (
            {"model": "claude-opus-4-7", "temperature": 0.7},
            ["temperature: 0.7", "temperature: null"],
        ),
        ({"model": "claude-opus-5-5", "top_p": 0.9}, ["top_p: 0.9", "top_p: null"]),
        ({"model": "claude-mythos-preview", "temperature": 0.0}, ["temperature: 0 "]),
        (
            {"model": "claude-sonnet-4-6", "temperature": 0.7, "top_p": 0.9},
            ["temperature: 0.7, top_p: 0.9 together", "temperature: null or top_p: null"],
        ),
        ({"model": "claude-haiku-4-5", "temperature": 1.5}, ["temperature: 1.5", "at most 1"]),
        ({"model": "claude-sonnet-5", "max_tokens": 40}, ["max_tokens: 40", "1024"]),
        ({"model": "claude-haiku-4-5", "chat_template": "chatml"}, ["chat_template: chatml"]),
    ],
)
def test_a_setting_that_the_model_refuses_is_an_error_that_says_what_to_set(settings, words):
    refused = policy(**settings)
    with pytest.raises(CJEError) as error:
        BACKEND.check(refused.model, "policy", refused)
    for word in (refused.model, *words):
        assert word in str(error.value)


def test_everything_that_is_wrong_is_said_at_once():
    refused = policy("claude-opus-5", temperature=0.7, top_p=0.9, max_tokens=40)
    with pytest.raises(CJEError, match=r"temperature: 0\.7.*top_p: 0\.9.*max_tokens: 40"):
        BACKEND.check("claude-opus-5", "policy", refused)


@pytest.mark.parametrize(
    "settings",
    [
        {"model": "claude-opus-5-5"},
        {"model": "claude-opus-5-5", "temperature": 1.0, "top_p": 1.0},
        {"model": "claude-opus-4-7", "max_tokens": 40},
        {"model": "claude-haiku-4-5", "temperature": 0.7},
        {"model": "claude-haiku-4-5", "temperature": 0.7, "top_p": 1.0},
        {"model": "claude-opus-4-20250514", "temperature": 0.7, "top_p": 0.9},
        {"model": "anthropic/mine", "temperature": 0.7, "top_p": 0.9},
    ],
)
def test_what_the_model_takes_passes(settings):
    good = policy(**settings)
    BACKEND.check(good.model.removeprefix("anthropic/"), "policy", good)


def test_a_judge_has_no_settings_to_refuse_but_a_name():
    BACKEND.check("claude-opus-5-5", "judge", None)
    with pytest.raises(CJEError, match="names no model"):
        BACKEND.check("", "judge", None)


def test_a_given_text_cannot_be_scored():
    assert BACKEND.can("claude-opus-5-5") == {"batch"}
    assert BACKEND.probe(policy()) is None
    with pytest.raises(CJEError, match="no log-probabilities"):
        BACKEND.score(policy(), "x", None)


# What comes back


@pytest.mark.parametrize(
    "reason, finish",
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "refusal"),
    ],
)
def test_a_reply_says_why_it_ended(reason, finish):
    reply = parse_message(REQUEST, message(TEXT, stop_reason=reason))
    assert reply.finish_reason == finish and reply.text == "Music."


def test_the_text_is_all_text_blocks_and_no_thought():
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
    reply = parse_message(REQUEST, message(thought, TEXT, {"type": "text", "text": " Loud."}))
    assert reply.text == "Music. Loud."


def test_a_tools_input_is_the_verdicts_json():
    use = {"type": "tool_use", "id": "t", "name": "verdict", "input": {"score": 3, "reason": "é"}}
    reply = parse_message(REQUEST, message(TEXT, use, stop_reason="tool_use"))
    assert json.loads(reply.text) == {"score": 3, "reason": "é"} and reply.finish_reason == "stop"


def test_cached_prompt_tokens_are_counted():
    usage = {"input_tokens": 3, "cache_read_input_tokens": 40, "output_tokens": 2}
    reply = parse_message(REQUEST, message(TEXT, usage=usage))
    assert (reply.prompt_tokens, reply.completion_tokens) == (43, 2)
    assert parse_message(REQUEST, message(TEXT, usage=None)).prompt_tokens is None


@pytest.mark.parametrize("blocks", [[], [{"type": "text", "text": None}]])
def test_a_reply_without_text_is_an_empty_one(blocks):
    assert parse_message(REQUEST, message(*blocks)).is_empty


def test_thoughts_are_kept_apart_and_may_use_up_all_tokens():
    thought = {"type": "thinking", "thinking": "Let me see."}
    reply = parse_message(REQUEST, message(thought, TEXT))
    assert reply.reasoning == "Let me see." and reply.text == TEXT["text"]
    spent = parse_message(REQUEST, message(thought, stop_reason="max_tokens"))
    assert spent.text is None and spent.finish_reason == "length" and spent.reasoning
    assert spent.finish_reason_given == "max_tokens" and not spent.is_empty


def test_a_refusal_may_say_nothing():
    reply = parse_message(REQUEST, message(stop_reason="refusal"))
    assert reply.text is None and reply.finish_reason == "refusal"


@pytest.mark.parametrize(
    "given, words, again",
    [
        (message(TEXT, stop_reason="pause_turn"), "pause_turn", True),
        (message(TEXT, stop_reason=None), "stop_reason None", True),
        ({"error": "x"}, "not a message", True),
        ([], "not a message", True),
        (None, "not a message", True),
    ],
)
def test_what_is_no_reply_fails_in_words(given, words, again):
    with pytest.raises(CallFailed) as failed:
        parse_message(REQUEST, given)
    assert words in failed.value.reason
    assert (failed.value.again, failed.value.fatal) == (again, False)


# Over HTTP, through the SDK


def test_an_answer_comes_back_over_http(server):
    (reply,) = ask(REQUEST)
    assert reply.text and reply.finish_reason in ("stop", "length")
    assert reply.prompt_tokens > 0 and reply.completion_tokens > 0
    assert reply.model == "claude-haiku-4-5-20260701"
    assert reply.token_logprobs is None and reply.logprob_kind is None
    assert server.calls[0].body == message_arguments(REQUEST)
    assert server.keys == {KEY: 1}


def test_sampling_settings_reach_the_server_though_the_sdk_has_no_parameter_for_them(server):
    ask(BACKEND.answer(policy(temperature=0.25), "x"), BACKEND.answer(policy(top_p=0.5), "x"))
    assert server.calls[0].body["temperature"] == 0.25 and server.calls[1].body["top_p"] == 0.5


@pytest.mark.parametrize("name", ["claude-sonnet-5-5", "claude-3-5-sonnet-20241022"])
def test_a_verdict_comes_back_as_json(server, name):
    (reply,) = ask(BACKEND.judgement(name, JudgePrompt(MESSAGES, SCHEMA)))
    assert 0 <= json.loads(reply.text)["score"] <= 10 and reply.finish_reason == "stop"


def test_a_policys_own_address_is_called():
    with Loopback() as other:
        request = BACKEND.answer(policy(base_url=other.url + "/v1"), "x")
        assert ask(request)[0].text and len(other.calls) == 1


@pytest.mark.parametrize(
    "fault, again, fatal",
    [
        ("429-bare", True, False),
        ("500", True, False),
        ("529", True, False),
        ("timeout", True, False),
        ("reset-body", True, False),
        ("drip:3", True, False),
        ("truncated", True, False),
        ("empty", True, False),
        ("html", True, False),
        ("401", False, True),
        ("404", False, True),
        ("400-temperature", False, False),  # no more than words say so
    ],
)
def test_a_fault_becomes_a_failure_in_words_without_the_key(server, fault, again, fatal):
    server.script([fault])
    with pytest.raises(CallFailed) as failed:
        late = fault.startswith(("timeout", "drip"))
        ask(REQUEST, call_settings=CallSettings(timeout=0.4 if late else 20.0, max_retries=0))
    assert (failed.value.again, failed.value.fatal) == (again, fatal)
    assert failed.value.reason and KEY[:12] not in failed.value.reason
    assert failed.value.__context__ is None and failed.value.__cause__ is None


def test_the_sdk_asks_again_what_heals(server):
    server.script(["429:0.01", "529", "reset-body"])
    (reply,) = ask(REQUEST, call_settings=CallSettings(timeout=20.0, max_retries=3))
    assert reply.text and len(server.calls) == 4


def test_a_json_reply_of_the_wrong_content_type_is_a_reply(server):
    server.script(["text-plain"])
    assert ask(REQUEST)[0].text


def test_a_refusal_over_http_is_a_reply(server):
    server.script(["refusal"])
    assert ask(REQUEST)[0].finish_reason == "refusal"


def test_a_large_bound_is_not_taken_for_a_stream(server):
    large = replace(REQUEST, max_tokens=60_000)
    assert ask(large)[0].text


def test_the_sdk_still_lacks_sampling_parameters():
    """The reason for `extra_body`; with them back, it should go."""
    with pytest.raises(TypeError, match="temperature"):
        anthropic.Anthropic(api_key="x").messages.create(
            temperature=1, **message_arguments(REQUEST)
        )


def test_every_fault_is_a_reply_or_a_failure(server):
    for name in sorted(faults.NAMES - {"429-date", "drip", "timeout"}):
        server.script([name])
        try:
            reply = ask(REQUEST)[0]
        except CallFailed:
            continue
        assert isinstance(reply, Reply)
