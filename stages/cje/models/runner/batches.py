"""The batch interfaces of OpenAI and Anthropic: half the price, within a day, over any restart.

A batch is noted before it is submitted (`cje.models.runner.journal`). An intent without a batch,
after a kill, is looked for. An OpenAI batch has the tag as metadata; Anthropic's contain nothing of
ours: there it may be any batch that was made after `after`, has as many requests and is in no note,
and when it has ended, its results tell. Of the processes that share a journal, whoever comes first
collects.
"""

import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from cje.errors import CJEError
from cje.models.http import failure, own_headers
from cje.models.providers.batch_apis import BATCH_APIS, AnyBatchApi
from cje.models.registry import backend_for
from cje.models.requests import CallFailed, Reply, Request
from cje.models.runner.journal import Entry, Journal
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
    is one. `bill` gets every failure that a batch brought, before it is noted, and returns the
    failure that results. What another process collected meanwhile is neither kept nor returned.
    `wait`: seconds between two looks, at most. `progress` gets what each look shows.

    Raises CJEError where no batch can be looked at; nothing is lost then: run again. A
    KeyboardInterrupt that ends it names the batches and says how to come back.
    """
    run = _Run(provider, Journal(journal), keep, wait, progress, held, bill, headers)
    return run.run(requests)


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
    apis: dict[str | None, AnyBatchApi] = field(default_factory=dict)
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
            "for it again and pays nothing twice; cje store batches shows its progress"
        )

    def _mine(self) -> list[Entry]:
        """The live batches that hold a wanted request."""
        return [e for e in self.journal.live() if e.ids and e.requests.keys() & self.wanted.keys()]

    def _api(self, base_url: str | None) -> AnyBatchApi:
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
                raise self._stopped(f"an earlier batch: {failure(error).reason}") from None

    def _find(self, api: AnyBatchApi, entry: Entry, why: str | None) -> bool:
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

    def _submit_one(self, api: AnyBatchApi, bodies: dict[str, dict[str, Any]]) -> None:
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
        for _ in _attempts():
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
        """Whether the batch is gone; raises CJEError where waiting longer would not help."""
        failed, self.misses[batch] = failure(error), self.misses.get(batch, 0) + 1
        if getattr(error, "status_code", None) == 404:
            return self.misses[batch] >= ATTEMPTS
        if failed.fatal or failed.doubtful or self.misses[batch] >= LOOKS:
            raise self._stopped(f"batch {batch}: {failed.reason}")
        return False

    def _is_ours(self, api: AnyBatchApi, entry: Entry, batch: str) -> bool:
        """Whether the results are of the entry's requests; the first of them shows it."""
        try:
            first = next(api.results(batch, entry.requests), None)
        except api.faults as error:
            raise self._stopped(f"batch {batch}: {failure(error).reason}") from None
        return first is not None and first[1] is not None

    def _collect(self, entry: Entry) -> None:
        """Keep every reply of a batch that has ended, and note its failures."""
        if not entry.ids:
            self.journal.note(void=entry.tag, why="it no longer exists")
            return
        api, batch = self._api(entry.base_url), entry.ids[0]
        failed: dict[str, CallFailed] = {}
        left = dict(entry.requests)
        for _ in _attempts():
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
        else:
            raise self._stopped(f"the results of batch {batch}: {reason}")
        failed |= {key: CallFailed(NO_RESULT, again=True) for key in left}
        words = {key: [f.reason, f.again, f.fatal, f.doubtful] for key, f in failed.items()}
        self.journal.note(collected=entry.tag, failed=words)

    def _settle(self, entry: Entry) -> None:
        """What a batch that is over means for what is wanted: whoever collected it."""
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


def _attempts() -> Iterator[int]:
    """The numbers of attempts, each after a pause twice as long as the one before."""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(BACKOFF_SECONDS * 2 ** (attempt - 1))
        yield attempt


def _portions(api: AnyBatchApi, requests: Sequence[Request]) -> Iterator[dict[str, dict[str, Any]]]:
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
