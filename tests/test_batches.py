"""Batches: the real SDKs against the loopback server, over kills, faults, failures and restarts."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from cje.errors import CJEError
from cje.models.addresses import request_address
from cje.models.provider import JudgePrompt
from cje.models.providers import batch_apis
from cje.models.providers.anthropic import BACKEND as ANTHROPIC
from cje.models.providers.openai import BACKEND as OPENAI
from cje.models.requests import CallFailed, Reply, Request
from cje.models.runner import batches
from cje.models.runner.batches import run_batches
from cje.models.runner.journal import Journal, request_from
from cje.models.runner.sightings import Sighting
from cje.models.runner.upkeep import live_batches
from cje.settings import Policy
from loopback import Loopback
from loopback_batches import Batch

KEYS = {"openai": "sk-proj-not-a-key-012345678", "anthropic": "sk-ant-api03-not-a-key-0123"}
MODELS = {"openai": "gpt-4o-mini", "anthropic": "claude-haiku-4-5"}
BACKENDS = {"openai": OPENAI, "anthropic": ANTHROPIC}
PATHS = {"openai": "/v1/batches", "anthropic": "/v1/messages/batches"}
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"reason": {"type": "string"}, "score": {"type": "number"}},
        "required": ["reason", "score"],
        "additionalProperties": False,
    }
)


class Killed(BaseException):
    """The process is gone."""


@pytest.fixture(params=["openai", "anthropic"])
def provider(request):
    return request.param


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(batches, "BACKOFF_SECONDS", 0.01)
    monkeypatch.setattr(batch_apis, "RETRIES", 0)
    with Loopback() as loopback:
        for name, path in (("OPENAI", "/v1"), ("ANTHROPIC", "")):
            monkeypatch.setenv(f"{name}_BASE_URL", loopback.url + path)
            monkeypatch.setenv(f"{name}_API_KEY", KEYS[name.lower()])
        yield loopback


class Bench:
    """A provider's journal in a folder, and what was kept: (request, outcome) in order."""

    def __init__(self, provider, folder):
        self.provider, self.path = provider, folder / "batches" / f"{provider}.jsonl"
        self.kept: list[tuple[Request, Reply | CallFailed]] = []

    def requests(self, *names, model=None, **more) -> list[Request]:
        policy = Policy(
            name="p", model=model or MODELS[self.provider], temperature=0.5, top_p=None,
            max_tokens=12, **more,
        )  # fmt: skip
        return [BACKENDS[self.provider].answer(policy, f"What is {name}?") for name in names]

    def keep(self, request, outcome):
        self.kept.append((request, outcome))

    def run(self, requests, **more):
        given = {"keep": self.keep, "wait": 0.01} | more
        return run_batches(requests, self.provider, self.path, **given)

    @property
    def replies(self) -> dict[str, Reply]:
        return {request.key: r for request, r in self.kept if isinstance(r, Reply)}

    def notes(self, what) -> list[dict]:
        lines = self.path.read_text(encoding="utf-8").splitlines()
        return [note for note in map(json.loads, lines) if what in note]


@pytest.fixture
def bench(provider, tmp_path):
    return Bench(provider, tmp_path)


def keys(requests) -> set[str]:
    return {request.key for request in requests}


def made(server) -> list[Batch]:
    return list(server.batches.made.values())


def asked(batch: Batch) -> set[str]:
    return {custom_id for custom_id, _, _ in batch.rows}


def kill_at_create(monkeypatch, provider, *, after: bool):
    """The next batch is made, or not, and the process is gone before it can note it."""
    api, create = batch_apis.BATCH_APIS[provider], batch_apis.BATCH_APIS[provider].create

    def killed(self, prepared, tag):
        monkeypatch.setattr(api, "create", create)
        if after:
            create(self, prepared, tag)
        raise Killed

    monkeypatch.setattr(api, "create", killed)


# Answers and judgements


