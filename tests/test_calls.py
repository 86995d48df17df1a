"""Calls: each reply is asked for once and kept at once; limits, budget and failures hold."""

import asyncio
import gc
import os
import time
from collections import Counter
from types import SimpleNamespace

import pytest

from cje.errors import CJEError
from cje.models.prices import price_of
from cje.models.provider import ApiBackend, Backend, InProcessBackend
from cje.models.requests import CallFailed, Reply, Request, Requests
from cje.models.runner.budget import worst_cost
from cje.models.runner.calls import Calls, require_keys
from cje.models.runner.in_process import CLAIMED_AT_ONCE
from cje.models.runner.progress import CallProgress, duration
from cje.models.runner.rate_limiter import RateLimiter
from cje.models.runner.store import ReplyStore
from cje.models.runner.unusable import MOST_ATTEMPTS
from cje.models.runner.upkeep import forget_unusable
from cje.settings import parse_settings

MODEL = "openai/gpt-4o"
BASE = {"base_model": MODEL, "target_models": [MODEL], "max_retries": 2}


class Fake(Backend):
    """Answers by `behave(request, attempt)`: a Reply, or a CallFailed."""

    def __init__(self, behave=None, seconds: float = 0.0):
        self.behave = behave or (lambda request, attempt: reply())
        self.seconds = seconds
        self.asked: Counter = Counter()
        self.now = self.most = 0
        self.connections = self.closed = 0
        self.times: list[float] = []
        self.notes: list[str] = []

    def check(self, name, role, policy):
        raise NotImplementedError

    def answer(self, policy, prompt):
        raise NotImplementedError


class FakeBackend(Fake, ApiBackend):
    """A model over a network, of which a CallFailed is raised."""

    def connect(self, call_settings):
        self.connections += 1
        return self

    async def ask(self, request):
        self.times.append(time.monotonic())
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(self.seconds)
        self.now -= 1
        self.asked[request.key] += 1
        outcome = self.behave(request, self.asked[request.key])
        if isinstance(outcome, CallFailed):
            raise outcome
        return outcome

    async def close(self):
        self.closed += 1


class FakeLocal(Fake, InProcessBackend):
    """A model in this process."""

    def ask_many(self, requests):
        for request in reversed(requests):
            self.asked[request.key] += 1
            yield request, self.behave(request, self.asked[request.key])


def reply(text: str = "yes") -> Reply:
    return Reply(text=text, prompt_tokens=100, completion_tokens=10)


def questions(count: int, start: int = 0) -> list[Request]:
    return [
        Request("answer", MODEL, (("user", f"Say {i}."),), max_tokens=10, draw=0)
        for i in range(start, start + count)
    ]


def calls(folder, stage: str = "generate_logs", **changes) -> Calls:
    return Calls(parse_settings(BASE | changes), stage, ReplyStore(folder))


def texts(outcomes) -> list[str | None]:
    return [None if isinstance(o, CallFailed) else o.text for o in outcomes]


@pytest.mark.parametrize("backend", [FakeBackend, FakeLocal])
def test_replies_come_in_order_and_are_asked_for_once(tmp_path, backend):
    fake = backend(lambda request, attempt: reply(request.messages[0][1]))
    wanted = [*questions(5), *questions(3)]
    expected = [request.messages[0][1] for request in wanted]
    assert texts(calls(tmp_path).replies(wanted, fake, "t")) == expected
    assert len(fake.asked) == 5 and set(fake.asked.values()) == {1}
    assert texts(calls(tmp_path).replies(wanted, fake, "t")) == expected
    assert sum(fake.asked.values()) == 5
    assert texts(calls(tmp_path).replies(questions(7), fake, "t"))[5:] == ["Say 5.", "Say 6."]
    assert sum(fake.asked.values()) == 7


def test_what_is_kept_needs_no_connection_and_no_key(tmp_path):
    list(calls(tmp_path).replies(questions(3), FakeBackend(), "t"))
    fake = FakeBackend()
    fake.keys = ("NO_SUCH_API_KEY",)
    assert texts(calls(tmp_path).replies(questions(3), fake, "t")) == ["yes"] * 3
    assert fake.connections == 0
    with pytest.raises(CJEError, match="No provider API key found! Please set NO_SUCH_API_KEY"):
        list(calls(tmp_path).replies(questions(4), fake, "t"))


