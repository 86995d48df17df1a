"""A recording asked again: what says the same passes, what says otherwise is told."""

from dataclasses import replace

import pytest

from cje.cli import main
from cje.errors import CJEError
from cje.models.provider import InProcessBackend
from cje.models.requests import CallFailed, Reply, Request
from cje.models.runner import verification
from cje.models.runner.recording import Record, write_recording
from cje.models.runner.verification import TOLERANCE, ask_again

MODEL = "local/stub"


class Stub(InProcessBackend):
    """A model in this process, of fixed replies; `change` alters them."""

    def __init__(self, change=lambda request, reply: reply):
        self.change, self.asked = change, []

    def ready(self, name: str) -> None:
        assert name == "stub"

    def check(self, name, role, policy):
        raise NotImplementedError

    def answer(self, policy, prompt):
        raise NotImplementedError

    def ask_many(self, requests):
        for request in requests:
            self.asked.append(request)
            yield request, self.change(request, reply_to(request))


def reply_to(request: Request) -> Reply:
    if request.kind == "score":
        logps = [-0.5, -1.25] if request.ended else [-0.5]
        return Reply(token_logprobs=logps, logprob_kind="sampling")
    return Reply(
        text=f"A {request.uid}", finish_reason="stop", tokens=["A", ""], token_ids=[1, 2],
        token_logprobs=[-0.5, -1.25], logprob_kind="sampling",
    )  # fmt: skip


def questions(count: int, model: str = MODEL) -> list[Request]:
    answers = [
        Request("answer", model, (("user", "Who?"),), temperature=0.7, uid=f"u{n}", draw=0)
        for n in range(count)
    ]
    scores = [
        Request("score", model, (("user", "Who?"),), answer=f"A u{n}", token_ids=(1,))
        for n in range(count)
    ]
    return answers + scores


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "r.parquet"
    write_recording(path, [
        Record(q.key, "2026-01-01T00:00:00Z", 0.0, q.canonical, reply_to(q).as_json)
        for q in questions(40)
    ])  # fmt: skip
    return path


@pytest.fixture
def backend(monkeypatch):
    found = Stub()
    monkeypatch.setattr(verification, "backend_for", lambda model: found)
    return found


def test_answers_and_scores_that_come_out_the_same(recording, backend):
    found = ask_again(recording, 8)
    assert (found.answers, found.same, found.scored) == (8, 8, 16)  # own answers are scored, too
    assert found.largest_gap == 0 and found.problems == []
    first, backend.asked = backend.asked, []
    ask_again(recording, 8)
    assert backend.asked == first  # the same ones every time
    assert {request.kind for request in first} == {"answer", "score"}


def test_a_rounding_passes_and_another_model_does_not(recording, backend):
    def off_by(gap):
        def change(request, reply):
            logps = [value + gap for value in reply.token_logprobs]
            return replace(reply, token_logprobs=logps)

        return change

    backend.change = off_by(TOLERANCE / 2)
    found = ask_again(recording, 8)
    assert found.problems == [] and found.largest_gap == pytest.approx(TOLERANCE / 2)
    backend.change = off_by(2 * TOLERANCE)
    found = ask_again(recording, 8)
    assert len(found.problems) == 16 and "nats a token" in found.problems[0]


def test_other_tokens_are_no_rounding(recording, backend):
    backend.change = lambda q, r: r if q.kind == "answer" else replace(r, token_logprobs=[-0.5] * 3)
    assert ask_again(recording, 8).largest_gap == float("inf")


@pytest.mark.parametrize("turned, problems", [(1, 0), (2, 1)])
def test_one_token_may_turn_and_no_more(recording, backend, turned, problems):
    left = [turned]

    def change(request, reply):
        if request.kind == "answer" and left[0]:
            left[0] -= 1
            return replace(reply, text="other")
        return reply

    backend.change = change
    found = ask_again(recording, 8)
    assert found.same == 8 - turned and len(found.problems) == problems


def test_a_call_that_fails_is_a_problem_with_its_reason(recording, backend):
    backend.change = lambda q, r: CallFailed("too long") if q.kind == "score" else r
    found = ask_again(recording, 4)
    assert found.problems and all("too long" in line for line in found.problems)


def test_a_recording_of_a_provider_cannot_be_asked(tmp_path):
    path = tmp_path / "r.parquet"
    asked = questions(2, "openai/gpt-4o")[:2]
    records = [Record(q.key, "2026", 0.0, q.canonical, reply_to(q).as_json) for q in asked]
    write_recording(path, records)
    with pytest.raises(CJEError, match="no reply of a model that runs in this process"):
        ask_again(path, 2)


def test_the_command_says_what_it_found_and_fails_on_a_difference(recording, backend, capsys):
    command = ["store", "verify", "--ask", "4", str(recording)]
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert not ended.value.code
    assert "4 of 4 answers sampled again are the same" in " ".join(capsys.readouterr().out.split())
    backend.change = lambda q, r: replace(r, token_logprobs=[-9.0])
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 1
