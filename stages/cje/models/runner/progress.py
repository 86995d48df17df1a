"""Progress of many calls: a bar on a terminal, plain lines elsewhere; rate, cost and time left."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

LINE_SECONDS = 15.0  # between two lines where there is no terminal
STEADY_CALLS = 32  # before the rate says how long is left: batches give their first reply late
QUIET_SECONDS = 1.0  # work that is over sooner needs no bar


class CallProgress:
    """Counts calls; `kept` of `total` were in the store before."""

    def __init__(self, title: str, total: int, kept: int, console: Console | None = None):
        self.title, self.total, self.kept = title, total, kept
        self.done, self.failed, self.usd = kept, 0, 0.0
        self.console = console or Console(stderr=True, highlight=False, markup=False, emoji=False)
        self.started = self.said = time.monotonic()
        self.bar: Progress | None = None
        self.batches: dict[str, str] = {}  # what the last look at each batch showed

    def __enter__(self) -> "CallProgress":
        if self.console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TextColumn("{task.fields[facts]}"),
            )
            self.bar = Progress(*columns, console=self.console, transient=True)
            self.bar.start()
            self.task = self.bar.add_task(
                self.title, total=self.total, completed=self.kept, facts=""
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.bar is not None:
            self.bar.stop()
        if time.monotonic() - self.started >= QUIET_SECONDS:
            self._print(f"{self.title}: {self.done:,} of {self.total:,}; {self.facts(ended=True)}")

    def step(self, usd: float = 0.0, failed: bool = False) -> None:
        """One more call is over."""
        self.done += not failed
        self.failed += failed
        self.usd += usd
        now = time.monotonic()
        if self.bar is not None:
            self.bar.update(self.task, completed=self.done + self.failed, facts=self.facts())
        elif now - self.said >= LINE_SECONDS:
            self.said = now
            self._print(f"{self.title}: {self.done:,} of {self.total:,}; {self.facts()}")

    def look(self, batch: str, counts: str, line: str) -> None:
        """What a look at a batch showed: a line, on a terminal only where it is news, and there in
        the bar too."""
        news = self.batches.get(batch) != counts
        self.batches[batch] = counts
        if self.bar is not None:
            self.bar.update(self.task, facts=counts)
        if self.bar is None or news:
            self._print(f"{self.title}: {line}")

    def facts(self, ended: bool = False) -> str:
        """Rate, cost and time left, or, at the end, time taken; and what was kept before."""
        answered = self.done - self.kept + self.failed
        seconds = max(time.monotonic() - self.started, 1e-9)
        steady = ended or answered >= max(1, min(STEADY_CALLS, (self.total - self.kept) / 2))
        words = [f"{answered / seconds:.1f}/s"] if steady else ["waiting for replies"]
        if self.kept:
            words.append(f"{self.kept:,} kept")
        if self.usd:
            words.append(f"${self.usd:.2f}")
        if self.failed:
            words.append(f"{self.failed} failed")
        if ended:
            words.append(f"{duration(seconds)} taken")
        elif steady:
            left = (self.total - self.done - self.failed) * seconds / answered
            words.append(f"{duration(left)} left")
        return ", ".join(words)

    def _print(self, line: str) -> None:
        self.console.print(line, markup=False, soft_wrap=True)
        sys.stderr.flush()


def duration(seconds: float) -> str:
    """Seconds in words: 8 s, 3 min 20 s, 2 h 5 min."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"
