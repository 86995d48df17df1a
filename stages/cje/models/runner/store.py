"""The reply store: every reply, kept once, found again by the key of its request.

A file a model, `<provider>/<name>.jsonl`, and a line a reply, written in one piece and never
changed:

    {"sum":"<16 hex>","key":"<32 hex>","at":"<UTC>","usd":<dollars>,"request":{...},"reply":{...}}

`sum` is the 8-byte blake2b of what follows it. A line that does not match its sum, half-written or
damaged, is reported and skipped, and its request asked again; of two good ones the first counts.
Processes share the folder: an append holds the lock of the store, and a key that is being asked is
claimed in the name of its process, which counts for as long as that lives, however it ends
(`cje.models.runner.locks`). Replies that were paid for and are unusable are counted in
`unusable.jsonl`.
"""

import hashlib
import json
import os
import re
import time
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from cje.errors import CJEError
from cje.models.requests import CallFailed, Reply, Request, request_key
from cje.models.runner.locks import Claims, Lock, Members
from cje.models.runner.recording import Record, Recording
from cje.models.runner.unusable import Unusable, UnusableReplies

HEAD = re.compile(rb'\{"sum":"([0-9a-f]{16})",("key":"([0-9a-f]{32})",.*\})\n', re.DOTALL)
APPENDING = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
SYNC_SECONDS = 1.0  # between two writes to the disk itself; the system has each reply at once


def model_file(model: str) -> Path:
    """The file of a model's replies inside the store; a hash makes other names fit."""
    provider, _, name = model.partition("/")
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._")[-80:]
    if plain != name:
        plain = f"{plain}-{hashlib.blake2b(model.encode(), digest_size=4).hexdigest()}"
    return Path(provider) / f"{plain}.jsonl"


@dataclass(frozen=True)
class Kept:
    """A reply that is kept, and the dollars that were paid for it."""

    reply: Reply
    usd: float