def test_every_request_gets_the_reply_of_a_single_call(server, bench):
    requests = bench.requests("jazz", "tea", "chess", system_prompt="Be kind.\u2028Be brief.")
    assert bench.run(requests) == []
    assert bench.replies.keys() == keys(requests) and len(bench.kept) == 3
    for reply in bench.replies.values():
        assert reply.text and reply.prompt_tokens > 0 and reply.finish_reason in ("stop", "length")
    assert (bench.provider == "openai") == all(r.token_logprobs for r in bench.replies.values())
    assert len(made(server)) == 1 and asked(made(server)[0]) == keys(requests)
    assert not server.calls, "no single call was made"


def test_judgements_go_in_batches_too(server, bench):
    messages = [(("user", f"Judge from 0 to 10: {name}"),) for name in ("jazz", "tea")]
    backend, name = BACKENDS[bench.provider], MODELS[bench.provider]
    requests = [backend.judgement(name, JudgePrompt(message, SCHEMA)) for message in messages]
    assert bench.run(requests) == []
    scores = [json.loads(bench.replies[request.key].text)["score"] for request in requests]
    assert all(0 <= score <= 10 for score in scores)


def test_what_is_in_no_batch_is_split_by_the_limits(server, bench, monkeypatch):
    monkeypatch.setattr(batch_apis.BATCH_APIS[bench.provider], "most_requests", 3)
    requests = bench.requests(*"abcdefgh")
    assert bench.run(requests) == []
    assert sorted(len(batch.rows) for batch in made(server)) == [2, 3, 3]
    assert bench.replies.keys() == keys(requests)


def test_what_is_too_large_is_split_by_its_bytes(server, bench, monkeypatch):
    monkeypatch.setattr(batch_apis.BATCH_APIS[bench.provider], "most_bytes", 1000)
    requests = bench.requests("a" * 400, "b" * 400, "c" * 5000, "d")
    assert bench.run(requests) == []
    assert sorted(len(batch.rows) for batch in made(server)) == [1, 1, 2] or len(made(server)) == 4
    assert bench.replies.keys() == keys(requests)


def test_a_batch_holds_one_model(server, bench):
    other = {"openai": "gpt-4o", "anthropic": "claude-sonnet-4-5"}[bench.provider]
    requests = bench.requests("a", "b") + bench.requests("a", "c", model=other)
    assert bench.run(requests) == []
    assert len(made(server)) == 2 and bench.replies.keys() == keys(requests)


def test_an_address_of_its_own_is_its_own_batch(server, bench):
    with Loopback() as other:
        there = bench.requests("a", base_url=other.url + "/v1")
        here = bench.requests("a")
        assert bench.run(there + here) == []
        assert [asked(batch) for batch in made(other)] == [keys(there)]
        assert [asked(batch) for batch in made(server)] == [keys(here)]


def test_progress_is_told_while_it_waits(server, bench):
    server.batches.polls, told = 4, []
    bench.run(bench.requests("a", "b"), progress=told.append)
    assert len(told) >= 4 and (told[-1].done, told[-1].total, told[-1].failed) == (2, 2, 0)
    states = {"openai": ("in_progress", "completed"), "anthropic": ("in_progress", "ended")}
    assert (told[0].state, told[-1].state) == states[bench.provider]
    (batch,) = made(server)
    assert {seen.batch for seen in told} == {batch.id} and told[-1].made.startswith("2026-")
    assert Journal(bench.path).seen(batch.id) == told[-1]


