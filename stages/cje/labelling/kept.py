"""What people said about answers: labels/labels.jsonl, which only grows.

A line is a mark: a rater's label of an answer, a skip with its reason, or the withdrawal of the
rater's last mark. A rater's last mark on an answer counts, and the earlier ones remain as its
history. A line is on disk before it is acknowledged; a line cut short by a crash was never
acknowledged, and the next writer removes it.
"""

import json
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cje.errors import CJEError, writing
from cje.models.runner.locks import locked

FOLDER = Path("labels")
LABELS = FOLDER / "labels.jsonl"
DVC_LOCKS = Path(".dvc/tmp/rwlock")  # who reads and writes what, by process
LONGEST_NAME = 60  # letters of a rater's
LONGEST_WAIT = 60.0  # seconds, for a DVC stage that reads the labels


@dataclass(frozen=True)
class Mark:
    """What a rater said about the answer `id`: a `label` on `scale`, or why they `skip` it, or that
    their previous mark is `withdrawn`. `seconds`: how long the answer was looked at; `via`: page or
    the file that was imported; `at`: when, in UTC."""

    id: str
    rater: str
    uid: str = ""
    label: float | None = None
    skip: str | None = None
    withdrawn: bool = False
    note: str = ""
    seconds: float | None = None
    scale: tuple[float, float] | None = None
    via: str = "page"
    at: str = ""

    def line(self) -> bytes:
        """The mark as a line of the file, without what is empty."""
        kept = {name: value for name, value in asdict(self).items() if value not in (None, "", 0)}
        if self.label is not None:
            kept["label"] = self.label
        return json.dumps(kept, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


class Labels:
    """The file of marks. `current` has by id and rater the mark that counts, without those
    withdrawn; `marks` is the history, oldest first."""

    def __init__(self, path: Path = LABELS):
        self.path = path
        self.marks: list[Mark] = []
        self.current: dict[str, dict[str, Mark]] = {}
        self._read = 0  # bytes
        self._lines = 0
        self.refresh()

    def refresh(self) -> None:
        """Read what has been added since; an unfinished last line is left for later. Raises
        CJEError with file and line for a line that is not a mark."""
        try:
            with self.path.open("rb") as file:
                if self._read > os.fstat(file.fileno()).st_size:  # another file is in its place
                    self.marks, self.current = [], {}
                    self._read = self._lines = 0
                file.seek(self._read)
                added = file.read()
        except FileNotFoundError:
            return
        whole = added[: added.rfind(b"\n") + 1]
        for line in whole.split(b"\n")[:-1]:
            self._lines += 1
            if line.strip():
                self._take(self._mark(line))
        self._read += len(whole)

    def add(self, marks: Iterable[Mark]) -> list[Mark]:
        """Write the marks with the time; they are on disk when this returns.

        Waits while a DVC stage reads the file: DVC hashes what a stage depends on after it has run,
        so that a label written meanwhile would count as read.
        """
        with self.locked():
            self.refresh()
            marks = [Mark(**(asdict(mark) | {"at": mark.at or _now()})) for mark in marks]
            if marks:
                self._append(b"".join(mark.line() for mark in marks))
                self.refresh()
            return marks

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Exclusive access for writing labels on this machine."""
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with locked(self.path.with_suffix(".lock")):
                yield

    def _append(self, data: bytes) -> None:
        wait_for_stages(self.path)
        new = not self.path.exists()
        with writing(self.path), self.path.open("ab+") as file:
            file.seek(self._read)
            if rest := file.read():
                if _is_json(rest):  # an editor left out the line end of the last line
                    data = b"\n" + data
                else:  # cut short by a crash
                    file.truncate(self._read)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if new and os.name == "posix":
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _take(self, mark: Mark) -> None:
        self.marks.append(mark)
        raters = self.current.setdefault(mark.id, {})
        raters.pop(mark.rater, None)
        if not mark.withdrawn:
            raters[mark.rater] = mark

    def _mark(self, line: bytes) -> Mark:
        where = f"{self.path}:{self._lines}"
        if line.startswith((b"<<<<<<<", b"=======", b">>>>>>>")):
            raise CJEError(f"{where}: git left a conflict here; keep the lines of both sides")
        try:
            row = json.loads(line)
            mark = Mark(**(row | {"scale": tuple(row["scale"]) if row.get("scale") else None}))
        except (ValueError, TypeError, AttributeError):
            raise CJEError(f"{where}: this is not a label; restore the file from git") from None
        kinds = (mark.label is not None) + (mark.skip is not None) + mark.withdrawn
        named = all(isinstance(text, str) and text for text in (mark.id, mark.rater))
        if kinds != 1 or not named or not _is_score(mark.label):
            raise CJEError(f"{where}: neither a label nor a skip; restore the file from git")
        return mark

    def ratings(self, answer: str) -> list[float]:
        """The labels of an answer that count, in the order of the raters' names."""
        return ratings(self.current.get(answer, {}))

    def notes(self, answer: str) -> str | None:
        """What raters noted with their labels of an answer, in the order of the raters' names."""
        raters = self.current.get(answer, {})
        marks = [raters[name] for name in sorted(raters) if raters[name].label is not None]
        return "; ".join(mark.note for mark in marks if mark.note) or None

    def skips(self, answer: str) -> list[str]:
        """Why raters skipped an answer."""
        return [mark.skip for mark in self.current.get(answer, {}).values() if mark.skip]

    def last_of(self, rater: str) -> Mark | None:
        """The rater's latest mark that counts."""
        return next(
            (
                mark
                for mark in reversed(self.marks)
                if mark.rater == rater and self.current.get(mark.id, {}).get(rater) is mark
            ),
            None,
        )


def rater_name(given: str) -> str:
    """The name as it is stored; raises CJEError if it is empty, too long or not on one line."""
    name = given.strip()
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        raise CJEError(f"give a name of 1 to {LONGEST_NAME} letters, on one line")
    return name


def ratings(marks: Mapping[str, Mark]) -> list[float]:
    """The labels among an answer's marks by rater, in the order of the raters' names."""
    labels = (marks[name].label for name in sorted(marks))
    return [label for label in labels if label is not None]


def check_scale(labels: Labels, scale: tuple[float, float]) -> None:
    """Raise CJEError if a label that counts was given on another scale."""
    for raters in labels.current.values():
        for mark in raters.values():
            if mark.label is not None and mark.scale is not None and mark.scale != scale:
                was, now = (f"[{lo:g}, {hi:g}]" for lo, hi in (mark.scale, scale))
                raise CJEError(
                    f"{labels.path}: labels were given on the scale {was}, and oracle_range is "
                    f"{now}: set it back, or move the file away and label again"
                )


def wait_for_stages(path: Path) -> None:
    """Wait until no DVC stage reads the file, at most LONGEST_WAIT seconds."""
    end = time.monotonic() + LONGEST_WAIT
    while time.monotonic() < end and being_read(path):
        time.sleep(0.05)


def being_read(path: Path) -> bool:
    """Whether a DVC stage that depends on the file, or its folder, is running."""
    try:
        readers = json.loads(DVC_LOCKS.read_text(encoding="utf-8")).get("read", {})
    except (OSError, ValueError):
        return False
    from psutil import pid_exists

    file = path.resolve()
    return any(
        pid_exists(reader["pid"])
        for name, holders in readers.items()
        if (place := Path(name).resolve()) == file or place in file.parents
        for reader in holders
    )


def _is_score(value: Any) -> bool:
    if value is None:
        return True
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
