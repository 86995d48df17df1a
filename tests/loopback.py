"""A server on 127.0.0.1 in place of OpenAI, Anthropic, or a server of the OpenAI kind.

    with Loopback() as server:
        client = openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="x")

or, as its own process, `python tests/loopback.py --port 0 --log calls.txt`, which prints its url.
An answer is a function of the request's body alone; faults are chosen by a script, by a function,
or at a rate, then as a function of seed, body and attempt, whatever the order of the calls.
"""

import argparse
import asyncio
import json
import random
import signal
import socket
import struct
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from aiohttp import web

import loopback_faults as faults
import loopback_replies as replies
from loopback_batches import Batches
from loopback_model import CREATED, Body, Refused, body_hash
from loopback_replies import Switches

CHAT, COMPLETIONS, MESSAGES = "/v1/chat/completions", "/v1/completions", "/v1/messages"
ASKING = frozenset((CHAT, COMPLETIONS, MESSAGES))
JSON = {"Content-Type": "application/json"}
DRIP = 0.05  # seconds between the bytes of a slow drip


class Call(NamedTuple):
    """One call of a model. `attempt` counts the calls of this body from 1. `sent`: every byte of
    the reply went out; `success`: and the reply was whole and of use."""

    path: str
    hash: str
    attempt: int
    fault: str | None
    status: int
    sent: bool
    success: bool
    body: Body | None


