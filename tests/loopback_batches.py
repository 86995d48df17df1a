"""The batch interfaces of the loopback server: OpenAI's files and batches, Anthropic's batches.

A batch runs when it is made and ends after so many looks at it and so many seconds; its results
are out of order, as real ones are. Looks are GETs of the batch itself.
"""

import json
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

import loopback_faults as faults
from loopback_model import CREATED, Body, Refused, body_hash

MESSAGES = "/v1/messages"
STAMP = "2026-09-21T{:02}:00:00Z"


@dataclass
class Batch:
    """`rows`: (custom_id, outcome, reply or error body), in the order of the requests; an outcome
    is succeeded, errored, expired or canceled."""

    id: str
    anthropic: bool
    rows: list[tuple[str, str, Body | None]]
    hashes: list[str]
    made: float
    endpoint: str = MESSAGES
    source: str = ""
    metadata: Body | None = None
    looks: int = 0
    cancelled: bool = False
    ended: bool = False
    errors: list[Body] = field(default_factory=list)
    files: tuple[str | None, str | None] = (None, None)


class Batches:
    """`outcome(custom_id, body)`, if set, says what becomes of a request: errored, expired,
    canceled, one of `loopback_faults.CONTENT`, or None for success. `paid` counts, by body hash,
    the requests that ended well."""

    def __init__(self, reply: Callable[[str, Body, str], Body], polls: int, seconds: float):
        self.reply, self.polls, self.seconds = reply, polls, seconds
        self.outcome: Callable[[str, Body], str | None] | None = None
        self.paid: Counter[str] = Counter()
        self.made: dict[str, Batch] = {}
        self.files: dict[str, tuple[str, str, bytes]] = {}
        self.origin = ""

    async def handle(self, request: web.BaseRequest) -> Body | bytes:
        """The body that answers a request; raises Refused."""
        path, method = request.path, request.method
        self.origin = f"http://{request.host}"
        match = re.fullmatch(r"/v1/(files|batches|messages/batches)(?:/([\w-]+))?(?:/(\w+))?", path)
        if match is None:
            raise Refused(404, f"Unknown request URL: {method} {path}", code="unknown_url")
        what, name, action = match.groups()
        if what == "files":
            return await self._file(request, name, action)
        anthropic = what != "batches"
        if name is None:
            if method == "GET":
                return self._list(anthropic, request.query)
            made = json.loads(await request.read())
            batch = self._anthropic(made) if anthropic else self._openai(made)
            self.made[batch.id] = batch
            return self._described(batch)
        batch = self.made.get(name)
        if batch is None or batch.anthropic != anthropic:
            raise Refused(404, f"No batch found with id '{name}'.", code="not_found")
        if action == "cancel":
            batch.cancelled = batch.cancelled or not batch.ended
        elif action == "results":
            if not batch.ended:
                raise Refused(404, f"{name} has not ended")
            return _lines([self._result(row) for row in reversed(batch.rows)])
        else:
            batch.looks += 1
            self._advance(batch)
        return self._described(batch)

    async def _file(self, request: web.BaseRequest, name: str | None, action: str | None) -> Any:
        if name is None:
            form = await request.post()
            given: Any = form.get("file")
            if given is None or form.get("purpose") != "batch":
                raise Refused(400, "A file and its purpose, `batch`, are needed", "file")
            name = self._keep(given.filename, "batch", given.file.read())
        if name not in self.files:
            raise Refused(404, f"No such File object: {name}", "id")
        filename, purpose, data = self.files[name]
        if request.method == "DELETE":
            del self.files[name]
            return {"id": name, "object": "file", "deleted": True}
        if action == "content":
            return data
        return {
            "id": name,
            "object": "file",
            "bytes": len(data),
            "created_at": CREATED,
            "filename": filename,
            "purpose": purpose,
            "status": "processed",
        }

    def _keep(self, filename: str, purpose: str, data: bytes) -> str:
        name = f"file-{len(self.files) + 1:06d}"
        self.files[name] = filename, purpose, data
        return name

    def _openai(self, made: Body) -> Batch:
        source, endpoint = made.get("input_file_id"), made.get("endpoint")
        if source not in self.files:
            raise Refused(400, f"Invalid input_file_id: {source}", "input_file_id")
        if endpoint not in ("/v1/chat/completions", "/v1/completions"):
            raise Refused(400, f"Invalid endpoint: {endpoint}", "endpoint")
        asked, errors, seen = [], [], set()
        for number, line in enumerate(self.files[source][2].decode().splitlines(), 1):
            try:
                row = json.loads(line)
                custom_id, url, body = row["custom_id"], row["url"], row["body"]
            except (ValueError, KeyError):
                errors.append(_fault("invalid_json_line", "This line is no request.", number))
                continue
            if custom_id in seen:
                text = f"The custom_id for this request is a duplicate: {custom_id}"
                errors.append(_fault("duplicate_custom_id", text, number))
            elif url != endpoint or row.get("method") != "POST":
                text = "The URL provided for this request does not match the batch endpoint."
                errors.append(_fault("mismatched_url", text, number))
            seen.add(custom_id)
            asked.append((custom_id, body))
        if not asked and not errors:
            errors.append(_fault("empty_file", "The input file is empty.", None))
        batch = self._batch(False, [] if errors else asked, endpoint)
        batch.errors, batch.source, batch.metadata = errors, source, made.get("metadata")
        return batch

    def _anthropic(self, made: Body) -> Batch:
        asked = [(r.get("custom_id"), r.get("params")) for r in made.get("requests") or []]
        if not asked:
            raise Refused(400, "requests: List should have at least 1 item", "requests")
        seen: set[str] = set()
        for i, (custom_id, _) in enumerate(asked):
            if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", custom_id or ""):
                text = "String should match pattern '^[a-zA-Z0-9_-]{1,64}$'"
                raise Refused(400, f"requests.{i}.custom_id: {text}")
            if custom_id in seen:
                raise Refused(400, f"requests.{i}.custom_id: duplicate custom_id {custom_id}")
            seen.add(custom_id)
        return self._batch(True, asked, MESSAGES)

    def _batch(self, anthropic: bool, asked: list[tuple[str, Body]], endpoint: str) -> Batch:
        rows, hashes = [], []
        for custom_id, body in asked:
            digest = body_hash(endpoint, body)
            outcome = self.outcome(custom_id, body) if self.outcome else None
            if outcome in ("expired", "canceled"):
                rows.append((custom_id, outcome, None))
            elif outcome == "errored":
                error = faults.error(anthropic, 500, "The server had an error")
                rows.append((custom_id, "errored", error | {"status": 500}))
            else:
                rows.append((custom_id, *self._run(anthropic, endpoint, body, digest, outcome)))
            hashes.append(digest if rows[-1][1] == "succeeded" and outcome is None else "")
        name = f"{'msgbatch' if anthropic else 'batch'}_{len(self.made) + 1:06d}"
        return Batch(name, anthropic, rows, hashes, time.monotonic(), endpoint)

    def _run(
        self, anthropic: bool, endpoint: str, body: Body, digest: str, fault: str | None
    ) -> tuple[str, Body]:
        try:
            reply = self.reply(endpoint, body, digest)
        except Refused as e:
            error = faults.error(anthropic, e.status, e.message, param=e.param, code=e.code)
            return "errored", error | {"status": e.status}
        return "succeeded", faults.spoil(fault, reply) if fault else reply

    def _advance(self, batch: Batch) -> None:
        late = time.monotonic() - batch.made >= self.seconds and batch.looks >= self.polls
        if batch.ended or batch.errors or not (late or batch.cancelled):
            return
        batch.ended = True
        if batch.cancelled:
            done = len(batch.rows) // 2
            batch.rows[done:] = [(name, "canceled", None) for name, _, _ in batch.rows[done:]]
            batch.hashes = batch.hashes[:done]
        self.paid.update(digest for digest in batch.hashes if digest)
        if not batch.anthropic:
            out = [_output(row) for row in reversed(batch.rows) if row[1] == "succeeded"]
            bad = [_output(row) for row in reversed(batch.rows) if row[1] != "succeeded"]
            batch.files = tuple(
                self._keep(f"{batch.id}_{kind}.jsonl", "batch_output", _lines(rows))
                if rows
                else None
                for kind, rows in (("output", out), ("error", bad))
            )

    def _described(self, batch: Batch) -> Body:
        counts = Counter(outcome for _, outcome, _ in batch.rows) if batch.ended else Counter()
        total = len(batch.rows)
        if batch.anthropic:
            names = "succeeded errored expired canceled".split()
            status = "ended" if batch.ended else "canceling" if batch.cancelled else "in_progress"
            url = f"{self.origin}{MESSAGES}/batches/{batch.id}/results"
            return {
                "id": batch.id,
                "type": "message_batch",
                "processing_status": status,
                "request_counts": {n: counts[n] for n in names}
                | {"processing": 0 if batch.ended else total},
                "created_at": STAMP.format(10),
                "expires_at": "2026-09-22T10:00:00Z",
                "ended_at": STAMP.format(11) if batch.ended else None,
                "cancel_initiated_at": STAMP.format(11) if batch.cancelled else None,
                "archived_at": None,
                "results_url": url if batch.ended else None,
            }
        status = "in_progress" if batch.looks else "validating"
        if batch.errors:
            status = "failed"
        elif batch.cancelled:
            status = "cancelled" if batch.ended else "cancelling"
        elif batch.ended:
            status = "expired" if counts["expired"] else "completed"
        elif batch.looks and batch.looks == self.polls - 1:
            status = "finalizing"
        return {
            "id": batch.id,
            "object": "batch",
            "endpoint": batch.endpoint,
            "errors": {"object": "list", "data": batch.errors} if batch.errors else None,
            "input_file_id": batch.source,
            "completion_window": "24h",
            "status": status,
            "output_file_id": batch.files[0],
            "error_file_id": batch.files[1],
            "created_at": CREATED,
            "expires_at": CREATED + 86_400,
            "completed_at": CREATED + 3600 if status == "completed" else None,
            "expired_at": CREATED + 86_400 if status == "expired" else None,
            "request_counts": {
                "total": total,
                "completed": counts["succeeded"],
                "failed": sum(counts.values()) - counts["succeeded"],
            },
            "metadata": batch.metadata,
        }

    def _list(self, anthropic: bool, query: Any) -> Body:
        found = [b for b in reversed(self.made.values()) if b.anthropic == anthropic]
        names = [b.id for b in found]
        after = query.get("after_id" if anthropic else "after")
        start = names.index(after) + 1 if after in names else 0
        page = found[start : start + int(query.get("limit", 20))]
        return {
            "object": "list",
            "data": [self._described(b) for b in page],
            "first_id": page[0].id if page else None,
            "last_id": page[-1].id if page else None,
            "has_more": start + len(page) < len(found),
        }

    def _result(self, row: tuple[str, str, Body | None]) -> Body:
        custom_id, outcome, body = row
        result: Body = {"type": outcome}
        if outcome == "succeeded":
            result["message"] = body
        elif outcome == "errored":
            result["error"] = {k: v for k, v in body.items() if k != "status"}
        return {"custom_id": custom_id, "result": result}


def _output(row: tuple[str, str, Body | None]) -> Body:
    """A line of OpenAI's output or error file."""
    custom_id, outcome, body = row
    line: Body = {"id": f"batch_req_{custom_id}", "custom_id": custom_id}
    if body is None:
        code = {"expired": "batch_expired", "canceled": "batch_cancelled"}[outcome]
        text = "This request could not be executed before the completion window expired."
        return line | {"response": None, "error": {"code": code, "message": text}}
    status = body.get("status", 200)
    body = {k: v for k, v in body.items() if k != "status"}
    response = {"status_code": status, "request_id": f"req_{custom_id}", "body": body}
    return line | {"response": response, "error": None}


def _fault(code: str, text: str, line: int | None) -> Body:
    return {"code": code, "message": text, "line": line, "param": None}


def _lines(rows: list[Body]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()