def test_an_interrupt_names_the_batch_and_the_store_says_how_far_it_is(server, bench, monkeypatch):
    server.batches.polls = 4

    def interrupt(seen):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as stopped:
        bench.run(bench.requests("a", "b"), progress=interrupt)
    (batch,) = made(server)
    words = str(stopped.value)
    assert batch.id in words and "dvc repro" in words and "pays nothing twice" in words
    (live,) = live_batches(bench.path.parents[1])
    assert (live.id, live.requests, live.problem) == (batch.id, 2, None)
    assert live.seen.state == "in_progress" and f"batch {batch.id}: in_progress, 0 of" in str(live)
    server.require_key = "another"
    (live,) = live_batches(bench.path.parents[1])
    assert "no look now: access is denied" in str(live) and live.seen is not None
    headers = {bench.provider: {"X-Team": "TEAM_TOKEN"}}
    (live,) = live_batches(bench.path.parents[1], headers=headers)
    assert live.problem == "extra_headers: X-Team: TEAM_TOKEN is not set in the environment"
    monkeypatch.delenv(f"{bench.provider.upper()}_API_KEY")
    (live,) = live_batches(bench.path.parents[1])
    assert live.problem == f"{bench.provider.upper()}_API_KEY is not set"
    monkeypatch.setenv(f"{bench.provider.upper()}_API_KEY", KEYS[bench.provider])
    server.require_key = None
    assert bench.run(bench.requests("a", "b")) == [] and len(made(server)) == 1
    assert live_batches(bench.path.parents[1]) == []


def test_the_limits_are_below_those_of_the_providers():
    assert batch_apis.OpenAIBatches.most_requests == 50_000
    assert batch_apis.OpenAIBatches.most_bytes < 200_000_000
    assert batch_apis.AnthropicBatches.most_requests == 100_000
    assert batch_apis.AnthropicBatches.most_bytes < 256_000_000


# Killed, and started again


def test_a_batch_that_was_made_but_not_noted_is_found_again(server, bench, monkeypatch):
    requests = bench.requests("a", "b", "c")
    kill_at_create(monkeypatch, bench.provider, after=True)
    with pytest.raises(Killed):
        bench.run(requests)
    assert not bench.notes("submitted") and len(made(server)) == 1
    assert bench.run(requests) == []
    assert len(made(server)) == 1 and bench.replies.keys() == keys(requests)


def test_a_batch_that_was_noted_but_not_made_is_made(server, bench, monkeypatch):
    requests = bench.requests("a", "b")
    kill_at_create(monkeypatch, bench.provider, after=False)
    with pytest.raises(Killed):
        bench.run(requests)
    assert bench.run(requests) == []
    assert len(made(server)) == 1 and bench.replies.keys() == keys(requests)
    assert len(bench.notes("void")) == 1


def decoy(provider: str, size: int) -> None:
    """A batch of somebody else, of as many requests."""
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    bodies = {f"other-{i}": body for i in range(size)}
    api = batch_apis.BATCH_APIS[provider](request_address(f"{provider}/"))
    api.create(api.prepare(bodies), "other")
    api.close()


@pytest.mark.parametrize("was_made", [True, False])
def test_another_batch_of_the_same_size_is_not_taken_for_ours(server, bench, monkeypatch, was_made):
    requests = bench.requests("a", "b")
    decoy(bench.provider, 2)
    kill_at_create(monkeypatch, bench.provider, after=was_made)
    with pytest.raises(Killed):
        bench.run(requests)
    decoy(bench.provider, 2)
    decoy(bench.provider, 3)
    assert bench.run(requests) == []
    ours = [batch for batch in made(server) if asked(batch) == keys(requests)]
    assert len(ours) == 1 and bench.replies.keys() == keys(requests)
    if bench.provider == "anthropic":  # that after ours of as many requests, and no other
        assert len(bench.notes("found")[0]["ids"]) == 1 + was_made


def test_a_batch_that_a_note_names_is_not_taken_for_a_lost_one(server, bench):
    assert bench.run(bench.requests("a", "b")) == []
    fields = [json.loads(request.canonical) for request in bench.requests("c", "d")]
    Journal(bench.path).note(intent="lost", after=None, requests=fields)
    assert bench.run(bench.requests("c", "d")) == []
    assert len(made(server)) == 2 and not bench.notes("found")


