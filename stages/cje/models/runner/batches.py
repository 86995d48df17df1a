"""The batch interfaces of OpenAI and Anthropic: half the price, within a day, over any restart.

A journal, one a provider, says what was submitted before it is, and is on the disk when it is, so
that a batch is never lost and never submitted twice:

    {"intent":<tag>,"after":<newest batch before it>,"at":<time>,"requests":[<request>, ...]}
    {"submitted":<tag>,"ids":[<batch>]}
    {"found":<tag>,"ids":[<batch that it may be>, ...]}
    {"void":<tag>,"why":<words>}
    {"collected":<tag>,"failed":{<key>:[<reason>,<again>,<fatal>,<doubtful>], ...}}

An intent without a batch, after a kill, is looked for. An OpenAI batch holds the tag as metadata;
Anthropic's hold nothing of ours: there it may be any batch that was made after `after`, has as many
requests and is in no note, and when it has ended, its results tell. Processes share a journal: it
is changed under its lock only, and whoever comes first collects. What the last look at each batch
showed lies beside the journal, in `looks/<batch>.json`.
"""

import json
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

from cje.errors import CJEError, writing
from cje.models.http import failure, own_headers
from cje.models.providers.batch_apis import BATCH_APIS, BatchApi
from cje.models.registry import backend_for
from cje.models.requests import FORMAT, CallFailed, Reply, Request
from cje.models.runner.locks import Lock
from cje.models.runner.sightings import Sighting, now, sighting

Keep = Callable[[Request, Reply | CallFailed], None]
Failures = list[tuple[Request, CallFailed]]

POLL_SECONDS = 30.0  # between two looks at the most; the first looks come sooner
FIRST_POLL_SECONDS = 1.0
ATTEMPTS = 5  # at submitting, at collecting, and at a batch that is not found
LOOKS = 30  # at a batch, that may fail in a row
BACKOFF_SECONDS = 1.0  # doubled after every attempt
HASTY = (408, 409, 429)  # answers to come back later
BESIDE_BODY = 128  # bytes of a request in a batch, at most, beside its body
NO_RESULT = "the batch ended without a result for it"


def run_batches(
    requests: Sequence[Request],
    provider: str,
    journal: Path,
    keep: Keep,
    wait: float = POLL_SECONDS,
    progress: Callable[[Sighting], None] = lambda seen: None,
    held: Callable[[Request], bool] = lambda request: False,
    bill: Callable[[Request, CallFailed], CallFailed] = lambda request, failed: failed,
    headers: dict[str, str] | None = None,
) -> Failures:
    """Have the requests answered in batches of `provider`; returns those that were not.

    What is in a batch already, of this run or one before it, is waited for; the rest is submitted.
    `keep` gets every reply the moment that it is read, and each wanted failure; also the replies of
    such a batch that nobody wants any more, since they are paid for, unless `held` says that there
    is one. `bill` gets every failure that a batch brought, before it is noted, and gives what it
    comes to. What another process collected meanwhile is neither kept nor returned. `wait`: seconds
    between two looks, at most. `progress` is told what each look shows.

    Raises CJEError where no batch can be looked at; nothing is lost then: run again. A
    KeyboardInterrupt that ends it names the batches and says how to come back.
    """
    run = _Run(provider, Journal(journal), keep, wait, progress, held, bill, headers)
    return run.run(requests)


@dataclass
class Entry:
    """One batch of the journal. `ids`: the batch, or those that it may be (`sure` is False)."""

    tag: str
    fields: list[dict[str, Any]] = field(default_factory=list)
    after: str | None = None
    ids: list[str] = field(default_factory=list)
    sure: bool = True
    over: bool = False
    failed: dict[str, CallFailed] | None = None  # by key, once it is collected
    at: str | None = None  # when it was submitted; notes of older versions do not say

    @cached_property
    def requests(self) -> dict[str, Request]:
        """The requests by key."""
        return {request.key: request for request in map(request_from, self.fields)}

    @property
    def base_url(self) -> str | None:
        found: str | None = self.fields[0].get("base_url")
        return found

    @property
    def model(self) -> str:
        return str(self.fields[0]["model"])


