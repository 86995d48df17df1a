"""Azure, Gemini and OpenRouter by OpenAI's SDK, against servers that behave as theirs do."""

import asyncio
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest

from cje.errors import CJEError
from cje.models import registry
from cje.models.http import redact
from cje.models.lookup import check_model, provider_for
from cje.models.prices import Price, price_of
from cje.models.provider import CallSettings, Judging
from cje.models.registry import backend_for
from cje.models.requests import CallFailed
from cje.models.runner.calls import Calls
from cje.models.runner.store import ReplyStore
from cje.settings import parse_settings

SCHEMA = '{"type":"object","properties":{"score":{"type":"number"}},"required":["score"]}'
VERDICT = '{"reason": "Fine.", "score": 7}'
CALL_SETTINGS = CallSettings(timeout=5.0, max_retries=0, concurrency=4)
GEMINI_UNKNOWN = 'Invalid JSON payload received. Unknown name "response_format": Cannot find field.'


class Server:
    """`answer(path, headers, body)` gives (status, body) of each call; `calls` keeps all three."""

    def __init__(self, answer):
        self.calls = calls = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                size = int(self.headers["Content-Length"])
                head = {name.lower(): value for name, value in self.headers.items()}
                call = self.path, head, json.loads(self.rfile.read(size))
                calls.append(call)
                status, body = answer(*call)
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.server.shutdown()
        self.server.server_close()


def said(text, reason="stop", message=None, usage=None):
    choice = {"index": 0, "message": {"role": "assistant", "content": text} | (message or {})}
    usage = usage or {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    return 200, {
        "model": "m-1",
        "choices": [choice | {"finish_reason": reason}],
        "usage": usage,
    }


def of(settings):
    return parse_settings({"temperature": 0.5, "top_p": None, "max_tokens": 8} | settings)


def model(name, **changes):
    return of({"base_model": name, "target_models": [name]} | changes)


def ask(request, call_settings=CALL_SETTINGS):
    async def work():
        connection = backend_for(request.model).connect(call_settings)
        try:
            return await connection.ask(request), getattr(connection, "notes", [])
        finally:
            await connection.close()

    return asyncio.run(work())


def answer(name, **changes):
    policy = model(name, **changes).base
    return backend_for(name).answer(policy, "Say it.")


def header(call, name):
    return call[1].get(name.lower())


# Azure


@pytest.fixture
def azure(monkeypatch):
    def reply(path, headers, body):
        if "bad words" in json.dumps(body):
            detail = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {}}
            error = {
                "code": "content_filter",
                "message": "The response was filtered",
                "param": "prompt",
            }
            return 400, {"error": error | {"status": 400, "innererror": detail}}
        if body.get("model") == "gone":
            words = "The API deployment for this resource does not exist."
            return 404, {"error": {"code": "DeploymentNotFound", "message": words}}
        return said("Yes.")

    with Server(reply) as server:
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", server.url + "/")
        monkeypatch.setenv("AZURE_OPENAI_API_KEY", "azure-key-0123456789")
        monkeypatch.delenv("OPENAI_API_VERSION", raising=False)
        yield server


def test_azure_is_asked_by_its_interface_v1_and_by_a_dated_one(azure, monkeypatch):
    reply, _ = ask(answer("azure/my-gpt"))
    assert reply.text == "Yes." and azure.calls[0][0] == "/openai/v1/chat/completions"
    assert header(azure.calls[0], "api-key") == "azure-key-0123456789"
    assert (
        azure.calls[0][2]["model"] == "my-gpt" and azure.calls[0][2]["max_completion_tokens"] == 8
    )
    monkeypatch.setenv("OPENAI_API_VERSION", "2024-10-21")
    ask(answer("azure/my-gpt"))
    path = "/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21"
    assert azure.calls[1][0] == path and header(azure.calls[1], "api-key") == "azure-key-0123456789"


