"""What a look at a batch showed, in words and in a file beside the journal."""

from dataclasses import dataclass
from datetime import UTC, datetime

from cje.models.providers.batch_apis import Look
from cje.models.runner.progress import duration


@dataclass(frozen=True)
class Sighting:
    """What a look at a batch showed: its state in the provider's own word, and requests `done` of
    `total`, `failed` of them. Times are ISO 8601 in UTC; `made` is None where nobody says."""

    batch: str
    state: str
    done: int
    failed: int
    total: int
    at: str
    made: str | None = None

    @property
    def counts(self) -> str:
        """State and counts in words: in_progress, 3 of 20 done, 1 failed."""
        failed = f", {self.failed:,} failed" if self.failed else ""
        return f"{self.state}, {self.done:,} of {self.total:,} done{failed}"

    def __str__(self) -> str:
        since = ""
        if self.made is not None:
            seconds = datetime.fromisoformat(self.at) - datetime.fromisoformat(self.made)
            since = f", {duration(max(seconds.total_seconds(), 0))} after it was made"
        return f"batch {self.batch}: {self.counts} ({clock(self.at)}{since})"


def clock(at: str) -> str:
    """An ISO time by this machine's clock, with the day where that is not today."""
    when, today = datetime.fromisoformat(at).astimezone(), datetime.now().astimezone().date()
    return when.strftime("%H:%M:%S" if when.date() == today else "%Y-%m-%d %H:%M:%S")


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def sighting(batch: str, look: Look, count: int) -> Sighting:
    """What a look showed, now; `count` requests where the provider does not say yet."""
    made = None if look.made is None else look.made.isoformat(timespec="seconds")
    total = look.total or count
    return Sighting(batch, look.state, look.done, look.failed, total, now(), made)
