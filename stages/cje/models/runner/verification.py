"""Does a model in this process still give the replies that a recording contains?

Answers are sampled again, and their recorded tokens scored; recorded scores are computed again. On
another processor logits are rounded differently, which changes a log-probability in the fifth
decimal and, rarely, a token, where the random number falls on the edge between two.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cje.errors import CJEError
from cje.models.names import split_model
from cje.models.provider import InProcessBackend
from cje.models.registry import backend_for
from cje.models.requests import CallFailed, Reply, Request
from cje.models.runner.recording import read_recording

TOLERANCE = 1e-3  # nats a token; between a GPU and a CPU 1e-4 is usual
TURNED = 0.05  # of the answers may come out with another token


@dataclass(frozen=True)
class Verification:
    """`scored` texts whose log-probabilities differ by `largest_gap` nats a token at the most, and
    `answers` of which `same` came out word for word; `problems`, a line each."""

    scored: int
    largest_gap: float
    answers: int
    same: int
    problems: list[str]


def ask_again(path: Path, count: int) -> Verification:
    """Ask `count` of the recording's answers and `count` of its scores again, the same each time.

    Raises CJEError where none is of a model in this process, and where that is not installed.
    """
    rows = read_recording(path).select(["key", "model", "request", "reply"]).to_pylist()
    rows.sort(key=lambda row: hashlib.blake2b(row["key"].encode(), digest_size=8).digest())
    recorded: dict[str, list[tuple[Request, Reply]]] = {"answer": [], "score": []}
    for row in rows:
        request = Request.from_json(row["request"])
        chosen, reply = recorded.get(request.kind), Reply.from_json(row["reply"])
        here = isinstance(backend_for(request.model), InProcessBackend)
        if here and reply.reasoning is None and chosen is not None and len(chosen) < count:
            chosen.append((request, reply))
    if not any(recorded.values()):
        raise CJEError(
            f"{path}: contains no reply of a model that runs in this process (local/...)"
        )
    own = [(_scoring(request, reply), reply) for request, reply in recorded["answer"]]
    scores = [*recorded["score"], *own]
    replies = _ask([request for request, _ in (*scores, *recorded["answer"])])
    problems, largest = [], 0.0
    for request, reply in scores:
        new = replies[request.key]
        gap = _gap(reply, new)
        largest = max(largest, gap)
        if not gap <= TOLERANCE:
            words = new.reason if isinstance(new, CallFailed) else f"off by {gap:.2g} nats a token"
            problems.append(f"{path}: {request.answer!r:.60}: {words}")
    same = sum(
        isinstance(new := replies[request.key], Reply) and new.text == reply.text
        for request, reply in recorded["answer"]
    )
    turned = len(recorded["answer"]) - same
    if turned > max(1, TURNED * len(recorded["answer"])):
        problems.append(
            f"{path}: {turned} of {len(recorded['answer'])} answers come out differently"
        )
    return Verification(len(scores), largest, len(recorded["answer"]), same, problems)


def _scoring(request: Request, reply: Reply) -> Request:
    """The request to score a recorded answer under the policy that gave it."""
    return Request(
        kind="score", model=request.model, messages=request.messages,
        temperature=request.temperature, top_p=request.top_p, answer=reply.text,
        token_ids=tuple(reply.token_ids or ()), ended=reply.finish_reason == "stop",
    )  # fmt: skip


def _ask(requests: Iterable[Request]) -> dict[str, Reply | CallFailed]:
    by_model: dict[str, list[Request]] = {}
    for request in {request.key: request for request in requests}.values():
        by_model.setdefault(request.model, []).append(request)
    found: dict[str, Reply | CallFailed] = {}
    for model, group in by_model.items():
        backend = backend_for(model)
        if isinstance(backend, InProcessBackend):
            backend.ready(split_model(model)[1])
            found |= {request.key: outcome for request, outcome in backend.ask_many(group)}
    return found


def _gap(recorded: Reply, new: Reply | CallFailed) -> float:
    """The largest difference a token; infinite where the tokens are not as many."""
    if isinstance(new, CallFailed):
        return float("inf")
    before, now = np.array(recorded.token_logprobs), np.array(new.token_logprobs)
    if before.shape != now.shape:
        return float("inf")
    same = before == now  # -inf on both sides is no difference
    return float(np.abs(np.where(same, 0, before) - np.where(same, 0, now)).max(initial=0.0))
