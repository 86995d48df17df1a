"""Whether a server draws by the log-probabilities that it tells, found out by what it draws."""

import asyncio
from dataclasses import replace

import pandas as pd
import pytest

from cje.models.exactness import Exactness, find_exactness, parse_steps
from cje.models.provider import CallSettings
from cje.models.providers.server import BACKEND
from cje.models.runner.calls import Calls
from cje.models.runner.store import ReplyStore
from cje.models.table_provider import TableProvider
from cje.settings import Policy, parse_settings
from loopback import Loopback
from loopback_model import Refused
from loopback_replies import Switches
from test_server import Altered

PENALTY = (("repeat_penalty", 2.0),)
FEW = (("top_k", 8),)
LIKELY = (("min_p", 0.2),)


def policy(server, **changes):
    given = {"temperature": 1.0, "top_p": 1.0, "max_tokens": 12, "base_url": server.url + "/v1"}
    return Policy(name="p", model="server/loopback", **given | changes)


def probed(server, **changes):
    async def main():
        connection = BACKEND.connect(CallSettings(timeout=5.0, max_retries=1, concurrency=4))
        try:
            return await connection.ask(BACKEND.exactness(policy(server, **changes)))
        finally:
            await connection.close()

    return Exactness.from_json(asyncio.run(main()).text)


@pytest.mark.parametrize("template", [None, "chatml"])
@pytest.mark.parametrize(
    ("switches", "reported", "doubt"),
    [
        (Switches(), "raw", None),
        (Switches(end_token=True), "raw", None),
        (Switches(own=PENALTY + FEW + LIKELY), "raw", None),  # switched off by its own names
        (Switches(processed=True), "processed", None),
        (Switches(own=PENALTY, deaf=True), "raw", "given before"),
        (Switches(own=FEW, deaf=True), "raw", "beyond the likeliest"),
        (Switches(own=LIKELY, deaf=True), "raw", "temperature 1"),
        (Switches(deaf=True), "raw", "it ignores top_k"),
        (Switches(logprobs="ignored"), "unknown", "does not report the likeliest"),
    ],
)
def test_what_a_server_does_of_itself_is_switched_off_or_found_out(
    switches, reported, doubt, template
):
    with Loopback(switches=switches) as server:
        found = probed(server, chat_template=template)
    assert found.reported == reported
    assert found.doubt is None if doubt is None else doubt in found.doubt


def test_a_penalty_shows_at_temperature_0():
    def greedy(count, temperature, **asked):
        row = {"token": " la", "logprob": -2.0 if temperature == 0 else -0.1}
        row["top_logprobs"] = [{"token": t, "logprob": p} for t, p in ((" a", -0.1), (" b", -2.5))]
        body = {"choices": [{"logprobs": {"content": [row] * 64}}]}
        return asyncio.sleep(0, body)

    found, _ = asyncio.run(find_exactness(greedy))
    assert "skips its likeliest token 64 times in 64" in found.doubt


@pytest.mark.parametrize(
    ("name", "limit", "reported", "doubt"),
    [("temperature", 1.5, "unknown", None), ("top_logprobs", 5, "raw", "repeats too little")],
)
def test_a_server_that_takes_less_is_probed_with_less(name, limit, reported, doubt):
    def limited(path, body, reply):
        if (body.get(name) or 0) > limit:
            raise Refused(400, f"{name} must be at most {limit}", name)
        return reply

    with Altered(limited) as server:
        found = probed(server)
    assert found.reported == reported
    assert found.doubt is None if doubt is None else doubt in found.doubt


@pytest.mark.parametrize(
    ("reported", "doubt", "temperature", "top_p", "answer", "score"),
    [
        ("raw", None, 1.0, 1.0, "sampling", "sampling"),
        ("raw", None, 0.7, 1.0, "raw", "raw"),
        ("processed", None, 0.7, 1.0, "sampling", "raw"),
        ("processed", None, 0.0, 1.0, "raw", "raw"),
        ("processed", None, None, 1.0, "raw", "raw"),
        ("processed", None, 1.0, 0.9, "raw", "raw"),
        ("unknown", None, 1.0, 1.0, "sampling", "sampling"),
        ("raw", "a penalty", 1.0, 1.0, "raw", "raw"),
    ],
)
def test_the_kind_is_that_of_the_settings(reported, doubt, temperature, top_p, answer, score):
    found = Exactness(reported, doubt)
    assert found.kind(temperature, top_p, scored=False) == answer
    assert found.kind(temperature, top_p, scored=True) == score
    assert Exactness.from_json(found.as_json) == found