def test_an_azure_resource_is_part_of_what_is_asked(azure, monkeypatch):
    one = answer("azure/my-gpt")
    assert one.base_url == azure.url
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://other.openai.azure.com/openai/v1/")
    assert answer("azure/my-gpt").base_url == "https://other.openai.azure.com" and one.key
    monkeypatch.delenv("AZURE_OPENAI_ENDPOINT")
    with pytest.raises(CJEError, match="set AZURE_OPENAI_ENDPOINT to https"):
        check_model("azure/my-gpt", "policy", "base_model", model("azure/my-gpt").base)


def test_what_azure_filters_is_a_refusal_that_is_paid_and_a_wrong_name_is_fatal(azure):
    filtered = backend_for("azure/x").answer(model("azure/x").base, "bad words")
    reply, _ = ask(filtered)
    assert (reply.finish_reason, reply.finish_reason_given) == ("refusal", "content_filter")
    assert reply.prompt_tokens is None, "Azure bills it and does not say how much"
    with pytest.raises(CallFailed) as failed:
        ask(answer("azure/gone"))
    assert failed.value.fatal


# Gemini


@pytest.fixture
def gemini(monkeypatch):
    def reply(path, headers, body):
        if headers.get("authorization") != "Bearer gemini-key-0123456789":
            error = {"code": 400, "message": "API key not valid. Please pass a valid API key."}
            return 400, [{"error": error | {"status": "INVALID_ARGUMENT"}}]
        if "response_format" in body and body["model"] == "old":
            error = {"code": 400, "message": GEMINI_UNKNOWN, "status": "INVALID_ARGUMENT"}
            return 400, [{"error": error}]
        if "bad words" in json.dumps(body):
            return said(None, "content_filter: SAFETY")
        if body["model"] == "old":
            return said(VERDICT)
        usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 60}
        return said("Yes.", usage=usage)

    with Server(reply) as server:
        monkeypatch.setenv("GEMINI_BASE_URL", server.url + "/v1beta/openai/")
        monkeypatch.setenv("GEMINI_API_KEY", "gemini-key-0123456789")
        yield server


def test_gemini_is_asked_without_logprobs_and_its_thoughts_are_paid(gemini):
    reply, _ = ask(answer("gemini/gemini-3-flash", reasoning_effort="low"))
    path, _, body = gemini.calls[0]
    assert path == "/v1beta/openai/chat/completions" and body["reasoning_effort"] == "low"
    assert body["max_tokens"] == 8 and "logprobs" not in body
    assert (reply.text, reply.completion_tokens) == ("Yes.", 51)
    assert isinstance(price_of("gemini/gemini-2.5-flash"), Price)


def test_what_gemini_filters_is_a_refusal_and_a_wrong_key_is_fatal(gemini, monkeypatch):
    reply, _ = ask(backend_for("gemini/x").answer(model("gemini/x").base, "bad words"))
    assert (reply.finish_reason, reply.text) == ("refusal", None)
    assert reply.finish_reason_given == "content_filter: SAFETY"
    monkeypatch.setenv("GEMINI_API_KEY", "gemini-wrong-0123456789")
    with pytest.raises(CallFailed, match="check the API key") as failed:
        ask(answer("gemini/gemini-3-flash"))
    assert failed.value.fatal and "gemini-wrong" not in failed.value.reason


def judged(name, folder, count=4, base_url=None):
    settings = model(name)
    calls = Calls(settings, "proxy_score", ReplyStore(folder))
    rows = {"prompt": [f"Why {i}?" for i in range(count)], "answer": "So.", "reference": None}
    provider = provider_for(name, calls)
    return provider.judge(
        pd.DataFrame(rows), name.partition("/")[2], 
        Judging((0.0, 10.0), seed=1, base_url=base_url),
    )  # fmt: skip


def test_a_schema_that_is_refused_stands_in_the_prompt_and_that_is_found_out_once(
    gemini, tmp_path, capsys
):
    found = judged("gemini/old", tmp_path)
    assert found["score"].tolist() == [7.0] * 4
    assert sum("response_format" in body for _, _, body in gemini.calls) == 1
    assert "Its JSON schema" in gemini.calls[-1][2]["messages"][-1]["content"]
    assert "gemini/old refuses JSON schemas" in capsys.readouterr().err
    judged("gemini/old", tmp_path, 6)  # the next stage knows it
    assert sum("response_format" in body for _, _, body in gemini.calls) == 1


