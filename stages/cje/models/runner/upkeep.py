"""Maintenance of the reply store: what it contains, whether it is sound, recordings, pruning."""

import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cje.errors import CJEError
from cje.models.requests import request_key
from cje.models.runner.batches import look_now
from cje.models.runner.journal import Journal
from cje.models.runner.locks import Members, locked
from cje.models.runner.recording import (
    Record,
    read_recording,
    recording_problems,
    reply_problem,
    write_recording,
)
from cje.models.runner.sightings import Sighting, clock
from cje.models.runner.store import (
    ModelReplies,
    ReplyStore,
    line_of,
    model_file,
    read_records,
)
from cje.vocabulary import counted


@dataclass(frozen=True)
class Holding:
    """What the store contains for one model."""

    model: str
    path: Path
    replies: int
    repeats: int
    damaged: int
    size: int
    usd: float
    oldest: str
    newest: str


def holdings(folder: Path) -> list[Holding]:
    """What the store contains, by model."""
    return [found for path in model_files(folder) if (found := _holding(path)) is not None]


@dataclass(frozen=True)
class LiveBatch:
    """A batch that is not collected yet: `seen` is what the last look at it showed, `problem` why
    it could not be looked at now. `id` is None where a kill left it open whether it was made."""

    id: str | None
    model: str
    requests: int
    submitted: str | None
    seen: Sighting | None = None
    problem: str | None = None

    def __str__(self) -> str:
        at = f", submitted {clock(self.submitted)}" if self.submitted else ""
        head = f"{self.model}: {counted(self.requests, 'request')}{at}: "
        if self.id is None:
            return f"{head}it is not known whether the batch was made; the next run finds out"
        said = str(self.seen) if self.seen else f"batch {self.id}: nobody has looked at it yet"
        return head + said + (f"; no look now: {self.problem}" if self.problem else "")


def live_batches(
    folder: Path, look: bool = True, headers: Mapping[str, Mapping[str, str]] | None = None
) -> list[LiveBatch]:
    """The batches that are not collected, of all providers. With `look` each is looked at now,
    where the provider's key is in the environment, with the `headers` of the settings."""
    found = []
    for path in sorted((folder / "batches").glob("*.jsonl")):
        journal = Journal(path)
        journal.refresh()
        for entry in journal.live():
            facts = entry.model, len(entry.fields), entry.at
            for batch in entry.ids:
                own = (headers or {}).get(path.stem)
                problem = look_now(path.stem, journal, entry, batch, own) if look else None
                found.append(LiveBatch(batch, *facts, journal.seen(batch), problem))
            if not entry.ids:
                found.append(LiveBatch(None, *facts))
    return found


def model_files(folder: Path) -> list[Path]:
    """The files of replies under the store's folder."""
    others = ("batches", "spent")
    return [path for path in sorted(folder.glob("*/*.jsonl")) if path.parent.name not in others]


def store_problems(folder: Path | None, recordings: Iterable[Path]) -> list[str]:
    """What is wrong, a line each: damaged lines, keys that are not those of their requests, replies
    that cannot be read; in the store, if one is given, and in the recordings."""
    problems = []
    for path in model_files(folder) if folder else ():
        for number, record in enumerate(read_records(path), start=1):
            if (words := _problem(record)) is not None:
                problems.append(f"{path}: record {number}: {words}")
    for path in recordings:
        try:
            problems += recording_problems(path)
        except CJEError as error:
            problems.append(str(error))
    return problems


def export_replies(
    folder: Path,
    recordings: Iterable[Path],
    to: Path,
    keys: Collection[str] | None,
    settings: dict[str, Any],
    made: dict[str, str] | None = None,
) -> tuple[int, int]:
    """Write a recording of the replies with these keys (None: all of the store); returns how many
    it holds, and how many of the keys have no reply anywhere."""
    found: dict[str, Record] = {}
    for record in _all_records(folder, recordings if keys is not None else ()):
        if keys is None or record.key in keys:
            found.setdefault(record.key, record)
    if not found:
        raise CJEError(f"{folder}: contains none of the replies to export; run dvc repro first")
    count = write_recording(to, found.values(), settings, made)
    return count, 0 if keys is None else len(set(keys) - set(found))


