"""Replies that were paid for and are unusable: a line each, so that no run asks for them forever.

A provider bills a reply without text, of another form than was asked for, or that came too late,
as it does any other. Each is noted with its reason and its dollars, and a request is asked
`MOST_ATTEMPTS` times, over all runs.
"""

import json
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cje.models.requests import CallFailed, Request

MOST_ATTEMPTS = 4


@dataclass(frozen=True)
class Unusable:
    """How many replies to a request were unusable, their dollars, and the last one's reason."""

    count: int = 0
    usd: float = 0.0
    reason: str = ""

    @property
    def final(self) -> bool:
        """Whether the request is not to be asked any more."""
        return self.count >= MOST_ATTEMPTS

    @property
    def failure(self) -> CallFailed:
        """What the call results in when it is not made any more."""
        times = "once" if self.count == 1 else f"{self.count} times"
        return CallFailed(f"{self.reason} (asked {times} in all)")


NONE = Unusable()


class UnusableReplies:
    """The notes in the file `path`, those of other processes included."""

    def __init__(self, path: Path):
        self.path, self.read = Path(path), 0
        self._found: dict[str, Unusable] = defaultdict(Unusable)

    def __len__(self) -> int:
        """Of how many requests there is any."""
        self.refresh()
        return len(self._found)

    def of(self, key: str) -> Unusable:
        """What is noted of the request with this key."""
        self.refresh()
        return self._found.get(key, NONE)

    def note(self, request: Request, failure: CallFailed, usd: float) -> None:
        """Append one; the caller holds the store's lock."""
        fields = {
            "key": request.key, "model": request.model, "usd": round(usd, 9),
            "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "reason": failure.reason,
        }  # fmt: skip
        with self.path.open("ab+") as file:
            size = file.seek(0, 2)
            if size:
                file.seek(size - 1)
                if file.read(1) != b"\n":
                    file.write(b"\n")
            file.write(json.dumps(fields).encode("ascii") + b"\n")

    def refresh(self) -> None:
        """Read what has been appended since, by any process."""
        try:
            size = self.path.stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return
        if size == self.read:
            return
        if size < self.read:  # it was begun again
            self.read = 0
            self._found.clear()
        with self.path.open("rb") as file:
            file.seek(self.read)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self.read += len(line)
                self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            fields = json.loads(line)
            key, usd, reason = str(fields["key"]), float(fields["usd"]), str(fields["reason"])
        except (ValueError, KeyError, TypeError):
            return  # damaged: the request may be asked once more
        before = self._found[key]
        self._found[key] = Unusable(before.count + 1, round(before.usd + usd, 9), reason)