# The API of the page on extending


def test_the_api_of_the_documentation_answers_and_judges(monkeypatch, tmp_path):
    page = Path(__file__).parents[1].joinpath("docs/extending.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"acme\.py`:\n\n```python\n(.*?)```", page, re.DOTALL)
    assert len(code.splitlines()) < 40
    (tmp_path / "documented_acme.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(registry.ELSEWHERE, "acme", "documented_acme")
    monkeypatch.setattr(registry, "own", registry.own.__wrapped__)  # without its cache
    monkeypatch.setenv("ACME_API_KEY", "acme-key-0123456789")
    with Server(lambda path, headers, body: said(VERDICT)) as server:
        backend_for("acme/m").address = server.url + "/v1"
        settings = model("acme/m")
        calls = Calls(settings, "generate_logs", ReplyStore(tmp_path))
        prompts = pd.DataFrame({"uid": ["a"], "prompt": ["Why?"]})
        own = {"draw": 0, "seed": 1}
        found = provider_for("acme/m", calls).generate(prompts, settings.base, **own)
        assert judged("acme/thinker-1", tmp_path)["score"].tolist() == [7.0] * 4
    assert found["answer"].tolist() == [VERDICT] and found["address"][0] == server.url + "/v1"
    answer, *verdicts = server.calls
    assert answer[0] == "/v1/chat/completions"
    assert header(answer, "Authorization") == "Bearer acme-key-0123456789"
    assert answer[2]["max_tokens"] == 8 and verdicts[0][2]["max_tokens"] > 4000
    templated = model("acme/m").base.model_copy(update={"chat_template": "chatml"})
    with pytest.raises(CJEError, match="acme/m does not take one"):
        check_model("acme/m", "policy", "x", templated)


# OpenRouter, and any server


@pytest.fixture
def router(monkeypatch):
    def reply(path, headers, body):
        if "response_format" in body:
            return said("I give it a seven.")
        return said(VERDICT, message={"reasoning": "Hm."})

    with Server(reply) as server:
        for name in ("OPENROUTER", "SERVER"):
            monkeypatch.setenv(f"{name}_API_KEY", "router-key-0123456789")
        monkeypatch.setenv("OPENROUTER_BASE_URL", server.url + "/api/v1")
        monkeypatch.setenv("TEAM_TOKEN", "team-secret-0123456789")
        yield server


def test_openrouter_takes_headers_by_variable_and_a_body_by_setting(router, tmp_path):
    name = "openrouter/meta-llama/llama-3.1-8b:free"
    body = {"openrouter": {"provider": {"require_parameters": True}}}
    settings = model(
        name, extra_body=body, reasoning_effort="low",
        extra_headers={"openrouter": {"X-Team": "TEAM_TOKEN"}},
    )  # fmt: skip
    calls = Calls(settings, "generate_logs", ReplyStore(tmp_path))
    prompts = pd.DataFrame({"uid": ["a"], "prompt": ["Why?"]})
    found = provider_for(name, calls).generate(prompts, settings.base, draw=0, seed=1)
    assert found["answer"].tolist() == [VERDICT] and found["reasoning"].tolist() == ["Hm."]
    path, _, sent = router.calls[0]
    assert path == "/api/v1/chat/completions" and header(router.calls[0], "X-Team") is not None
    assert sent["provider"] == {"require_parameters": True} and sent["reasoning"] == {
        "effort": "low"
    }
    assert sent["model"] == "meta-llama/llama-3.1-8b:free"
    kept = "".join(p.read_text() for p in tmp_path.rglob("*") if p.is_file())
    assert "team-secret" not in kept and "team-secret" not in redact("x team-secret-0123456789")
    # Another body is another request; another header is not.
    plain = model(name).base.model_copy(update={"extra_body": None})
    provider = provider_for(name, calls)
    keys = [
        provider.answer_requests(prompts, policy, draw=0, seed=1)[0].key
        for policy in (settings.base, plain)
    ]
    assert keys[0] != keys[1]


def test_a_header_whose_variable_is_not_set_ends_in_words(router, monkeypatch, tmp_path):
    monkeypatch.delenv("TEAM_TOKEN")
    name = "openrouter/a/b"
    settings = model(name, extra_headers={"openrouter": {"X-Team": "TEAM_TOKEN"}})
    calls = Calls(settings, "generate_logs", ReplyStore(tmp_path))
    prompts = pd.DataFrame({"uid": ["a"], "prompt": ["Why?"]})
    with pytest.raises(CJEError, match="extra_headers: X-Team: TEAM_TOKEN is not set"):
        provider_for(name, calls).generate(prompts, settings.base, draw=0, seed=1)
    assert not router.calls


@pytest.mark.parametrize("name", ["openrouter/a/b", "server/b"])
def test_a_server_that_passes_over_schemas_gets_them_in_the_prompt(router, tmp_path, name):
    base_url = router.url + "/api/v1"
    found = judged(name, tmp_path, 12, base_url)
    assert found["score"].tolist() == [7.0] * 12  # the first ones when they are asked once more
    passed_over = sum("response_format" in body for _, _, body in router.calls)
    assert passed_over == 1
    judged(name, tmp_path, 14, base_url)
    assert sum("response_format" in body for _, _, body in router.calls) == passed_over


# How much a model is told to think, and how much room a judge has


@pytest.mark.parametrize(
    "name, sent",
    [
        ("openai/gpt-5.4", {"reasoning_effort": "low"}),
        ("azure/my-gpt", {"reasoning_effort": "low"}),
        ("gemini/gemini-3-flash", {"reasoning_effort": "low"}),
        ("openrouter/a/b", {"reasoning": {"effort": "low"}}),
        (
            "server/m",
            {"reasoning_effort": "low", "chat_template_kwargs": {"enable_thinking": True}},
        ),
        ("anthropic/claude-opus-4-8", {"output_config": {"effort": "low"}}),
    ],
)
def test_each_provider_is_told_in_its_own_way_how_much_to_think(name, sent, monkeypatch):
    def reply(path, headers, body):
        if path.endswith("/messages"):
            content = [{"type": "text", "text": "Yes."}]
            usage = {"input_tokens": 9, "output_tokens": 3}
            facts = {"id": "m", "type": "message", "role": "assistant", "model": "m-1"}
            return 200, facts | {"content": content, "stop_reason": "end_turn", "usage": usage}
        return said("Yes.")

    provider = name.partition("/")[0]
    with Server(reply) as server:
        prefix = "AZURE_OPENAI" if provider == "azure" else provider.upper()
        monkeypatch.setenv(f"{prefix}_API_KEY", "sk-loopback-0123456789")
        given = {"addresses": {provider: server.url}} if provider != "server" else {}
        given |= {"base_url": server.url, "temperature": None, "max_tokens": 2000}
        for effort in ("low", None):
            found, _ = ask(answer(name, reasoning_effort=effort, **given))
            assert found.text == "Yes."
    (_, _, told), (_, _, untold) = server.calls
    assert {key: told.get(key) for key in sent} == sent
    left_out = {key: untold.get(key) for key in sent}
    assert not any(left_out.values()) or name == "openai/gpt-5.4"  # which is told to think not


def test_a_judge_of_short_context_is_given_less_room_and_that_is_remembered(tmp_path):
    def short(path, headers, body):
        if body["max_tokens"] > 1000:
            words = "This model's maximum context length is 1024 tokens."
            return 400, {"error": {"message": words, "code": "context_length_exceeded"}}
        return said(VERDICT)

    with Server(short) as server:
        found = judged("server/b", tmp_path, 8, server.url + "/v1")
    assert found["score"].tolist() == [7.0] * 8
    rooms = [body["max_tokens"] for _, _, body in server.calls]
    assert rooms[:3] == [8192, 2048, 500] and rooms[3:] == [500] * 7
