"""The journal of a provider's batches: what was submitted is noted before it is, and is on the disk
when it is, so that a batch is never lost and never submitted twice.

    {"intent":<tag>,"after":<newest batch before it>,"at":<time>,"requests":[<request>, ...]}
    {"submitted":<tag>,"ids":[<batch>]}
    {"found":<tag>,"ids":[<batch that it may be>, ...]}
    {"void":<tag>,"why":<words>}
    {"collected":<tag>,"failed":{<key>:[<reason>,<again>,<fatal>,<doubtful>], ...}}

Processes share a journal: it is changed under its lock only. What the last look at each batch
showed lies beside it, in `looks/<batch>.json`.
"""

import json
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from cje.errors import writing
from cje.models.requests import FORMAT, CallFailed, Request
from cje.models.runner.locks import locked
from cje.models.runner.sightings import Sighting


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
    """The notes in the file `path`; `refresh` reads what has been appended, by any process."""

    def __init__(self, path: Path):
        self.path, self.read = Path(path), 0
        self.entries: dict[str, Entry] = {}
        self.known: set[str] = set()  # every batch that a note names

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else changes the journal meanwhile; it is read again."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with locked(self.path.with_suffix(".lock")):
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
            part = path.with_name(f"{path.name}.{uuid.uuid4().hex}")  # threads look as well
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