class Journal:
    """The notes in the file `path`; `refresh` reads what has been appended, by whomever."""

    def __init__(self, path: Path):
        self.path, self.read = Path(path), 0
        self.entries: dict[str, Entry] = {}
        self.known: set[str] = set()  # every batch that a note names

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else changes the journal meanwhile; it is read again."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with Lock(self.path.with_suffix(".lock")):
            self.refresh()
            yield

    def refresh(self) -> None:
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self.read)
            for line in file:
                if not line.endswith(b"\n"):  # half-written, by a process that is gone
                    break
                self.read += len(line)
                self._take(line)

    def note(self, **fields: Any) -> None:
        """Append one note; it is on the disk when this returns."""
        text = json.dumps(fields, ensure_ascii=False, separators=(",", ":")) + "\n"
        with writing(self.path), self.path.open("ab+") as file:
            size = file.seek(0, 2)
            if size:
                file.seek(size - 1)
                if file.read(1) != b"\n":
                    text = "\n" + text
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        self.refresh()

    def live(self) -> list[Entry]:
        """The batches that have not been collected."""
        return [entry for entry in self.entries.values() if not entry.over]

    def see(self, seen: Sighting) -> None:
        """Keep what the last look at a batch showed."""
        path = self._look_file(seen.batch)
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f"{path.name}.{os.getpid()}")
            part.write_text(json.dumps(asdict(seen)), encoding="utf-8")
            part.replace(path)

    def seen(self, batch: str) -> Sighting | None:
        """What the last look at a batch showed, of any process; None where nobody looked."""
        try:
            return Sighting(**json.loads(self._look_file(batch).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def _look_file(self, batch: str) -> Path:
        return self.path.parent / "looks" / (re.sub(r"[^\w-]", "_", batch) + ".json")

    def _take(self, line: bytes) -> None:
        try:
            note = json.loads(line)
            what = next(iter(note))
            if what == "intent":
                if all(fields["format"] == FORMAT for fields in note["requests"]):
                    new = Entry(note["intent"], note["requests"], note.get("after"))
                    new.at = note.get("at")
                    self.entries[new.tag] = new
                return
            self.known.update(note.get("ids", ()))
            entry = self.entries.get(note[what])
            if entry is None:
                return
            if what in ("submitted", "found"):
                entry.ids, entry.sure = list(note["ids"]), what == "submitted"
            elif what in ("void", "collected"):
                entry.over, entry.fields = True, []
                if what == "collected":
                    entry.failed = {
                        key: failed_again(reason, again, fatal, *doubtful)
                        for key, (reason, again, fatal, *doubtful) in note["failed"].items()
                    }
        except (ValueError, KeyError, TypeError, AttributeError, StopIteration):
            return  # damaged: an id that is lost so is looked for, as after a kill


def failed_again(reason: str, again: bool, fatal: bool, doubtful: bool = False) -> CallFailed:
    """A failure as a note of the journal has it; notes of older versions have no `doubtful`."""
    failed = CallFailed(reason, again=again, fatal=fatal)
    failed.doubtful = doubtful
    return failed


def look_now(
    provider: str,
    journal: Journal,
    entry: Entry,
    batch: str,
    headers: Mapping[str, str] | None = None,
) -> str | None:
    """Look at one batch, and keep what that shows; why it could not be looked at, or None.
    `headers`: of the settings, and the variables that hold their values."""
    missing = [key for key in backend_for(f"{provider}/").keys if not os.environ.get(key)]
    if missing:
        return f"{', '.join(missing)} is not set"
    try:
        api = BATCH_APIS[provider](entry.base_url, own_headers((headers or {}).items()))
    except CJEError as error:
        return str(error)
    try:
        journal.see(sighting(batch, api.look(batch), len(entry.fields)))
    except api.faults as error:
        return failure(error).reason
    finally:
        api.close()
    return None


@dataclass
class _Run:
    """One call of `run_batches`, and its arguments."""

    provider: str
    journal: Journal
    keep: Keep
    wait: float
    progress: Callable[[Sighting], None]
    held: Callable[[Request], bool]
    bill: Callable[[Request, CallFailed], CallFailed]
    headers: dict[str, str] | None
    apis: dict[str | None, BatchApi] = field(default_factory=dict)
    wanted: dict[str, Request] = field(default_factory=dict)
    failures: Failures = field(default_factory=list)
    misses: dict[str, int] = field(default_factory=dict)  # looks at a batch that failed, in a row

    def run(self, requests: Sequence[Request]) -> Failures:
        self.wanted = {request.key: request for request in requests}
        try:
            while self.wanted:
                with self.journal.locked():
                    self._find_lost()
                    covered = {key for entry in self._mine() for key in entry.requests}
                    self._submit([r for key, r in self.wanted.items() if key not in covered])
                    mine = self._mine()
                self._wait(mine)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(self._how_to_come_back()) from None
        finally:
            for api in self.apis.values():
                api.close()
        return self.failures

    def _how_to_come_back(self) -> str:
        self.journal.refresh()
        ids = [batch for entry in self._mine() for batch in entry.ids]
        if not ids:
            return (
                "interrupted while a batch was being made. dvc repro finds it if it was made, and "
                "pays nothing twice"
            )
        noun, verb = ("batch", "goes") if len(ids) == 1 else ("batches", "go")
        return (
            f"interrupted: {noun} {', '.join(ids)} {verb} on at {self.provider}. dvc repro waits "
            "for it again and pays nothing twice; cje store batches says how far it is"
        )

    def _mine(self) -> list[Entry]:
        """The live batches that hold a wanted request."""
        return [e for e in self.journal.live() if e.ids and e.requests.keys() & self.wanted.keys()]

    def _api(self, base_url: str | None) -> BatchApi:
        if base_url not in self.apis:
            self.apis[base_url] = BATCH_APIS[self.provider](base_url, self.headers)
        return self.apis[base_url]

    def _find_lost(self) -> None:
        """Batches whose maker was gone before it could note them."""
        for entry in self.journal.live():
            if entry.ids:
                continue
            api = self._api(entry.base_url)
            try:
                self._find(api, entry, "it was never made")
            except api.faults as error:
                raise self._stopped(f"a batch of before: {failure(error).reason}") from None

    def _find(self, api: BatchApi, entry: Entry, why: str | None) -> bool:
        """Note the batches that the entry may be; where there are none, that it is void, if a
        reason is given. Returns whether there are any."""
        count = len(entry.fields)
        ids = api.find(entry.tag, count, entry.after, self.journal.known)
        if ids:
            self.journal.note(**{"submitted" if api.tagged else "found": entry.tag, "ids": ids})
        elif why:
            self.journal.note(void=entry.tag, why=why)
        return bool(ids)

    def _submit(self, requests: Sequence[Request]) -> None:
        def kind(request: Request) -> tuple[str, str]:
            return request.model, request.base_url or ""

        for _, group in groupby(sorted(requests, key=kind), kind):
            alike = list(group)
            api = self._api(alike[0].base_url)
            for bodies in _portions(api, alike):
                self._submit_one(api, bodies)

    def _submit_one(self, api: BatchApi, bodies: dict[str, dict[str, Any]]) -> None:
        """Make one batch, of the bodies by key."""
        requests = [self.wanted[key] for key in bodies]
        try:
            prepared, after = api.prepare(bodies), api.newest()
        except api.faults as error:
            self._fail(requests, failure(error))
            return
        tag = uuid.uuid4().hex
        self.journal.note(
            intent=tag,
            after=after,
            at=now(),
            requests=[json.loads(r.canonical) for r in requests],
        )
        entry, unclear, failed = self.journal.entries[tag], False, CallFailed(NO_RESULT)
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(BACKOFF_SECONDS * 2 ** (attempt - 1))
            try:
                if unclear and self._find(api, entry, None):
                    return
                self.journal.note(submitted=tag, ids=[api.create(prepared, tag)])
                return
            except api.faults as error:
                failed, status = failure(error), getattr(error, "status_code", None) or 0
            unclear = unclear or not 400 <= status < 500 or status in (408, 409)
            if 400 <= status < 500 and status not in HASTY:
                break
        if not unclear:
            self.journal.note(void=tag, why=failed.reason)
        self._fail(requests, failed)

    def _wait(self, waiting: list[Entry]) -> None:
        """Look at the batches until each has ended, and collect them."""
        pause = min(FIRST_POLL_SECONDS, self.wait)
        while waiting:
            for entry in list(waiting):
                self.journal.refresh()
                if not entry.over and not self._ended(entry):
                    continue
                with self.journal.locked():
                    if not entry.over:
                        self._collect(entry)
                self._settle(entry)
                waiting.remove(entry)
            if waiting:
                time.sleep(pause)
                pause = min(self.wait, 1.5 * pause)

    def _ended(self, entry: Entry) -> bool:
        """Whether there is something to collect, or nothing to wait for."""
        api = self._api(entry.base_url)
        for batch in list(entry.ids):
            try:
                look = api.look(batch)
            except api.faults as error:
                if self._missed(batch, error):
                    entry.ids.remove(batch)
                continue
            self.misses[batch] = 0
            seen = sighting(batch, look, len(entry.requests))
            self.journal.see(seen)
            self.progress(seen)
            if look.ended and (entry.sure or self._is_ours(api, entry, batch)):
                entry.ids, entry.sure = [batch], True
                return True
            if look.ended:
                entry.ids.remove(batch)
        return not entry.ids

    def _missed(self, batch: str, error: Exception) -> bool:
        """Whether the batch is gone; raises CJEError where looking on is of no use."""
        failed, self.misses[batch] = failure(error), self.misses.get(batch, 0) + 1
        if getattr(error, "status_code", None) == 404:
            return self.misses[batch] >= ATTEMPTS
        if failed.fatal or failed.doubtful or self.misses[batch] >= LOOKS:
            raise self._stopped(f"batch {batch}: {failed.reason}")
        return False

    def _is_ours(self, api: BatchApi, entry: Entry, batch: str) -> bool:
        """Whether the results are of the entry's requests; the first of them tells."""
        try:
            first = next(api.results(batch, entry.requests), None)
        except api.faults as error:
            raise self._stopped(f"batch {batch}: {failure(error).reason}") from None
        return first is not None and first[1] is not None

    def _collect(self, entry: Entry) -> None:
        """Keep every reply of a batch that has ended, and note its failures."""
        if not entry.ids:
            self.journal.note(void=entry.tag, why="it is not there any more")
            return
        api, batch = self._api(entry.base_url), entry.ids[0]
        failed: dict[str, CallFailed] = {}
        left = dict(entry.requests)
        for attempt in range(ATTEMPTS):
            try:
                for key, outcome in api.results(batch, entry.requests):
                    request = left.pop(key, None)
                    if request is None or outcome is None:
                        continue
                    if isinstance(outcome, CallFailed):
                        failed[key] = self.bill(request, outcome)
                    elif self.wanted.pop(key, None) is not None or not self.held(request):
                        self.keep(request, outcome)
                break
            except api.faults as error:
                gone = getattr(error, "status_code", None) == 404
                reason = failure(error).reason
            if gone:
                self.journal.note(void=entry.tag, why=f"its results are gone: {reason}")
                return
            if attempt == ATTEMPTS - 1:
                raise self._stopped(f"the results of batch {batch}: {reason}")
            time.sleep(BACKOFF_SECONDS * 2**attempt)
        failed |= {key: CallFailed(NO_RESULT, again=True) for key in left}
        words = {key: [f.reason, f.again, f.fatal, f.doubtful] for key, f in failed.items()}
        self.journal.note(collected=entry.tag, failed=words)

    def _settle(self, entry: Entry) -> None:
        """What a batch that is over means for what is wanted: by whomever it was collected."""
        if entry.failed is None:  # void: its requests are wanted still
            return
        for key, request in entry.requests.items():
            if key not in self.wanted:
                continue
            if key in entry.failed:
                self._fail([request], entry.failed[key])
            self.wanted.pop(key, None)

    def _fail(self, requests: Sequence[Request], failed: CallFailed) -> None:
        for request in requests:
            self.failures.append((request, failed))
            self.keep(request, failed)
            self.wanted.pop(request.key, None)

    def _stopped(self, words: str) -> CJEError:
        return CJEError(
            f"{self.provider}: {words}\nnothing is lost: run again, and it is looked for again"
        )


def request_from(fields: Mapping[str, Any]) -> Request:
    """The request whose canonical JSON holds `fields`."""
    given = {key: value for key, value in fields.items() if key != "format"}
    for name in ("messages", "options"):
        if name in given:
            given[name] = tuple(tuple(pair) for pair in given[name])
    for name in ("tokens", "token_ids"):
        if name in given:
            given[name] = tuple(given[name])
    return Request(**given)


def _portions(api: BatchApi, requests: Sequence[Request]) -> Iterator[dict[str, dict[str, Any]]]:
    """The bodies by key, as many at once as one batch may hold."""
    bodies: dict[str, dict[str, Any]] = {}
    room = api.most_bytes
    for request in requests:
        body = api.body(request)
        size = len(json.dumps(body)) + BESIDE_BODY
        if bodies and (len(bodies) == api.most_requests or size > room):
            yield bodies
            bodies, room = {}, api.most_bytes
        bodies[request.key] = body
        room -= size
    if bodies:
        yield bodies