def test_concurrency_is_held_and_used_and_the_connection_closed(tmp_path):
    fake = FakeBackend(seconds=0.01)
    list(calls(tmp_path, concurrency=7).replies(questions(60), fake, "t"))
    assert fake.most == 7 and fake.closed == 1
    slow = FakeBackend(seconds=0.01)
    limits = {"openai": {"concurrency": 2}}
    list(calls(tmp_path, limits=limits).replies(questions(20, 100), slow, "t"))
    assert slow.most == 2


@pytest.mark.parametrize("backend", [FakeBackend, FakeLocal])
def test_requests_are_made_as_they_are_wanted_and_not_held(tmp_path, backend):
    gc.collect()  # what the errors of other tests hold
    alive = []

    def behave(request, attempt):
        if len(alive) < 3 and request.messages[0][1] in ("Say 5.", "Say 2500.", "Say 4999."):
            alive.append(sum(type(found) is Request for found in gc.get_objects()))
        return reply()

    def make(place: int) -> Request:
        return questions(1, place)[0]

    found = calls(tmp_path, concurrency=4).replies(Requests(5000, make), backend(behave), "t")
    assert sum(outcome.text == "yes" for outcome in found) == 5000
    at_once = 4 if backend is FakeBackend else CLAIMED_AT_ONCE
    assert len(alive) == 3 and max(alive) <= 2 * at_once + 10


def test_the_first_request_goes_alone_so_that_a_wrong_setting_costs_one_call(tmp_path):
    refusal = CallFailed("the model refuses temperature; set temperature: null", fatal=True)
    fake = FakeBackend(lambda request, attempt: refusal)
    with pytest.raises(CJEError, match="refuses temperature; set temperature: null"):
        list(calls(tmp_path).replies(questions(50), fake, "t"))
    assert sum(fake.asked.values()) == 1 and fake.closed == 1


def test_a_reply_that_makes_no_sense_is_asked_for_again_and_a_sound_one_never(tmp_path):
    def behave(request, attempt):
        return reply() if attempt == 3 else CallFailed("the reply is not JSON", again=True)

    fake = FakeBackend(behave)
    assert texts(calls(tmp_path).replies(questions(20), fake, "t")) == ["yes"] * 20
    assert set(fake.asked.values()) == {3}


def test_what_the_sdk_gave_up_on_is_asked_once_more_at_the_end(tmp_path):
    down = CallFailed("the server failed: HTTP 500", again=True, retried=True)

    def behave(request, attempt):
        return down if request.messages[0][1] in ("Say 3.", "Say 4.") and attempt == 1 else reply()

    fake = FakeBackend(behave)
    assert texts(calls(tmp_path).replies(questions(10), fake, "t")) == ["yes"] * 10
    assert sorted(fake.asked.values()) == [1] * 8 + [2] * 2


def test_few_failures_are_kept_as_such_and_asked_again_in_the_next_run(tmp_path):
    def behave(request, attempt):
        return CallFailed("the prompt is too long") if "Say 7." in str(request) else reply()

    stage = calls(tmp_path, max_failed_fraction=0.1)
    fake = FakeBackend(behave)
    outcomes = list(stage.replies(questions(10), fake, "t"))
    assert texts(outcomes) == ["yes"] * 7 + [None] + ["yes"] * 2
    assert outcomes[7].reason == "the prompt is too long"
    table = stage.table()
    assert table["reason"].tolist() == [None] * 7 + ["the prompt is too long"] + [None] * 2
    fixed = FakeBackend()
    assert texts(calls(tmp_path).replies(questions(10), fixed, "t")) == ["yes"] * 10
    assert sum(fixed.asked.values()) == 1