class Loopback:
    """See the module. Counts are of calls of a model; `switches` may be set between calls.

    fault_rate: the share of calls that fail with one of `fault_names`. delay: seconds before a
    reply. require_key: any other key is answered 401. batch_polls, batch_seconds: a batch ends
    after so many looks at it and so long. keep: whether `calls` is filled, with bodies of up to
    `BODY_LIMIT` bytes.
    """

    BODY_LIMIT = 20_000

    def __init__(
        self,
        *,
        port: int = 0,
        delay: float = 0.0,
        fault_rate: float = 0.0,
        fault_names: Iterable[str] = faults.HEALING,
        seed: int = 0,
        require_key: str | None = None,
        models: Iterable[str] = ("loopback",),
        switches: Switches | None = None,
        batch_polls: int = 2,
        batch_seconds: float = 0.0,
        log: str | None = None,
        keep: bool = True,
    ):
        self.port, self.delay, self.seed, self.require_key = port, delay, seed, require_key
        self.fault_rate, self.fault_names = fault_rate, list(fault_names)
        for name in self.fault_names:
            faults.parse(name)
        self.models, self.switches, self.keep = list(models), switches or Switches(), keep
        self.decide: Callable[[str, Body, int], str | None] | None = None
        self.batches = Batches(self.reply, batch_polls, batch_seconds)
        self.calls: list[Call] = []
        self.attempts: Counter[str] = Counter()
        self.successes: Counter[str] = Counter()
        self.faults: Counter[str | None] = Counter()
        self.keys: Counter[str] = Counter()
        self.paths: Counter[str] = Counter()
        self.concurrency = self.max_concurrency = 0
        self._scripts: dict[str, deque[str | None]] = {}
        self._log = open(log, "a", buffering=1, encoding="utf-8") if log else None  # noqa: SIM115
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def script(self, names: Iterable[str | None], path: str = "") -> None:
        """Faults of the next calls, in the order in which they arrive; None is a good reply. With
        a path, of the next requests of any kind whose path begins with it."""
        names = list(names)
        for name in names:
            if name is not None:
                faults.parse(name)
        self._scripts.setdefault(path, deque()).extend(names)

    def paid_twice(self, times: int = 1) -> dict[str, int]:
        """Body hashes that were answered in full more than `times` times, batches included."""
        paid = self.successes + self.batches.paid
        return {key: n for key, n in paid.items() if n > times}

    def __enter__(self) -> "Loopback":
        started, ready = threading.Event(), []

        def work() -> None:
            with asyncio.Runner() as runner:
                self._loop = runner.get_loop()
                try:
                    runner.run(self._serve(lambda: (ready.append(True), started.set())))
                finally:
                    started.set()

        self._thread = threading.Thread(target=work, daemon=True, name="loopback")
        self._thread.start()
        started.wait()
        if not ready:
            raise OSError(f"the loopback server did not start on port {self.port}")
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, after the url has been printed."""

        async def serve() -> None:
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, lambda: self._stop.set())
            await self._serve(lambda: print(self.url, flush=True))

        asyncio.run(serve())

    async def _serve(self, ready: Callable[[], Any]) -> None:
        self._stop = asyncio.Event()
        runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", self.port, backlog=1024)
            await site.start()
            self.port = runner.addresses[0][1]
            ready()
            await self._stop.wait()
        finally:
            await runner.cleanup()
            if self._log:
                self._log.close()

    def reply(self, path: str, body: Body, seed: str) -> Body:
        """The good reply to a call of a model; raises Refused."""
        try:
            if path == CHAT:
                return replies.chat(body, seed, self.switches)
            if path == COMPLETIONS:
                return replies.completion(body, seed, self.switches)
            return replies.message(body, seed)
        except (KeyError, TypeError, AttributeError, ValueError) as e:
            raise Refused(400, f"The request is malformed: {e!r}") from e

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        anthropic = path.startswith(MESSAGES) or "x-api-key" in request.headers
        key = request.headers.get("x-api-key") or request.headers.get("Authorization", "")[7:]
        self.keys[key] += 1
        self.paths[path] += 1
        if self.require_key is not None and key != self.require_key:
            return _json(401, faults.error(anthropic, 401, "Wrong API key", code="invalid_api_key"))
        if path in ASKING and request.method == "POST":
            self.concurrency += 1
            self.max_concurrency = max(self.max_concurrency, self.concurrency)
            try:
                return await self._asked(request, path, anthropic, key)
            finally:
                self.concurrency -= 1
        status, data = 200, b""
        try:
            if path == "/v1/models":
                data = _bytes(self._models(anthropic))
            elif path == "/tokenize" and self.switches.tokenize:
                data = _bytes(replies.tokenized(json.loads(await request.read()), self.switches))
            else:
                data = _bytes(await self.batches.handle(request))
        except Refused as e:
            status, data = e.status, _refusal(e, anthropic)
        script, caller = self._script(path), (anthropic, key, "")
        fault = script.popleft() if script else None
        return await self._send(request, fault, (status, JSON, data), caller)

    async def _asked(
        self, request: web.BaseRequest, path: str, anthropic: bool, key: str
    ) -> web.StreamResponse:
        try:
            body = json.loads(await request.read())
        except ValueError:
            return _json(400, faults.error(anthropic, 400, "The body is not JSON"))
        except ConnectionError:  # the client was killed while it sent
            return web.Response(status=499)
        digest = body_hash(path, body)
        self.attempts[digest] += 1
        attempt = self.attempts[digest]
        name = self._fault(path, body, digest, attempt)
        if self.delay:
            await asyncio.sleep(self.delay)
        status, data, useful = 200, b"", True
        try:
            reply = self.reply(path, body, digest)
            data = _bytes(reply)
            if name is not None and name in faults.CONTENT:
                spoiled = _bytes(faults.spoil(name, reply))
                data, useful = spoiled, spoiled == data
        except Refused as e:
            status, data = e.status, _refusal(e, anthropic)

        def record(status: int, sent: bool) -> None:
            broken = name is not None and name.partition(":")[0] in faults.BROKEN
            success = sent and status == 200 and useful and not broken
            self.faults[name] += 1
            if success:
                self.successes[digest] += 1
            if self.keep:
                small = body if (request.content_length or 0) <= self.BODY_LIMIT else None
                self.calls.append(Call(path, digest, attempt, name, status, sent, success, small))
            if self._log:
                word = "success" if success else "sent" if sent else "lost"
                self._log.write(f"{digest} {path} {attempt} {name or '-'} {status} {word}\n")

        caller = (anthropic, key, str(body.get("model")))
        return await self._send(request, name, (status, JSON, data), caller, record)

    def _script(self, path: str) -> deque[str | None] | None:
        """The script that has a word on the next request of a path."""
        for start, names in self._scripts.items():
            if names and (path.startswith(start) if start else path in ASKING):
                return names
        return None

    def _fault(self, path: str, body: Body, digest: str, attempt: int) -> str | None:
        if script := self._script(path):
            return script.popleft()
        if self.decide is not None:
            return self.decide(path, body, attempt)
        if self.fault_rate:
            dice = random.Random(f"{self.seed}/{digest}/{attempt}")
            if dice.random() < self.fault_rate:
                return dice.choice(self.fault_names)
        return None

    async def _send(
        self,
        request: web.BaseRequest,
        fault: str | None,
        answer: tuple[int, dict[str, str], bytes],
        caller: tuple[bool, str, str],
        record: Callable[[int, bool], None] = lambda status, sent: None,
    ) -> web.StreamResponse:
        """The answer (status, headers, body), sent with its fault. `caller`: whether it speaks to
        Anthropic, its key and model. `record` is told the status, and whether all of the answer
        went out, just before the last byte does, so that a client never sees a call uncounted."""
        kind, seconds = faults.parse(fault) if fault else (None, 0.0)
        status, headers, data = answer
        if kind in faults.STATUS:
            status, headers, data = faults.status_fault(kind, seconds, *caller)
        elif kind in faults.FRAME:
            headers, data = faults.frame_fault(kind, headers, data)
        elif kind == "timeout":
            await self._hold(request, seconds)
        transport = request.transport
        if kind in ("timeout", "reset", "hangup") or transport is None or transport.is_closing():
            record(0, False)
            _cut(request, reset=kind == "reset")
            return web.Response(status=499)
        response = web.StreamResponse(status=status, headers=headers)
        response.content_length = len(data)
        try:
            await response.prepare(request)
            if kind == "reset-body":
                record(status, False)
                await response.write(data[: len(data) // 2])
                _cut(request, reset=False)
                return response
            if kind == "drip":
                slow = min(len(data) - 1, max(1, round(seconds / DRIP)))
                for i in range(slow):
                    await response.write(data[i : i + 1])
                    await asyncio.sleep(DRIP)
                data = data[slow:]
        except ConnectionError:
            record(status, False)
            return response
        record(status, True)
        await response.write_eof(data)
        return response

    async def _hold(self, request: web.BaseRequest, seconds: float) -> None:
        end = asyncio.get_running_loop().time() + seconds
        while not self._stop.is_set() and asyncio.get_running_loop().time() < end:
            if request.transport is None or request.transport.is_closing():
                return
            await asyncio.sleep(0.02)

    def _models(self, anthropic: bool) -> Body:
        if anthropic:
            rows = [{"type": "model", "id": m, "display_name": m} for m in self.models]
            day = {"created_at": "2026-07-01T00:00:00Z"}
            return {"data": [r | day for r in rows], "has_more": False}
        common = {"object": "model", "created": CREATED, "owned_by": "loopback"}
        rows = [{"id": m, "max_model_len": 4096} | common for m in self.models]
        return {"object": "list", "data": rows}


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def _refusal(e: Refused, anthropic: bool) -> bytes:
    return _bytes(faults.error(anthropic, e.status, e.message, param=e.param, code=e.code))


def _json(status: int, body: Body) -> web.Response:
    return web.Response(status=status, headers=JSON, body=_bytes(body))


def _cut(request: web.BaseRequest, *, reset: bool) -> None:
    """Close the connection: with a reset, or as a peer that is gone."""
    transport = request.transport
    if transport is None:
        return
    if reset:
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()


def main() -> None:
    parser = argparse.ArgumentParser(
        description="A loopback server of models that fails on purpose"
    )
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before a reply")
    parser.add_argument("--fault-rate", type=float, default=0.0)
    parser.add_argument("--faults", default=",".join(faults.HEALING), help="names, by commas")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", help="a file that gets a line for each call of a model")
    parser.add_argument("--require-key")
    parser.add_argument("--batch-polls", type=int, default=2)
    parser.add_argument("--batch-seconds", type=float, default=0.0)
    args = parser.parse_args()
    Loopback(
        port=args.port,
        delay=args.delay,
        fault_rate=args.fault_rate,
        fault_names=args.faults.split(","),
        seed=args.seed,
        require_key=args.require_key,
        batch_polls=args.batch_polls,
        batch_seconds=args.batch_seconds,
        log=args.log,
        keep=False,
    ).run()


if __name__ == "__main__":
    main()