def test_a_restart_while_waiting_goes_on_waiting(server, bench):
    server.batches.polls = 3
    requests = bench.requests("a", "b")

    def stop(seen):
        raise Killed

    for _ in range(2):
        with pytest.raises(Killed):
            bench.run(requests, progress=stop)
    assert bench.run(requests) == []
    assert len(made(server)) == 1 and len(bench.kept) == 2


def test_a_restart_while_collecting_keeps_each_reply_once(server, bench):
    requests = bench.requests(*"abcde")

    def killed_soon(request, outcome):
        if len(bench.kept) == 3:
            raise Killed
        bench.keep(request, outcome)

    with pytest.raises(Killed):
        bench.run(requests, keep=killed_soon)
    have = set(bench.replies)
    missing = [request for request in requests if request.key not in have]
    assert bench.run(missing, held=lambda request: request.key in have) == []
    assert len(bench.kept) == 5 and bench.replies.keys() == keys(requests)
    assert len(made(server)) == 1


def test_what_is_in_a_batch_is_not_submitted_again_and_what_is_not_is(server, bench):
    def stop(seen):
        raise Killed

    with pytest.raises(Killed):
        bench.run(bench.requests("a", "b", "c"), progress=stop)
    assert bench.run(bench.requests("b", "c", "d", "e")) == []
    assert [asked(batch) for batch in made(server)] == [
        keys(bench.requests("a", "b", "c")),
        keys(bench.requests("d", "e")),
    ]
    assert bench.replies.keys() == keys(bench.requests(*"abcde")), "a was paid for: it is kept"


def test_a_batch_that_nobody_wants_is_left_alone(server, bench):
    def stop(seen):
        raise Killed

    with pytest.raises(Killed):
        bench.run(bench.requests("a"), progress=stop)
    assert bench.run(bench.requests("b")) == []
    assert bench.replies.keys() == keys(bench.requests("b"))
    assert [len(entry.requests) for entry in journal(bench).live()] == [1]


def journal(bench) -> Journal:
    book = Journal(bench.path)
    book.refresh()
    return book


@pytest.mark.parametrize("torn", [b'{"submitted":"', b"\xff\xfe\n", b"[1]\n{}\nnull\n"])
def test_a_damaged_journal_is_read_past_the_damage(server, bench, torn):
    def stop(seen):
        raise Killed

    requests = bench.requests("a", "b")
    with pytest.raises(Killed):
        bench.run(requests, progress=stop)
    with bench.path.open("ab") as file:
        file.write(torn)
    assert bench.run(requests) == [] and len(made(server)) == 1
    assert journal(bench).live() == []


def test_a_lost_note_of_a_batch_is_as_a_kill_before_it(server, bench):
    def stop(seen):
        raise Killed

    requests = bench.requests("a", "b")
    with pytest.raises(Killed):
        bench.run(requests, progress=stop)
    lines = bench.path.read_bytes().splitlines(keepends=True)
    bench.path.write_bytes(lines[0] + lines[1][:20])
    assert bench.run(requests) == [] and len(made(server)) == 1
    assert bench.replies.keys() == keys(requests)


def test_the_journal_is_on_the_disk_before_the_batch_is_made(server, bench, monkeypatch):
    seen, create = [], batch_apis.BATCH_APIS[bench.provider].create

    def watched(self, prepared, tag):
        seen.extend(bench.notes("intent"))
        return create(self, prepared, tag)

    monkeypatch.setattr(batch_apis.BATCH_APIS[bench.provider], "create", watched)
    requests = bench.requests("a", "b")
    bench.run(requests)
    assert [request_from(fields) for fields in seen[0]["requests"]] == requests


# Two at once