def test_too_many_failures_stop_the_stage_with_their_reasons_and_lose_nothing(tmp_path):
    def behave(request, attempt):
        number = int(request.messages[0][1][4:-1])
        return reply() if number < 20 else CallFailed(f"reason {'ab'[number % 2]}")

    fake = FakeBackend(behave)
    stage = calls(tmp_path, concurrency=4, max_failed_fraction=0.05)
    with pytest.raises(CJEError) as error:
        list(stage.replies(questions(400), fake, "t"))
    lines = str(error.value).splitlines()
    assert "of 400 calls failed (max_failed_fraction 0.05)" in lines[0]
    assert {line.split(" x ")[1] for line in lines[1:3]} == {"reason a", "reason b"}
    assert "fix the cause and run again" in lines[-1] and len(lines) <= 5
    assert sum(fake.asked.values()) < 60  # it stopped long before the end
    assert sum(stage.store.holds(request) for request in questions(20)) == 20


def test_a_budget_is_never_passed_and_the_run_goes_on_when_it_is_raised(tmp_path):
    price = price_of(MODEL)
    each = price.cost(100, 10)
    fake = FakeBackend(seconds=0.001)
    most = round(10.5 * each, 9)
    with pytest.raises(CJEError, match=r"max_cost_usd: .* Raise max_cost_usd and run again"):
        list(calls(tmp_path, max_cost_usd=most, concurrency=8).replies(questions(40), fake, "t"))
    first = sum(fake.asked.values())
    assert first * each <= most
    assert most < first * each + worst_cost(questions(1)[0], price) + 1e-12  # it went to the end
    again = FakeBackend()
    with pytest.raises(CJEError, match="max_cost_usd"):
        list(calls(tmp_path, max_cost_usd=most).replies(questions(40), again, "t"))
    assert sum(again.asked.values()) == 0  # what was spent before counts
    more = calls(tmp_path, max_cost_usd=100)
    assert texts(more.replies(questions(40), again, "t")) == ["yes"] * 40
    assert sum(again.asked.values()) == 40 - first
    assert more.table()["cost_usd"].sum() == pytest.approx(40 * each)


def test_a_bound_needs_a_price(tmp_path):
    wanted = [Request("answer", "openai/unheard-of", (("user", "?"),))]
    with pytest.raises(CJEError, match="price of openai/unheard-of is not known"):
        list(calls(tmp_path, max_cost_usd=1).replies(wanted, FakeBackend(), "t"))
    prices = {"openai/unheard-of": {"input": 1.0, "output": 1.0}}
    stage = calls(tmp_path, max_cost_usd=1, prices=prices)
    assert texts(stage.replies(wanted, FakeBackend(), "t")) == ["yes"]
    assert stage.table()["cost_usd"].tolist() == [110 / 1e6]


def test_requests_and_tokens_a_minute_are_held(tmp_path):
    fake = FakeBackend()
    list(calls(tmp_path, requests_per_minute=6000).replies(questions(21), fake, "t"))
    assert fake.times[-1] - fake.times[0] >= 20 * 0.01 * 0.99
    other = FakeBackend()
    limits = {"openai": {"tokens_per_minute": 120_000}}
    wanted = questions(11, 100)
    list(calls(tmp_path, limits=limits).replies(wanted, other, "t"))
    assert other.times[-1] - other.times[0] >= 10 * 10 / 2000 * 0.99


def test_a_pace_spaces_units_evenly_and_catches_up_with_nothing(monkeypatch):
    clock = [100.0]

    async def sleep(seconds):
        clock[0] += seconds

    monkeypatch.setattr(
        "cje.models.runner.rate_limiter.time", SimpleNamespace(monotonic=lambda: clock[0])
    )
    monkeypatch.setattr("cje.models.runner.rate_limiter.asyncio", SimpleNamespace(sleep=sleep))

    async def take():
        limiter, moments = RateLimiter(6000), []
        for units in (1, 1, 3, 1):
            await limiter.take(units)
            moments.append(clock[0] - 100.0)
        clock[0] = 101.0  # what was not used is lost
        for _ in range(2):
            await limiter.take(1)
            moments.append(clock[0] - 100.0)
        return moments

    assert asyncio.run(take()) == pytest.approx([0, 0.01, 0.02, 0.05, 1.0, 1.01])