def import_replies(folder: Path, recording: Path) -> tuple[int, int]:
    """Add a recording's replies to the store; returns how many were new, and how many it had."""
    if problems := recording_problems(recording):
        raise CJEError(
            "\n".join([*problems[:3], f"{counted(len(problems), 'problem')}; nothing was added"])
        )
    new, models, store = 0, {}, ReplyStore(folder)
    rows = read_recording(recording).to_pylist()
    store.join()
    for row in rows:
        model = row.pop("model")
        if model not in models:
            models[model] = ModelReplies(folder / model_file(model))
            models[model].refresh()
        if bytes.fromhex(row["key"]) not in models[model].places:
            with store.mutex:
                os.close(models[model].append(line_of(Record(**row))))
            new += 1
    return new, len(rows) - new


def prune(folder: Path, drop: Callable[[Record], bool], really: bool) -> tuple[int, int]:
    """Take records out of the store: those that `drop` names, repeats, and those that are
    damaged or cannot be read.

    Returns how many go and how many bytes; nothing is written unless `really`. Raises CJEError
    while a run uses the store.
    """
    gone = size = 0
    with _alone(folder):
        for path in model_files(folder):
            kept, seen = [], set()
            for record in read_records(path):
                if (
                    record is None
                    or reply_problem(record.reply) is not None
                    or record.key in seen
                    or drop(record)
                ):
                    gone += 1
                    continue
                seen.add(record.key)
                kept.append(line_of(record))
            left = sum(map(len, kept))
            size += path.stat().st_size - left
            if really:
                _replace(path, kept)
    return gone, size


def forget_unusable(folder: Path, really: bool) -> int:
    """Remove the notes of replies that were unusable, where `really`; returns of how many requests
    there were any. Raises CJEError while a run uses the store."""
    with _alone(folder):
        notes = ReplyStore(folder).unusable
        count = len(notes)
        if really:
            notes.path.unlink(missing_ok=True)
    return count


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the store's lock alone."""
    if not folder.is_dir():
        raise CJEError(f"{folder}: there is no reply store yet")
    with locked(folder / "lock"):
        if Members(folder / "runs").others():
            raise CJEError(f"{folder}: a run uses the store; wait for its end")
        yield


def _replace(path: Path, lines: list[bytes]) -> None:
    if not lines:
        path.unlink()
        return
    new = path.with_suffix(".new")
    with new.open("wb") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _all_records(folder: Path, recordings: Iterable[Path]) -> Iterator[Record]:
    for path in recordings:
        for row in read_recording(path).to_pylist():
            del row["model"]
            yield Record(**row)
    for path in model_files(folder):
        yield from (record for record in read_records(path) if record is not None)


def _holding(path: Path) -> Holding | None:
    seen: set[str] = set()
    model, usd, damaged, lines, dates = "", 0.0, 0, 0, []
    for record in read_records(path):
        lines += 1
        if record is None:
            damaged += 1
            continue
        model = model or json.loads(record.request)["model"]
        seen.add(record.key)
        usd += record.usd
        dates.append(record.at)
    if not lines:
        return None
    return Holding(
        model or path.stem, path, len(seen), lines - damaged - len(seen), damaged,
        path.stat().st_size, usd, min(dates, default=""), max(dates, default=""),
    )  # fmt: skip


def _problem(record: Record | None) -> str | None:
    if record is None:
        return "damaged; its request will be asked again"
    if request_key(record.request) != record.key:
        return f"key {record.key} is not that of its request"
    if (words := reply_problem(record.reply)) is not None:
        return f"key {record.key}: {words}"
    return None
