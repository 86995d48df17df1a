"""The batch interfaces of OpenAI and Anthropic: half the price, within a day, over any restart.

A journal, one a provider, says what was submitted before it is, and is on the disk when it is, so
that a batch is never lost and never submitted twice:

    {"intent":<tag>,"after":<newest batch before it>,"requests":[<canonical request>, ...]}
    {"submitted":<tag>,"ids":[<batch>]}     {"found":<tag>,"ids":[<batch>, ...]}
    {"void":<tag>,"why":<words>}            {"collected":<tag>,"failed":{<key>:[reason, again, fatal]}}

An intent without a batch is looked for: an OpenAI batch holds the tag as metadata; Anthropic's hold
nothing of ours, so that one is a batch made after `after`, of as many requests, which no note names,
and only its results tell whether it is ours. Processes share a journal: what changes it is done
under its lock, and whoever comes first collects.
"""

import fcntl
import json
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

from cje.errors import CJEError
from cje.models.batch_wire import FAULTS, WIRES, BatchWire
from cje.models.requests import FORMAT, CallFailed, Reply, Request
from cje.models.wire import failure

Keep = Callable[[Request, Reply | CallFailed], None]
Failures = list[tuple[Request, CallFailed]]

POLL_SECONDS = 20.0
ATTEMPTS = 5  # at submitting, at collecting, and at looking in a row
BACKOFF_SECONDS = 1.0  # doubled after every attempt
HASTY = (408, 409, 429)  # answers to come back later
NO_RESULT = "the batch ended without a result for it"


def run_batches(
    requests: Sequence[Request],
    provider: str,
    journal: Path,
    keep: Keep,
    wait: float = POLL_SECONDS,
    progress: Callable[[int, int], None] | None = None,
    held: Callable[[Request], bool] = lambda request: False,
) -> Failures:
    """Have the requests answered in batches of `provider`; returns those that were not.

    What is in a batch already, of this run or one before it, is waited for; the rest is submitted.
    `keep` gets every reply the moment that it is read, and each wanted failure; also the replies of
    such a batch that nobody wants any more, since they are paid for, unless `held` says that there
    is one. What another process collected meanwhile is neither kept nor returned. `wait`: seconds
    between two looks. `progress` is told the requests done and in all, of the batches waited for.

    Raises CJEError where no batch can be looked at; nothing is lost then: run again.
    """
    return _Run(provider, Journal(journal), keep, wait, progress, held).run(requests)


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
    done: int = 0

    @cached_property
    def requests(self) -> dict[str, Request]:
        """The requests by key."""
        return {request.key: request for request in map(request_from, self.fields)}

    @property
    def base_url(self) -> str | None:
        return self.fields[0].get("base_url")


class Journal:
    """The notes in the file `path`; `refresh` reads what has been appended, by whomever."""

    def __init__(self, path: Path):
        self.path, self.read = Path(path), 0
        self.entries: dict[str, Entry] = {}
        self.known: set[str] = set()  # every batch that a note names

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else changes the journal meanwhile; it is read anew."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
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
        with self.path.open("ab+") as file:
            size = file.seek(0, 2)
            if size:
                file.seek(size - 1)
                if file.read(1) != b"\n":
                    text = "\n" + text
            file.write(text.encode("utf-8"))
            file.flush()
            _sync(file)
        self.refresh()

    def live(self) -> list[Entry]:
        """The batches that have not been collected."""
        return [entry for entry in self.entries.values() if not entry.over]

    def _take(self, line: bytes) -> None:
        try:
            note = json.loads(line)
            what = next(iter(note))
            if what == "intent":
                self.entries[note["intent"]] = Entry(
                    note["intent"], note["requests"], note.get("after")
                )
                return
            entry = self.entries.get(note[what])
            if entry is None:
                return
            if what in ("submitted", "found"):
                entry.ids, entry.sure = list(note["ids"]), what == "submitted"
                self.known.update(entry.ids)
            elif what in ("void", "collected"):
                entry.over, entry.fields = True, []
                if what == "collected":
                    entry.failed = {
                        key: CallFailed(reason, again=again, fatal=fatal)
                        for key, (reason, again, fatal) in note["failed"].items()
                    }
        except (ValueError, KeyError, TypeError, AttributeError, StopIteration):
            return  # damaged: an id that is lost so is looked for, as after a kill