def test_two_stages_at_once_share_the_store_and_ask_nothing_twice(tmp_path):
    """Two processes: one of them asks slowly, the other waits for its replies."""
    import multiprocessing

    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(2) as pool:
        found = pool.map(_ask_slowly, [str(tmp_path)] * 2)
    assert [texts for texts, _ in found] == [["yes"] * 40] * 2
    assert sum(asked for _, asked in found) == 40
    assert len(ReplyStore(tmp_path)._model(MODEL).places) == 40


def _ask_slowly(folder: str) -> tuple[list[str | None], int]:
    fake = FakeBackend(seconds=0.05)
    found = texts(calls(folder, concurrency=4).replies(questions(40), fake, "t"))
    return found, sum(fake.asked.values())


@pytest.mark.parametrize(
    ("room", "asked", "words"),
    [(0, 0, "the reply store cannot be written"), (100, 1, "a reply cannot be kept")],
)
def test_a_full_disk_stops_the_run_in_words(tmp_path, monkeypatch, room, asked, words):
    """Without room for a claim before any call, without room for the reply after the first."""
    write = os.write

    def full(descriptor, data):
        if len(data) > room:
            raise OSError(28, "No space left")
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", full)
    fake = FakeBackend()
    with pytest.raises(CJEError, match=rf"{words} \(No space left\).*CJE_STORE"):
        list(calls(tmp_path).replies(questions(3), fake, "t"))
    assert sum(fake.asked.values()) == asked
    assert not list((tmp_path / "claimed").iterdir())


def useless(request, attempt):
    """Half of the questions get a reply that was paid for and is of no use."""
    number = int(request.messages[0][1].split()[1].rstrip("?."))
    return CallFailed("of no use", again=True, billed=True) if number % 2 else reply()


def test_replies_of_no_use_are_paid_counted_and_asked_a_few_times_over_all_runs(tmp_path):
    """Four times in all, however often it is run; their dollars count, and a word asks again."""
    worst = worst_cost(questions(1)[0], price_of(MODEL))
    lenient = {"max_failed_fraction": 1.0, "max_cost_usd": 100}
    asked = Counter()
    for _ in range(4):
        fake = FakeBackend(useless)
        stage = calls(tmp_path, max_retries=1, **lenient)
        found = texts(stage.replies(questions(6), fake, "t"))
        assert found == ["yes", None] * 3
        asked += fake.asked
        stage.store.members.leave()
    keys = [request.key for request in questions(6)]
    assert [asked[key] for key in keys] == [1, MOST_ATTEMPTS] * 3
    table = stage.table()
    assert table["reason"][1] == "of no use (asked 4 times in all)"
    assert table["cost_usd"][1] == pytest.approx(MOST_ATTEMPTS * worst)
    assert stage.budget.spent == pytest.approx(table["cost_usd"].sum())
    assert forget_unusable(tmp_path, really=True) == 3
    fake = FakeBackend()
    again = calls(tmp_path, **lenient)
    assert texts(again.replies(questions(6), fake, "t")) == ["yes"] * 6
    assert sum(fake.asked.values()) == 3


@pytest.mark.parametrize(("first", "asked"), [(1, 0), (2, 1)])
def test_what_is_not_asked_any_more_is_among_the_first_looked_at(tmp_path, first, asked):
    """Question 1 was asked four times in all: the look sees its reason, and is not put off."""
    lenient = {"max_failed_fraction": 1.0, "max_cost_usd": 100}
    stage = calls(tmp_path, max_retries=MOST_ATTEMPTS - 1, **lenient)
    list(stage.replies(questions(1, 1), FakeBackend(useless), "t"))
    seen, fake = [], FakeBackend()

    def look(outcomes):
        seen[:] = [getattr(outcome, "reason", "a reply") for outcome in outcomes]
        return "no more"

    with pytest.raises(CJEError, match="no more"):
        list(calls(tmp_path, **lenient).replies(questions(9, 1), fake, "t", first=first, look=look))
    assert seen == ["of no use (asked 4 times in all)", "a reply"][:first]
    assert sum(fake.asked.values()) == asked


