"""The list of answers while people label it: what comes next for whom, and what is done."""

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Lock
from typing import Any

import pandas as pd

from cje.errors import CJEError
from cje.labelling.kept import Labels, Mark
from cje.settings import Settings

HELD = 900.0  # seconds for which an answer that a rater looks at is not shown to another
FEWEST_TIMES = 3  # marks of a rater that a guess of the time left needs
LATEST_TIMES = 20
LONGEST = 600.0  # seconds on one answer; more is a break


@dataclass(frozen=True)
class Task:
    """An answer of the list; `place` counts from 1, `raters` is how many it needs."""

    place: int
    id: str
    uid: str
    prompt: str
    reference: str | None
    answer: str
    raters: int

    def shown(self) -> dict[str, Any]:
        """What a rater sees of it: not which policy gave it, nor what a judge says."""
        return {name: getattr(self, name) for name in ("id", "prompt", "reference", "answer")}


class Session:
    """The list `rows` (see `tasks.task_list`) and the labels, for several raters at once."""

    def __init__(self, rows: pd.DataFrame, labels: Labels, settings: Settings):
        self.labels, self.settings = labels, settings
        self.tasks = [
            Task(
                place, row.id, row.uid, row.prompt,
                row.reference if isinstance(row.reference, str) else None, row.answer, row.raters,
            )
            for place, row in enumerate(rows.itertuples(), 1)
        ]  # fmt: skip
        self.by_id = {task.id: task for task in self.tasks}
        self.held: dict[str, dict[str, float]] = {}  # answer, rater, until when
        self.lock = Lock()
        self.given = 0  # marks since the start

    def state(self, rater: str, show: str | None = None) -> dict[str, Any]:
        """What the page shows: the next answer for the rater, or the answer `show`, and the
        progress of all raters."""
        with self.lock:
            self.labels.refresh()
            task = self.by_id[show] if show else self._next(rater)
            if task is not None:
                self._hold(task.id, rater)
            wanted = sum(task.raters for task in self.tasks)
            done = sum(min(self._marks(task), task.raters) for task in self.tasks)
            mine = list(self._open(rater))
            return {
                "task": task and task.shown(),
                "done": done,
                "wanted": wanted,
                "left": len(mine),
                "minutes": self._minutes(rater, len(mine)),
                "undo": self._last(rater) is not None,
            }

    def mark(self, rater: str, name: str, **said: Any) -> None:
        """Save what the rater says about the answer; raises CJEError if it is not on the list."""
        with self.lock:
            task = self.by_id.get(name)
            if task is None:
                raise CJEError("this answer is not on the list any more; load the page again")
            scale = self.settings.oracle_range if said.get("label") is not None else None
            self.labels.add([Mark(id=name, uid=task.uid, rater=rater, scale=scale, **said)])
            self.held.get(name, {}).pop(rater, None)
            self.given += 1

    def undo(self, rater: str) -> str | None:
        """Withdraw the rater's last mark on the list; returns the id of its answer, or None if
        there is no mark."""
        with self.lock:
            self.labels.refresh()
            last = self._last(rater)
            if last is None:
                return None
            self.labels.add([Mark(id=last.id, uid=last.uid, rater=rater, withdrawn=True)])
            return last.id

    def _last(self, rater: str) -> Mark | None:
        last = self.labels.last_of(rater)
        return last if last is not None and last.id in self.by_id else None

    def _marks(self, task: Task) -> int:
        return len(self.labels.current.get(task.id, {}))

    def _open(self, rater: str) -> Iterator[Task]:
        """The answers that still need this rater: first those with too few marks, whoever holds
        them, then those that everybody else skipped."""
        skipped = []
        for task in self.tasks:
            marks = self.labels.current.get(task.id, {})
            if rater in marks:
                continue
            if len(marks) < task.raters:
                yield task
            elif all(mark.skip for mark in marks.values()):
                skipped.append(task)
        yield from skipped

    def _next(self, rater: str) -> Task | None:
        """The first of them that others who hold it leave room for; if they hold all, the first."""
        now, first = time.monotonic(), None
        for task in self._open(rater):
            first = first or task
            held = self.held.get(task.id, {})
            others = sum(end > now for name, end in held.items() if name != rater)
            if others < max(task.raters - self._marks(task), 1):
                return task
        return first

    def _hold(self, name: str, rater: str) -> None:
        for holders in self.held.values():
            holders.pop(rater, None)
        self.held.setdefault(name, {})[rater] = time.monotonic() + HELD

    def _minutes(self, rater: str, left: int) -> float | None:
        """How many minutes the rest takes this rater alone, at the pace of their latest marks."""
        times = [
            min(mark.seconds, LONGEST)
            for mark in self.labels.marks
            if mark.rater == rater and mark.seconds
        ][-LATEST_TIMES:]
        if len(times) < FEWEST_TIMES:
            return None
        return left * statistics.median(times) / 60
