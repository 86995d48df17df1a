"""The loopback server: what the real SDKs make of its replies and of each of its faults."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import anthropic
import openai
import pytest

import loopback_faults as faults
from loopback import Loopback
from loopback_replies import Switches

MESSAGES = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "What is jazz?"}]
SCHEMA = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "score": {"type": "number"}},
    "required": ["reason", "score"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "v", "schema": SCHEMA, "strict": True}}
KEY = "sk-not-a-secret"

# The fault, then what openai 3.57 and anthropic 2.13 raise or return without retries.
TABLE = [
    ("429:0.05", "RateLimitError", "RateLimitError"),
    ("429-date", "RateLimitError", "RateLimitError"),
    ("429-bare", "RateLimitError", "RateLimitError"),
    ("quota", "RateLimitError", "RateLimitError"),
    ("quota-bare", "RateLimitError", "RateLimitError"),
    ("credit", "BadRequestError", "BadRequestError"),
    ("500", "InternalServerError", "InternalServerError"),
    ("502", "InternalServerError", "InternalServerError"),
    ("503", "InternalServerError", "ServiceUnavailableError"),
    ("529", "InternalServerError", "OverloadedError"),
    ("408", "APIStatusError", "RequestTimeoutError"),
    ("401", "AuthenticationError", "AuthenticationError"),
    ("404", "NotFoundError", "NotFoundError"),
    ("400-temperature", "BadRequestError", "BadRequestError"),
    ("400-logprobs", "BadRequestError", "BadRequestError"),
    ("timeout", "APITimeoutError", "APITimeoutError"),
    ("reset", "APIConnectionError", "APIConnectionError"),
    ("hangup", "APIConnectionError", "APIConnectionError"),
    ("reset-body", "APIConnectionError", "APIConnectionError"),
    ("drip:0.6", "ChatCompletion", "Message"),
    ("truncated", "JSONDecodeError", "JSONDecodeError"),
    ("empty", "JSONDecodeError", "JSONDecodeError"),
    ("html", "str", "str"),
    ("text-plain", "ChatCompletion", "Message"),
    ("no-choices", "ChatCompletion", "Message"),
    ("refusal", "ChatCompletion", "Message"),
    ("no-logprobs", "ChatCompletion", "Message"),
    ("null-content", "ChatCompletion", "Message"),
    ("score-eleven", "ChatCompletion", "Message"),
    ("score-range", "ChatCompletion", "Message"),
    ("prose", "ChatCompletion", "Message"),
    ("fence", "ChatCompletion", "Message"),
]


def run(work, **settings):
    """What work(server, openai client, anthropic client) returns."""
    retries = settings.pop("max_retries", 0)

    async def inside(server):
        common = {"api_key": KEY, "max_retries": retries, "timeout": 0.4}
        async with (
            openai.AsyncOpenAI(base_url=server.url + "/v1", **common) as a,
            anthropic.AsyncAnthropic(base_url=server.url, **common) as b,
        ):
            return await work(server, a, b)

    with Loopback(**settings) as server:
        return asyncio.run(inside(server))


def chat(client, **more):
    return client.chat.completions.create(model="m", messages=MESSAGES, **more)


def message(client, **more):
    given = {"model": "c", "max_tokens": 60, "system": "Be kind.", "messages": MESSAGES[1:]} | more
    return client.messages.create(**given)


def test_chat_parses_and_depends_on_the_body_alone():
    async def work(server, client, _):
        told = {"logprobs": True, "top_logprobs": 2, "max_completion_tokens": 40}
        first, again, other = [await chat(client, seed=s, **told) for s in (1, 1, 2)]
        assert (
            first == again and first.choices[0].message.content != other.choices[0].message.content
        )
        choice = first.choices[0]
        tokens = choice.logprobs.content
        assert "".join(t.token for t in tokens) == choice.message.content
        assert all(t.logprob < 0 and len(t.top_logprobs) == 2 for t in tokens)
        assert first.model == "m-2026-07-01" and first.usage.prompt_tokens > 0
        short = await chat(client, max_tokens=1)
        assert short.choices[0].finish_reason == "length" and short.usage.completion_tokens == 1
        assert list(server.paid_twice().values()) == [2] and server.keys == {KEY: 4}

    run(work)


def test_judgements_fit_their_schema_and_the_stated_range():
    async def work(server, client, claude):
        asked = [{"role": "user", "content": "Score this from 3 to 7: the sea is wet."}]
        reply = await chat(client, response_format=FORMAT)
        assert 0 <= json.loads(reply.choices[0].message.content)["score"] <= 1
        config = {"format": {"type": "json_schema", "schema": SCHEMA}}
        said = await message(claude, messages=asked, max_tokens=300, output_config=config)
        assert 3 <= json.loads(said.content[0].text)["score"] <= 7
        tools = [{"name": "score", "description": "", "input_schema": SCHEMA}]
        choice = {"type": "tool", "name": "score"}
        used = await message(claude, messages=asked, tools=tools, tool_choice=choice)
        assert used.stop_reason == "tool_use"
        assert used.content[0].input == json.loads(said.content[0].text)

    run(work)


def test_messages_parse_and_refuse_a_temperature_where_the_model_does():
    async def work(server, _, claude):
        said = await message(claude, extra_body={"temperature": 0.5})
        assert said.content[0].text and said.stop_reason == "end_turn"
        assert (await message(claude, max_tokens=1)).stop_reason == "max_tokens"
        with pytest.raises(anthropic.BadRequestError, match="temperature"):
            await message(claude, model="claude-notemp-5", extra_body={"temperature": 0.5})
        await message(claude, model="claude-notemp-5")

    run(work)


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("how", ["echo", "prompt_logprobs", "token ids"])
def test_a_sampled_text_is_scored_as_it_was_sampled(how, bos):
    async def work(server, client, _):
        drawn = await chat(client, logprobs=True, extra_body={"return_token_ids": True})
        content = drawn.choices[0].logprobs.content
        answer = drawn.choices[0].message.content
        template = {"messages": MESSAGES, "model": "m"}
        url = server.url + "/tokenize"  # beside /v1, as in vLLM
        ids = (await client.post(url, cast_to=object, body=template))["tokens"]
        assert ids == drawn.prompt_token_ids
        text = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in MESSAGES)
        text = "<|begin|>" * bos + text + "<|im_start|>assistant\n" + answer
        prompt = [*ids, *drawn.choices[0].token_ids[: len(content)]] if how == "token ids" else text
        ask = {"max_tokens": 1, "extra_body": {"prompt_logprobs": 0, "add_special_tokens": False}}
        if how == "echo":
            ask = {"max_tokens": 0, "echo": True, "logprobs": 1}
            ask["extra_body"] = {"add_special_tokens": False}
        scored = (await client.completions.create(model="m", prompt=prompt, **ask)).choices[0]
        if how == "echo":
            assert scored.text == text == "".join(scored.logprobs.tokens)
            logps = scored.logprobs.token_logprobs
        else:
            logps = [None, *(next(iter(d.values()))["logprob"] for d in scored.prompt_logprobs[1:])]
        assert logps[0] is None and logps[len(ids) :] == [t.logprob for t in content]

    run(work, switches=Switches(bos=bos))


def test_servers_that_cannot_score_are_told_apart():
    async def work(server, client, _):
        async def ask():
            more = {"echo": True, "logprobs": 1, "max_tokens": 1}
            reply = await client.completions.create(model="m", prompt="A b", **more)
            return reply.choices[0]

        assert (await ask()).logprobs.tokens[:3] == ["A", " ", "b"]
        server.switches = Switches(echo="ignored")
        assert len((await ask()).logprobs.tokens) == 1
        server.switches = Switches(echo="ignored", form="llama.cpp")
        assert (await ask()).logprobs.tokens is None
        server.switches = Switches(echo="nonsense")
        odd = await ask()
        assert len(odd.logprobs.tokens) == 4 and "".join(odd.logprobs.tokens) != odd.text
        server.switches = Switches(logprobs="ignored")
        assert (await ask()).logprobs is None
        server.switches = Switches(echo="refused")
        with pytest.raises(openai.BadRequestError, match="Echo"):
            await ask()
        server.switches = Switches(tokenize=False)
        with pytest.raises(openai.NotFoundError):
            await client.post(server.url + "/tokenize", cast_to=object, body={"prompt": "A"})
        assert [m.id async for m in client.models.list()] == ["loopback"]

    run(work)


def test_the_table_names_every_fault():
    assert {faults.parse(name)[0] for name, _, _ in TABLE} == faults.NAMES


@pytest.mark.parametrize(("fault", "by_openai", "by_anthropic"), TABLE)
def test_each_sdk_shows_a_fault_as(fault, by_openai, by_anthropic):
    judge = fault in ("score-eleven", "score-range", "prose", "fence")

    async def outcome(call):
        try:
            return await call
        except Exception as e:
            return e

    async def work(server, client, claude):
        server.script([fault, fault])
        more = {"response_format": FORMAT} if judge else {"logprobs": True}
        first = await outcome(chat(client, **more))
        config = {"format": {"type": "json_schema", "schema": SCHEMA}}
        second = await outcome(message(claude, **({"output_config": config} if judge else {})))
        return first, second, server.calls

    first, second, calls = run(work)
    assert (type(first).__name__, type(second).__name__) == (by_openai, by_anthropic)
    assert [c.fault for c in calls] == [fault, fault]
    if fault == "401":
        assert KEY in str(first) and KEY in str(second)
    if fault in ("drip:0.6", "text-plain"):
        assert all(c.success for c in calls)
    elif fault == "no-logprobs":
        assert [c.success for c in calls] == [False, True] and first.choices[0].logprobs is None
    else:
        assert not any(c.success for c in calls)
    if fault == "refusal":
        assert first.choices[0].message.refusal and second.stop_reason == "refusal"


def test_faults_that_heal_do_so_by_the_sdks_retries_and_nothing_is_paid_twice():
    async def work(server, client, claude):
        await asyncio.gather(
            *(chat(client, seed=i) for i in range(30)),
            *(message(claude, max_tokens=20 + i) for i in range(30)),
        )
        assert len(server.successes) == server.faults[None] == 60 and not server.paid_twice()
        return server.faults, {(c.hash, c.attempt, c.fault) for c in server.calls}

    settings = {"fault_rate": 0.3, "fault_names": ["429:0.02", "500:0.02"], "max_retries": 9}
    (counts, calls), (_, again) = run(work, **settings), run(work, **settings)
    assert calls == again and counts["500:0.02"] > 0 and counts["429:0.02"] > 0


def test_another_key_is_refused():
    async def work(server, client, claude):
        for call in (chat(client), message(claude)):
            with pytest.raises((openai.AuthenticationError, anthropic.AuthenticationError)):
                await call
        assert not server.calls

    run(work, require_key="another")


def test_an_openai_batch_ends_with_its_successes_failures_and_expiries():
    async def work(server, client, _):
        outcomes = {"1": "errored", "2": "expired"}
        server.batches.outcome = lambda custom_id, body: outcomes.get(custom_id)
        path = "/v1/chat/completions"
        body = {"model": "m", "messages": MESSAGES}
        rows = [
            {"custom_id": str(i), "method": "POST", "url": path, "body": body | {"seed": i}}
            for i in range(5)
        ]
        data = "\n".join(map(json.dumps, rows)).encode()
        file = await client.files.create(file=("in.jsonl", data), purpose="batch")
        ask = {"input_file_id": file.id, "endpoint": path, "completion_window": "24h"}
        batch = await client.batches.create(**ask, metadata={"key": "k"})
        states = [batch.status]
        while batch.status in ("validating", "in_progress", "finalizing"):
            batch = await client.batches.retrieve(batch.id)
            states.append(batch.status)
        assert states == ["validating", "in_progress", "finalizing", "expired"]
        assert batch.request_counts.completed == 3 and batch.metadata == {"key": "k"}
        out = (await client.files.content(batch.output_file_id)).text.splitlines()
        bad = (await client.files.content(batch.error_file_id)).text.splitlines()
        said = {r["custom_id"]: r for r in map(json.loads, [*out, *bad])}
        direct = await chat(client, seed=3)
        text = said["3"]["response"]["body"]["choices"][0]["message"]["content"]
        assert text == direct.choices[0].message.content and said["3"]["error"] is None
        assert said["1"]["response"]["status_code"] == 500
        assert said["2"]["error"]["code"] == "batch_expired"
        assert list(server.paid_twice().values()) == [2]
        wrong = await client.files.create(file=("in.jsonl", data + b"\n" + data), purpose="batch")
        failed = await client.batches.create(**ask | {"input_file_id": wrong.id})
        assert failed.status == "failed" and failed.errors.data[0].code == "duplicate_custom_id"
        await client.batches.cancel((await client.batches.create(**ask)).id)
        newest = [b async for b in client.batches.list(limit=2)]
        assert [b.status for b in newest] == ["cancelling", "failed", "expired"]
        server.script(["500"], path="/v1/batches")
        with pytest.raises(openai.InternalServerError):
            await client.batches.retrieve(batch.id)

    run(work, batch_polls=3)


def test_an_anthropic_batch_ends_with_every_type_of_result():
    async def work(server, _, claude):
        outcomes = {"r1": "errored", "r2": "expired", "r3": "canceled", "r4": "refusal"}
        server.batches.outcome = lambda custom_id, body: outcomes.get(custom_id)
        params = {"model": "c", "max_tokens": 60, "messages": MESSAGES[1:], "system": "Be kind."}
        requests = [{"custom_id": f"r{i}", "params": params} for i in range(5)]
        batches = claude.messages.batches
        batch = await batches.create(requests=requests)
        with pytest.raises(anthropic.AnthropicError, match="finished processing"):
            await batches.results(batch.id)
        while batch.processing_status != "ended":
            batch = await batches.retrieve(batch.id)
        results = {r.custom_id: r.result async for r in await batches.results(batch.id)}
        kinds = [results[f"r{i}"].type for i in range(5)]
        assert kinds == ["succeeded", "errored", "expired", "canceled", "succeeded"]
        assert results["r0"].message.content == (await message(claude)).content
        assert results["r1"].error.error.type == "api_error"
        assert results["r4"].message.stop_reason == "refusal"
        assert batch.request_counts.succeeded == 2 and list(server.paid_twice().values()) == [2]
        second = await batches.create(requests=requests[:2])
        await batches.cancel(second.id)
        assert [b.id async for b in batches.list(limit=1)] == [second.id, batch.id]
        with pytest.raises(anthropic.BadRequestError, match="duplicate"):
            await batches.create(requests=requests[:1] * 2)

    run(work)


def test_the_server_runs_as_a_process_that_logs_each_call(tmp_path):
    log = tmp_path / "calls.txt"
    script = Path(__file__).with_name("loopback.py")
    options = ["--port", "0", "--delay", "0.01", "--fault-rate", "0", "--log", str(log)]
    child = subprocess.Popen(
        [sys.executable, str(script), *options], stdout=subprocess.PIPE, text=True
    )
    try:
        url = child.stdout.readline().strip()

        async def ask():
            async with openai.AsyncOpenAI(base_url=url + "/v1", api_key=KEY) as client:
                await asyncio.gather(*(chat(client, seed=i) for i in range(20)))

        asyncio.run(ask())
    finally:
        os.kill(child.pid, signal.SIGTERM)
        assert child.wait() == 0
    lines = [line.split() for line in log.read_text().splitlines()]
    assert len({line[0] for line in lines}) == len(lines) == 20
    assert {tuple(line[1:]) for line in lines} == {
        ("/v1/chat/completions", "1", "-", "200", "success")
    }
    assert KEY not in log.read_text()