def test_odd_log_probabilities_are_no_steps():
    rows = [None, {}, {"token": "a"}, {"token": "a", "logprob": -1.0, "top_logprobs": []}]
    rows += [{"token": "a", "logprob": None, "top_logprobs": [{"logprob": -9999.0}, None]}]
    for given in (None, [], {"content": rows}, {"tokens": ["a"], "token_logprobs": [-1]}):
        assert parse_steps({"choices": [{"logprobs": given}]}, 5) == []


PROMPTS = pd.DataFrame({"uid": list("abcdef"), "prompt": [f"Say {i}." for i in range(6)]})


def made_calls(store):
    given = {"base_model": "sim/base", "target_models": ["sim/base"], "prompts": "sim/arena",
             "oracle_model": "sim/oracle", "proxy_model": "sim/judge", "max_retries": 0,
             "timeout": 3}  # fmt: skip
    return Calls(parse_settings(given), "generate_logs", store)


def generate(folder, own):
    calls = made_calls(ReplyStore(folder))
    provider = TableProvider(BACKEND, calls)
    answers = provider.generate(PROMPTS, own, draw=-1, seed=1)
    return answers, provider.score(answers, own, author=own), calls


def test_the_probe_is_paid_once_and_a_replay_without_it_is_raw(tmp_path, capsys):
    with Loopback() as server:
        own = policy(server)
        answers, scores, calls = generate(tmp_path / "store", own)
        asked = len(server.calls)
        generate(tmp_path / "store", own)
        generate(tmp_path / "store", own.model_copy(update={"name": "q"}))
        assert len(server.calls) == asked
    assert set(answers["logprob_kind"]) == set(scores["logprob_kind"]) == {"sampling"}
    old, kept = ReplyStore(tmp_path / "old"), calls.store  # as an earlier version kept replies
    for request in TableProvider(BACKEND, calls).answer_requests(PROMPTS, own, draw=-1, seed=1):
        old.keep(request, replace(kept.get(request).reply, logprob_kind="sampling"))
    capsys.readouterr()
    again = TableProvider(BACKEND, made_calls(old)).generate(PROMPTS, own, draw=-1, seed=1)
    assert set(again["logprob_kind"]) == {"raw"} and "count as raw" in capsys.readouterr().err


def test_a_text_that_is_cut_otherwise_costs_its_row_and_no_run(tmp_path, capsys):
    with Loopback() as server:
        own = policy(server)
        answers, _, calls = generate(tmp_path, own)
        answers["token_ids"] = None
        answers.at[0, "tokens"] = [c for c in answers.at[0, "answer"]]
        scores = TableProvider(BACKEND, calls).score(answers, own, author=own)
    assert scores["sequence_logp"].isna().tolist() == [True, *[False] * 5]
    assert pd.isna(scores["logprob_kind"][0]) and "1 of 6 logged answers" in capsys.readouterr().err
    assert not any(row[-1] for row in calls.rows.values())  # no failed call


@pytest.mark.parametrize("listed", [3, 4])
def test_a_drawn_token_that_is_listed_beside_the_likeliest_is_none_of_them(listed):
    likeliest = [("a", -0.7), ("b", -1.2), ("c", -2.0), ("d", -2.5)][:listed]
    top = [{"token": name, "logprob": p} for name, p in [("x", -9.0), *likeliest]]
    row = {"token": "x", "logprob": -9.0, "top_logprobs": top}
    (step,) = parse_steps({"choices": [{"logprobs": {"content": [row]}}]}, 4)
    assert step.top == (-0.7, -1.2, -2.0) and not step.is_listed
