"""Attempts: many calls at once through one connection, each kept as it comes.

A fixed number of workers take requests one by one as they are made, so that memory does not grow
with their number. The first request is sent alone, so that a wrong key, model or setting shows
before the others are sent; where its failure may concern that one prompt, the next is sent alone,
too. Requests that another process is asking already are waited for.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from cje.errors import CJEError
from cje.models.http import unexpected
from cje.models.prices import Price
from cje.models.provider import ApiBackend, CallSettings, Connection
from cje.models.requests import CallFailed, Reply, Request
from cje.models.runner.budget import Budget, BudgetSpent, prompt_bound, worst_cost
from cje.models.runner.keeping import Keeper
from cje.models.runner.rate_limiter import RateLimiter
from cje.models.runner.store import ReplyStore

WAIT_SECONDS = 0.2  # before looking again whether another process has its reply
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 8.0  # seconds before an unusable reply is asked for again
TRIALS = 3  # doubtful failures in a row that a model which never answered gets
BYTES_PER_TOKEN = 4  # of a prompt, as rate limits count it


class Attempts:
    """One run over the missing requests of a model; `run` returns the failures by key."""

    def __init__(
        self,
        requests: Sequence[Request],
        store: ReplyStore,
        budget: Budget,
        keep: Keeper,
        price: Price,
        call_settings: CallSettings,
        *,
        requests_per_minute: float | None,
        tokens_per_minute: float | None,
        allowed: int,
    ):
        self.requests, self.store, self.budget, self.keep = requests, store, budget, keep
        self.price, self.call_settings, self.allowed = price, call_settings, allowed
        self.call_limiter = RateLimiter(requests_per_minute)
        self.token_limiter = RateLimiter(tokens_per_minute)
        self.failed: dict[str, CallFailed] = {}
        self.elsewhere: list[Request] = []  # what another process is asking
        self.again: list[Request] = []  # what failed in a way that may pass
        self.last_round = False
        self.stopped: Exception | None = None
        self.notes: list[str] = []
        self.succeeded = False
        # After the first so many requests, why the others must not be asked; None: go on.
        self.first = 0
        self.check: Callable[[dict[str, CallFailed]], str | None] = lambda failed: None

    async def run(self, backend: ApiBackend) -> dict[str, CallFailed]:
        """Send every request, and once more at the end those whose failure may be temporary."""
        connection = backend.connect(self.call_settings)
        try:
            requests = iter(self.requests)
            tried = 0
            while tried < TRIALS and not (self.succeeded or self.over):
                if not (alone := list(islice(requests, 1))):
                    break
                await self._pool(connection, alone)
                tried += 1
            if self.first > tried:
                await self._pool(connection, islice(requests, self.first - tried))
            if self.first and not self.over and (words := self.check(self.failed)):
                self.stopped = CJEError(words)
            await self._pool(connection, requests)
            if not self.over:
                self.last_round = True
                await self._pool(connection, self.again)
            while self.elsewhere and not self.over:
                await asyncio.sleep(WAIT_SECONDS)
                waiting, self.elsewhere = self.elsewhere, []
                await self._pool(connection, waiting)
        finally:
            self.notes += connection.notes
            await connection.close()
        if self.stopped is not None:
            raise self.stopped
        return self.failed

    @property
    def over(self) -> bool:
        """Whether no further call is to be made. Calls in flight are still waited for."""
        if self.stopped is not None:
            return True
        if len(self.failed) > self.allowed + self.call_settings.concurrency:
            return True
        doubtful = [failure for failure in self.failed.values() if failure.doubtful]
        if not self.succeeded and len(doubtful) >= TRIALS:
            doubtful[0].fatal = True
        return any(failure.fatal for failure in self.failed.values())

    async def _pool(self, connection: Connection, requests: Iterable[Request]) -> None:
        queue, workers = iter(requests), range(self.call_settings.concurrency)
        await asyncio.gather(*(self._work(connection, queue) for _ in workers))

    async def _work(self, connection: Connection, queue: Iterator[Request]) -> None:
        while not self.over and (request := next(queue, None)) is not None:
            if not self.store.claim(request):
                self.elsewhere.append(request)
                continue
            try:
                self.store.refresh(request.model)
                if self.store.holds(request):  # another process was quicker
                    continue
                await self._ask(connection, request)
                self.succeeded = self.succeeded or request.key not in self.failed
            except (BudgetSpent, CJEError) as error:
                self.stopped = self.stopped or CJEError(str(error))
            finally:
                self.store.release(request)

    async def _ask(self, connection: Connection, request: Request) -> None:
        """One request until it has a reply, or has failed for good."""
        outcome = await self._attempts(connection, request)
        if isinstance(outcome, Reply):
            self.failed.pop(request.key, None)
            return
        self.failed[request.key] = outcome
        if outcome.again and not self.last_round:
            self.again.append(request)
            return
        self.keep(request, outcome)

    async def _attempts(self, connection: Connection, request: Request) -> Reply | CallFailed:
        """Unusable replies are asked for again here; the SDK itself retries network faults."""
        for attempt in range(self.call_settings.max_retries + 1):
            if attempt:
                await asyncio.sleep(min(FIRST_PAUSE * 2 ** (attempt - 1), LONGEST_PAUSE))
            await self.call_limiter.take()
            tokens = prompt_bound(request) / BYTES_PER_TOKEN + (request.max_tokens or 0)
            await self.token_limiter.take(tokens)
            outcome = await self._attempt(connection, request)
            if isinstance(outcome, Reply):
                return outcome
            if outcome.fatal or outcome.retried or not outcome.again or self.over:
                break
        return outcome

    async def _attempt(self, connection: Connection, request: Request) -> Reply | CallFailed:
        """One call, within the budget; an unusable reply is noted, and paid for like any other."""
        worst = worst_cost(request, self.price)
        await self.budget.reserve(worst)
        try:
            try:
                reply = await connection.ask(request)
            except CallFailed as failed:
                return self.keep.bill(request, failed)
            except CJEError:
                raise
            except Exception as error:  # whatever a server sends: one call, in its words
                return self.keep.bill(request, unexpected(error))
            self.keep(request, reply)
            return reply
        finally:
            self.budget.release(worst)
