"""Locks between processes, on every system, which the system releases when their holder ends.

A killed process must never block another one, so a file that merely exists is not a lock: a `Lock`
is one of the operating system, and whatever else a process marks as its own carries its name among
the `Members`, which counts only while that member's own lock is held.
"""

import contextlib
import errno
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from filelock import SoftFileLock, Timeout, lock_descriptor, unlock_descriptor

POLL_SECONDS = 0.002  # between two tries at a lock that another process holds
UNWRITTEN_SECONDS = 60.0  # after which a marker without a name is one of a killed process


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock on the file while the block runs."""
    lock = Lock(path)
    lock.acquire()
    try:
        yield
    finally:
        lock.close()


class Lock:
    """A lock on the file `path`, which is made if it is missing and stays; also a context manager.

    Not re-entrant. Where the system has no native locks, a marker beside the file with the process
    number of its holder is used, and a marker whose process is gone is ignored; so is one without a
    number, which a process killed while it made the marker leaves, after UNWRITTEN_SECONDS.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self._descriptor: int | None = None
        self._process: int | None = None
        self._soft: SoftFileLock | None = None

    def acquire(self, blocking: bool = True) -> bool:
        """Whether the lock is held now; waits for it, unless `blocking` is False."""
        descriptor = self._descriptor
        if descriptor is None or self._process != os.getpid():
            descriptor = self._open()  # a fork shares the descriptor, and so the lock
        if self._soft is None:
            try:
                return lock_descriptor(descriptor, blocking=blocking, poll_interval=POLL_SECONDS)
            except OSError as error:
                if error.errno != errno.ENOSYS:
                    raise
                self._soft = SoftFileLock(f"{self.path}.held")
        while True:
            try:
                self._soft.acquire(blocking=False)
                return True
            except Timeout:
                _remove_unwritten(Path(self._soft.lock_file))
            if not blocking:
                return False
            time.sleep(POLL_SECONDS)

    def release(self) -> None:
        """Give the lock back."""
        if self._soft is not None:
            self._soft.release()
        elif self._descriptor is not None:
            unlock_descriptor(self._descriptor)

    def close(self) -> None:
        """Give the lock back, if it is held, and close the file."""
        if self._soft is not None:
            self._soft.release(force=True)
        if self._descriptor is not None and self._process == os.getpid():
            os.close(self._descriptor)
        self._descriptor = self._process = self._soft = None

    def __enter__(self) -> "Lock":
        self.acquire()
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
        self._descriptor = descriptor = os.open(self.path, flags, 0o666)
        self._process, self._soft = os.getpid(), None
        return descriptor


def _remove_unwritten(marker: Path) -> None:
    """Remove a marker that a process killed while it made it has left empty; filelock leaves it."""
    try:
        found = marker.stat()
        if found.st_size or time.time() - found.st_mtime <= UNWRITTEN_SECONDS:
            return
        # Of several processes that see it one takes it away, which may be a new one by now.
        aside = marker.with_name(f"{marker.name}.{uuid.uuid4().hex}")
        marker.rename(aside)
        if aside.stat().st_ino == found.st_ino:
            aside.unlink()
        else:
            aside.rename(marker)
    except FileNotFoundError:  # another process was quicker
        return


class Members:
    """The processes that use the folder at present, this one among them once it has joined.

    Each holds the lock `<name>.lock` of its own under `folder` and may keep one line of text beside
    it. Changes are made under `mutex`, which the caller holds where a method says so.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.name: str | None = None
        self._own: Lock | None = None
        self._process: int | None = None

    @property
    def joined(self) -> bool:
        return self.name is not None and self._process == os.getpid()

    def join(self) -> bool:
        """Join them; the caller holds the mutex. Whether a dead one was found,
        whose marks may remain."""
        self.folder.mkdir(parents=True, exist_ok=True)
        before = sum(1 for _ in self.folder.glob("*.lock"))
        alive = len(self.others())
        self.name, self._process = uuid.uuid4().hex, os.getpid()
        self._own = Lock(self.folder / f"{self.name}.lock")
        self._own.acquire()
        return alive < before

    def others(self) -> list[str]:
        """The names of the other living members; what the dead left is removed. The caller holds
        the mutex."""
        names = (path.stem for path in self.folder.glob("*.lock"))
        return [name for name in names if name != self.name and self.alive(name)]

    def alive(self, name: str) -> bool:
        """Whether the member's process still runs; what a dead one left is removed. The caller
        holds the mutex."""
        if self.joined and name == self.name:
            return True
        path = self.folder / f"{name}.lock"
        if not path.exists():
            return False
        lock = Lock(path)
        held = not lock.acquire(blocking=False)
        lock.close()
        if not held:
            for left in (path, self.folder / f"{name}.says"):
                with contextlib.suppress(OSError):
                    left.unlink()
        return held

    def say(self, line: str) -> None:
        """Replace the line that this member keeps; the caller holds the mutex."""
        (self.folder / f"{self.name}.says").write_text(line, encoding="utf-8")

    def said(self, name: str) -> str:
        """The line that a member keeps; empty where it keeps none."""
        try:
            return (self.folder / f"{name}.says").read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    def leave(self) -> None:
        """Leave them."""
        if self.joined and self._own is not None:
            self._own.close()
            for kind in ("lock", "says"):
                with contextlib.suppress(OSError):
                    (self.folder / f"{self.name}.{kind}").unlink()
        self.name = self._own = None


class Claims:
    """Keys of which one member at a time may work, a small file each under `folder`."""

    def __init__(self, folder: Path, members: Members, mutex: Lock):
        self.folder, self.members, self.mutex = Path(folder), members, mutex
        self.held: set[str] = set()

    def take(self, key: str) -> bool:
        """Whether this member has the key now, or had it before."""
        if key in self.held:
            return True
        path = self.folder / key
        if not self._make(path):
            with self.mutex:
                if not self._is_left(path):
                    return False
                path.unlink(missing_ok=True)
                if not self._make(path):  # another process was quicker
                    return False
        self.held.add(key)
        return True

    def give_back(self, key: str) -> None:
        """Let others have the key."""
        if key in self.held:
            self.held.discard(key)
            (self.folder / key).unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove what the dead left; the caller holds the mutex."""
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if self._is_left(path):
                path.unlink(missing_ok=True)

    def _make(self, path: Path) -> bool:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        if (name := self.members.name) is None:
            raise RuntimeError("a process joins the members before it claims a key")
        try:
            descriptor = os.open(path, flags, 0o666)
        except FileNotFoundError:
            self.folder.mkdir(parents=True, exist_ok=True)
            return self._make(path)
        except FileExistsError:
            return False
        try:
            os.write(descriptor, name.encode("ascii"))
        except OSError:  # a full disk
            os.close(descriptor)
            path.unlink()
            raise
        os.close(descriptor)
        return True

    def _is_left(self, path: Path) -> bool:
        """Whether no living member has the claim; the caller holds the mutex."""
        try:
            name = path.read_text(encoding="ascii")
            if not name:
                return time.time() - path.stat().st_mtime > UNWRITTEN_SECONDS
        except FileNotFoundError:
            return True
        return not self.members.alive(name)
