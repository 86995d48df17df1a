"""Calls through a provider's batch interface: at half the price, as many at once as the budget
lets, and the first of them one by one where they decide about the others."""

import time
from collections.abc import Callable, Sequence

from cje.errors import CJEError
from cje.models.prices import Price
from cje.models.requests import CallFailed, Request
from cje.models.runner.attempts import WAIT_SECONDS
from cje.models.runner.batches import run_batches
from cje.models.runner.budget import Budget, BudgetSpent, worst_cost
from cje.models.runner.journal import Journal
from cje.models.runner.keeping import Keeper
from cje.models.runner.sightings import Sighting
from cje.models.runner.store import ReplyStore


class BatchCalls:
    """The calls of one model of `provider`; `headers` go beside the usual ones."""

    def __init__(
        self,
        provider: str,
        store: ReplyStore,
        budget: Budget,
        keep: Keeper,
        price: Price,
        headers: dict[str, str] | None,
    ):
        self.provider, self.store, self.budget, self.keep = provider, store, budget, keep
        self.price, self.headers = price, headers
        self.journal = store.folder / "batches" / f"{provider}.jsonl"

    def run(self, requests: Sequence[Request]) -> dict[str, CallFailed]:
        """Ask all; what failed in a way that may pass goes into one more batch. The failures by
        key."""
        self.keep.batch = True
        failed: dict[str, CallFailed] = {}
        left = list(requests)
        submitted: set[str] = set()
        while left:
            worst = [worst_cost(request, self.price, batch=True) for request in left]
            count = len(left) if self._fits(sum(worst), wait=False) else 0
            while count < len(left) and self._fits(worst[count], wait=count == 0):
                count += 1
            group, left, room = left[:count], left[count:], sum(worst[:count])
            try:
                failures = run_batches(
                    group, self.provider, self.journal, self.keep,
                    progress=self._show, held=self._held_now, bill=self.keep.bill,
                    headers=self.headers,
                )  # fmt: skip
            finally:
                self.budget.release(room)
            for request, failure in failures:
                failed[request.key] = failure
                if failure.again and request.key not in submitted:
                    left.append(request)
            submitted |= {request.key for request in group}
            for request in group:
                if self._held_now(request):
                    failed.pop(request.key, None)
        return failed

    def run_after_first(
        self,
        requests: Sequence[Request],
        ahead: int,
        singly: Callable[[Sequence[Request]], dict[str, CallFailed]],
        check: Callable[[dict[str, CallFailed]], str | None],
        allowed: int,
    ) -> dict[str, CallFailed]:
        """A batch is paid whole: so the first `ahead` requests are asked `singly`, but for those
        that are in a batch already, and decide by `check`, and by no more than `allowed` failures,
        whether the others are asked at all. Raises CJEError with what the check says."""
        journal = Journal(self.journal)
        journal.refresh()
        submitted = {key for entry in journal.live() for key in entry.requests}
        first = [requests[place] for place in range(ahead)]
        alone = [request for request in first if request.key not in submitted]
        failed = singly(alone) if alone else {}
        waiting = [request for request in first if request.key in submitted]
        failed |= self.run(waiting) if waiting else {}
        if ahead == len(requests) or len(failed) > allowed or any(f.fatal for f in failed.values()):
            return failed
        if words := check(failed):
            raise CJEError(words)
        rest = (requests[place] for place in range(ahead, len(requests)))
        # What was waited for brought others of its batch with it.
        left = [request for request in rest if not waiting or not self.store.holds(request)]
        return failed | (self.run(left) if left else {})

    def _show(self, seen: Sighting) -> None:
        self.keep.progress.look(seen.batch, seen.counts, str(seen))

    def _fits(self, dollars: float, wait: bool) -> bool:
        """Whether the dollars were set aside. With `wait` they are, once other calls have left room
        for them; raises CJEError where none is in flight and they do not fit."""
        while True:
            try:
                if self.budget.take(dollars):
                    return True
            except BudgetSpent as error:
                if wait:
                    raise CJEError(str(error)) from None
                return False
            if not wait:
                return False
            time.sleep(WAIT_SECONDS)

    def _held_now(self, request: Request) -> bool:
        self.store.refresh(request.model)
        return self.store.holds(request)