def test_a_reply_after_one_of_no_use_costs_both(tmp_path):
    def behave(request, attempt):
        return reply() if attempt > 1 else CallFailed("of no use", again=True, billed=True)

    stage = calls(tmp_path)
    list(stage.replies(questions(1), FakeBackend(behave), "t"))
    price, worst = price_of(MODEL), worst_cost(questions(1)[0], price_of(MODEL))
    assert stage.table()["cost_usd"].tolist() == [pytest.approx(price.cost(100, 10) + worst)]
    assert stage.budget.spent == pytest.approx(price.cost(100, 10) + worst)


def test_calls_wait_for_the_budget_under_every_policy_of_a_stage(tmp_path):
    """Each group of calls has an event loop of its own; none outlives another's."""
    worst = worst_cost(questions(1)[0], price_of(MODEL))
    stage = calls(tmp_path, max_cost_usd=1.0, concurrency=8)
    each = price_of(MODEL).cost(100, 10)
    stage.budget.most = 2.5 * worst + 3 * each
    for start in range(0, 9, 3):  # the bound makes them wait and never stops them
        fake = FakeBackend(seconds=0.01)
        assert texts(stage.replies(questions(3, start), fake, "t")) == ["yes"] * 3
        assert fake.most == 2
        stage.budget.most += 3 * each


def spend_slowly(folder: str, temperature: float, most: float) -> tuple[int, str]:
    fake = FakeBackend(seconds=0.05)
    stage = calls(folder, max_cost_usd=most, concurrency=8, temperature=temperature)
    start = int(temperature * 1000)
    try:
        list(stage.replies(questions(40, start), fake, "t"))
    except CJEError as error:
        return sum(fake.asked.values()), str(error)
    return sum(fake.asked.values()), ""


@pytest.mark.parametrize("temperatures", [(0.5, 0.5), (0.5, 0.7)])
def test_processes_at_once_share_one_bound(tmp_path, temperatures):
    """Of the same settings or of others; what each has in flight counts for the other."""
    import multiprocessing

    most = round(10.5 * price_of(MODEL).cost(100, 10), 9)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        jobs = [(str(tmp_path), temperature, most) for temperature in temperatures]
        found = pool.starmap(spend_slowly, jobs)
    asked = sum(count for count, _ in found)
    assert 0 < asked * price_of(MODEL).cost(100, 10) <= most
    assert all("max_cost_usd" in words for _, words in found)
    if len(set(temperatures)) == 2:
        assert any("by runs at the same time" in words for _, words in found)


def test_keys_are_named_together_and_only_those_that_are_needed(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("ANTHROPIC_API_KEY", " ")
    one, two, none = FakeBackend(), FakeBackend(), FakeBackend()
    one.keys, two.keys = ("ANTHROPIC_API_KEY",), ("OPENAI_API_KEY",)
    with pytest.raises(CJEError, match="Please set OPENAI_API_KEY and ANTHROPIC_API_KEY in"):
        require_keys([one, two, none])
    monkeypatch.setenv("OPENAI_API_KEY", "a-key")
    with pytest.raises(CJEError, match="Please set ANTHROPIC_API_KEY in"):
        require_keys([one, two])
    require_keys([two, none])


def test_progress_says_rate_cost_and_time_left(capsys):
    progress = CallProgress("base: answers", 100, 20)
    with progress:
        progress.started -= 10
        progress.step(usd=0.01)
        assert progress.facts() == "waiting for replies, 20 kept, $0.01"  # one tells no rate
        for _ in range(39):
            progress.step(usd=0.01)
        progress.step(failed=True)
        facts = progress.facts()
    assert "4.1/s" in facts and "$0.40" in facts and "1 failed" in facts and "10 s left" in facts
    assert "base: answers: 60 of 100; " in capsys.readouterr().err


def test_durations_in_words():
    assert [duration(s) for s in (0.4, 8, 200, 7500)] == ["0 s", "8 s", "3 min 20 s", "2 h 5 min"]