def test_two_pipelines_at_once_submit_once_and_keep_once(server, bench):
    server.batches.polls = 6
    both, own = bench.requests(*"abcd"), bench.requests("e")
    results, ready = {}, threading.Barrier(2)

    def work(name, requests):
        ready.wait()
        results[name] = bench.run(requests)

    threads = [
        threading.Thread(target=work, args=("one", both)),
        threading.Thread(target=work, args=("two", both + own)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {"one": [], "two": []}
    assert sorted(request.key for request, _ in bench.kept) == sorted(keys(both + own))
    assert sum(len(batch.rows) for batch in made(server)) == 5


def test_threads_of_one_process_keep_what_they_saw_of_a_batch_at_once(tmp_path):
    def look(number):
        seen = Sighting("batch", "in_progress", number, 0, 20, "2026-01-01T00:00:00+00:00")
        for _ in range(40):
            Journal(tmp_path / "journal.jsonl").see(seen)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(look, range(4)))
    assert Journal(tmp_path / "journal.jsonl").seen("batch").done in range(4)
    assert len(list((tmp_path / "looks").iterdir())) == 1


# What goes wrong


@pytest.mark.parametrize("outcome", ["expired", "canceled", "errored", "no-choices"])
def test_what_did_not_succeed_comes_back_to_be_asked_again(server, bench, outcome):
    if outcome == "no-choices" and bench.provider == "anthropic":
        pytest.skip("its replies have no choices")
    good, bad = bench.requests("a", "b"), bench.requests("c")
    server.batches.outcome = lambda key, body: outcome if key == bad[0].key else None
    ((request, failed),) = bench.run(good + bad)
    assert request == bad[0] and failed.again and not failed.fatal and failed.reason
    assert bench.replies.keys() == keys(good)
    assert (bad[0], failed) in bench.kept
    server.batches.outcome = None
    assert bench.run(bad) == [] and bench.replies.keys() == keys(good + bad)
    assert asked(made(server)[1]) == keys(bad)


def test_a_setting_that_the_model_refuses_is_fatal(server, bench):
    requests = bench.requests("a", model=f"{bench.provider}/x-notemp")
    ((_, failed),) = bench.run(requests)
    assert (failed.fatal or failed.doubtful) and "temperature" in failed.reason


def test_a_failure_is_told_to_whoever_did_not_collect_it(server, bench):
    requests = bench.requests("a", "b")
    server.batches.outcome = lambda key, body: "expired" if key == requests[0].key else None
    bench.run(requests)
    note = bench.notes("collected")[0]
    (entry,) = journal(bench).entries.values()
    assert note["failed"].keys() == entry.failed.keys() == keys(requests[:1])
    assert entry.failed[requests[0].key].again and not entry.failed[requests[0].key].fatal


def test_a_batch_that_is_refused_says_why(server, bench):
    server.script([None, "400-temperature"], PATHS[bench.provider])
    requests = bench.requests("a", "b")
    failures = bench.run(requests)
    assert keys(request for request, _ in failures) == keys(requests)
    assert all("temperature" in failed.reason for _, failed in failures)
    assert all(failed.fatal or failed.doubtful for _, failed in failures)
    assert journal(bench).live() == [] and len(bench.notes("void")) == 1


def test_a_wrong_key_is_fatal_and_is_not_told(server, bench):
    server.require_key = "another"
    failures = bench.run(bench.requests("a"))
    assert failures[0][1].fatal
    assert KEYS[bench.provider][:10] not in failures[0][1].reason + bench.path.parent.as_posix()


def test_a_file_that_openai_cannot_use_fails_every_request(server, tmp_path, monkeypatch):
    monkeypatch.setattr(batch_apis.OpenAIBatches, "endpoint", "/v1/completions")
    bench = Bench("openai", tmp_path)
    prepare = batch_apis.OpenAIBatches.prepare

    def spoiled(self, bodies):
        monkeypatch.setattr(self, "endpoint", "/v1/chat/completions", raising=False)
        name = prepare(self, bodies)
        self.endpoint = "/v1/completions"
        return name

    monkeypatch.setattr(batch_apis.OpenAIBatches, "prepare", spoiled)
    failures = bench.run(bench.requests("a", "b"))
    assert len(failures) == 2
    assert all(f.fatal and "does not match the batch endpoint" in f.reason for _, f in failures)


@pytest.mark.parametrize("fault", ["reset-body", "500", "hangup", "429-bare"])
def test_a_batch_that_may_have_been_made_is_looked_for_before_it_is_made_again(
    server, bench, fault
):
    server.script([None, fault], PATHS[bench.provider])
    requests = bench.requests("a", "b")
    assert bench.run(requests) == []
    assert bench.replies.keys() == keys(requests)
    # The loopback server makes a batch whatever becomes of its answer; a real 429 makes none.
    assert len(made(server)) == (2 if fault == "429-bare" else 1)


def test_a_server_that_stays_broken_fails_what_it_was_asked_and_no_more(server, bench):
    server.script([None] + ["503"] * 40, PATHS[bench.provider])
    requests = bench.requests("a", "b")
    failures = bench.run(requests)
    assert all(failed.again for _, failed in failures) and len(failures) == 2
    server._scripts.clear()
    assert bench.run(requests) == [] and len(made(server)) <= 1 + batches.ATTEMPTS
    assert sum(asked(batch) == keys(requests) for batch in made(server)) == len(made(server))


def test_a_fault_while_waiting_is_waited_out(server, bench):
    server.script([None, None, "500", "reset", "429-bare"], PATHS[bench.provider])
    assert bench.run(bench.requests("a")) == [] and len(made(server)) == 1


def test_waiting_stops_in_words_when_no_look_succeeds(server, bench, monkeypatch):
    monkeypatch.setattr(batches, "LOOKS", 3)
    server.script([None, None] + ["500"] * 3, PATHS[bench.provider])
    requests = bench.requests("a")
    with pytest.raises(CJEError, match=rf"{bench.provider}: batch .*\n.*run again"):
        bench.run(requests)
    assert bench.run(requests) == [] and len(made(server)) == 1


def test_results_that_break_off_are_read_again_and_kept_once(server, bench):
    where = {"openai": "/v1/files/", "anthropic": "/v1/messages/batches/msgbatch_000001/results"}
    server.script(["reset-body", "truncated"], where[bench.provider])
    requests = bench.requests(*"abcdefghijkl")
    assert bench.run(requests) == []
    assert len(bench.kept) == 12 and bench.replies.keys() == keys(requests)


def test_a_batch_that_is_gone_is_made_again(server, bench):
    requests = bench.requests("a", "b")

    def gone(seen):
        if len(server.batches.made) == 1 and not bench.path.with_suffix(".gone").exists():
            bench.path.with_suffix(".gone").touch()
            server.batches.made["gone"] = server.batches.made.popitem()[1]

    server.batches.polls = 8
    assert bench.run(requests, progress=gone) == []
    assert bench.replies.keys() == keys(requests) and len(bench.notes("void")) == 1


def test_a_result_that_is_missing_is_a_failure(server, bench):
    requests = bench.requests("a", "b")
    server.batches.polls = 3

    def lose(seen):
        (batch,) = made(server)
        if not batch.ended:
            batch.rows[:] = [row for row in batch.rows if row[0] == requests[0].key]

    ((request, failed),) = bench.run(requests, progress=lose)
    assert request == requests[1] and failed.again and "without a result" in failed.reason


# The journal's requests


@pytest.mark.parametrize(
    "request_",
    [
        Request(kind="answer", model="m/n", messages=(("system", "é\u2028"), ("user", "x"))),
        Request(
            kind="score", model="m/n", messages=(("user", "x"),), temperature=0.1, top_p=1.0,
            tokens=("a", "b"), token_ids=(1, 2), ended=True, answer="ab", seed=2**63, draw=0,
            options=(("a", "b"),), uid="u", base_url="http://x", attempt=1, max_tokens=3,
            schema="{}",
        ),
    ],
)  # fmt: skip
def test_a_request_is_rebuilt_from_its_canonical_json(request_):
    rebuilt = request_from(json.loads(request_.canonical))
    assert rebuilt == request_ and rebuilt.key == request_.key