@dataclass
class ModelReplies:
    """The replies of one model: the place of each key in its file, read up to `end`."""

    path: Path
    places: dict[bytes, int] = field(default_factory=dict)
    end: int = 0
    damaged: list[int] = field(default_factory=list)  # byte offsets
    file: BinaryIO | None = None

    def refresh(self) -> None:
        """Read the whole lines that have been appended since, by any process."""
        try:
            size = self.path.stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return
        if size == self.end:
            return
        with self.path.open("rb") as file:
            file.seek(self.end)
            for line in file:
                if not line.endswith(b"\n"):  # being written, or left so by a killed process
                    break
                key = line_key(line)
                if key is not None:
                    self.places.setdefault(key, self.end)
                elif line.strip():
                    self.damaged.append(self.end)
                self.end += len(line)

    def read(self, key: bytes) -> Record | None:
        """The record of a key; None where there is none."""
        place = self.places.get(key)
        if place is None:
            return None
        if self.file is None:
            self.file = self.path.open("rb")
        self.file.seek(place)
        return parse_line(self.file.readline())

    def append(self, line: bytes) -> int:
        """Write the line at the end; returns the descriptor, for a later fsync. The caller holds
        the store's lock."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, APPENDING, 0o666)
        try:
            size = os.fstat(descriptor).st_size
            if size:
                os.lseek(descriptor, size - 1, os.SEEK_SET)
                if os.read(descriptor, 1) != b"\n":
                    line = b"\n" + line  # ends what another process, killed, left half-written
            written = os.write(descriptor, line)
            if written < len(line):
                os.ftruncate(descriptor, size)
                raise OSError(28, "No space left on device")
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


class ReplyStore:
    """The replies under `folder`, and those of the recordings, which take precedence.

    Nothing is written before the first reply is kept or claimed. Raises CJEError where the folder
    cannot be written.
    """

    def __init__(self, folder: Path, recordings: Iterable[Path] = ()):
        self.folder = Path(folder)
        self.recordings = [Recording(path) for path in recordings]
        self.models: dict[str, ModelReplies] = {}
        self.mutex = Lock(self.folder / "lock")
        self.members = Members(self.folder / "runs")
        self.claims = Claims(self.folder / "claimed", self.members, self.mutex)
        self.unusable = UnusableReplies(self.folder / "unusable.jsonl")
        self.synced_at = time.monotonic()
        weakref.finalize(self, self.members.leave)

    def get(self, request: Request) -> Kept | None:
        """The reply that is kept for the request, and what it cost; None where there is none."""
        key = request.key
        for recording in self.recordings:
            if (kept := recording.get(key)) is not None:
                return Kept(_kept_reply(kept[0], key, recording.path), kept[1])
        replies = self._model(request.model)
        record = replies.read(bytes.fromhex(key))
        if record is None:
            return None
        return Kept(_kept_reply(record.reply, key, replies.path), record.usd)

    def holds(self, request: Request) -> bool:
        """Whether there is a reply to the request, without reading it."""
        key = request.key
        if any(key in recording for recording in self.recordings):
            return True
        return bytes.fromhex(key) in self._model(request.model).places

    def knows(self, model: str) -> bool:
        """Whether there is any reply of the model."""
        if self._model(model).places:
            return True
        return any(recording.knows(model) for recording in self.recordings)

    def keep(self, request: Request, reply: Reply, usd: float = 0.0) -> None:
        """Keep a reply: it is on file when this returns."""
        line = record_line(request, reply, usd)
        self.join()
        try:
            with self.mutex:
                descriptor = self._model(request.model).append(line)
        except OSError as error:
            raise CJEError(
                f"{self.folder}: a reply cannot be kept ({error.strerror}); make room or set "
                "CJE_STORE to another folder. What was kept before is safe"
            ) from None
        now = time.monotonic()
        if now - self.synced_at >= SYNC_SECONDS:
            os.fsync(descriptor)
            self.synced_at = now
        os.close(descriptor)
        self._model(request.model).refresh()

    def note_unusable(self, request: Request, failure: CallFailed, usd: float) -> None:
        """Note a reply that was paid for and is unusable."""
        self.join()
        try:
            with self.mutex:
                self.unusable.note(request, failure, usd)
        except OSError as error:
            raise self._closed(error) from None

    def found_unusable(self, request: Request) -> Unusable:
        """The replies to the request that were unusable, in all runs so far."""
        return self.unusable.of(request.key)

    def count(self, stage: str, hits: int, missing: int) -> None:
        """Note how many wanted replies were kept already, and how many must be asked for."""
        if not self.folder.is_dir():  # a replay of recordings needs no store
            return
        row = {"stage": stage, "hits": hits, "asked": missing}
        try:
            with (self.folder / "hits.jsonl").open("a", encoding="ascii") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise self._closed(error) from None

    def refresh(self, model: str) -> None:
        """See what other processes have kept since."""
        self._model(model).refresh()

    def claim(self, request: Request) -> bool:
        """Whether this process, and no other, may ask this request now. True also where it holds
        the claim already."""
        self.join()
        try:
            return self.claims.take(request.key)
        except OSError as error:
            raise self._closed(error) from None

    def release(self, request: Request) -> None:
        """Give a claim back."""
        self.claims.give_back(request.key)

    def join(self) -> None:
        """Join the processes that use the store, so that nobody prunes it meanwhile."""
        if self.members.joined:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            ignore = self.folder / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n", encoding="utf-8")
            with self.mutex:
                if self.members.join():
                    self.claims.clear()
        except OSError as error:
            raise self._closed(error) from None

    @property
    def damaged(self) -> dict[Path, int]:
        """Damaged records by file, of the files that have been read."""
        return {m.path: len(m.damaged) for m in self.models.values() if m.damaged}

    def _model(self, model: str) -> ModelReplies:
        if model not in self.models:
            self.models[model] = ModelReplies(self.folder / model_file(model))
            self.models[model].refresh()
        return self.models[model]

    def _closed(self, error: OSError) -> CJEError:
        return CJEError(
            f"{self.folder}: the reply store cannot be written ({error.strerror}); make room or "
            "set CJE_STORE to a folder that can"
        )


def _kept_reply(text: str, key: str, path: Path) -> Reply:
    try:
        return Reply.from_json(text)
    except ValueError as error:
        raise CJEError(
            f"{path}: key {key}: its reply cannot be read: {error}; `cje store prune --yes` takes "
            "it out of the store, and it is asked again"
        ) from None


def record_line(request: Request, reply: Reply, usd: float) -> bytes:
    """The line that keeps a reply."""
    canonical = request.canonical
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return line_of(Record(request_key(canonical), at, round(usd, 9), canonical, reply.as_json))


def line_of(record: Record) -> bytes:
    """The line of a record."""
    body = (
        f'"key":"{record.key}","at":"{record.at}","usd":{json.dumps(record.usd)},'
        f'"request":{record.request},"reply":{record.reply}}}'
    ).encode()
    return b'{"sum":"' + _sum(body) + b'",' + body + b"\n"


def line_key(line: bytes) -> bytes | None:
    """The key of a whole and undamaged line; None for another."""
    match = HEAD.fullmatch(line)
    if match is None or _sum(match[2]) != match[1]:
        return None
    return bytes.fromhex(match[3].decode())


def parse_line(line: bytes) -> Record | None:
    """The record in a line; None where it is damaged or of another form."""
    if line_key(line) is None:
        return None
    # Quotes inside JSON's strings are escaped, so these marks stand between the parts alone.
    head, _, rest = line.rstrip(b"\n").decode().partition(',"request":')
    request, _, reply = rest.partition(',"reply":')
    try:
        fields = json.loads(head + "}")
        return Record(fields["key"], str(fields["at"]), float(fields["usd"]), request, reply[:-1])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def read_records(path: Path) -> Iterator[Record | None]:
    """Every record of a model's file; None for each damaged one."""
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                yield parse_line(line)


def _sum(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=8).hexdigest().encode()
