"""Keeping: what is done with each outcome of a call as it comes."""

from cje.models.prices import Price
from cje.models.requests import CallFailed, Reply, Request
from cje.models.runner.budget import Budget, reply_cost
from cje.models.runner.progress import CallProgress
from cje.models.runner.store import ReplyStore


class Keeper:
    """Called with each reply, which it keeps, pays for and counts, and with each final failure,
    which it counts. `bill` comes before, for each failure at all."""

    def __init__(self, store: ReplyStore, budget: Budget, price: Price, progress: CallProgress):
        self.store, self.budget, self.price, self.progress = store, budget, price, progress
        self.batch = False

    def __call__(self, request: Request, outcome: Reply | CallFailed) -> None:
        if isinstance(outcome, CallFailed):
            self.progress.step(failed=True)
            return
        usd = reply_cost(request, outcome, self.price, self.batch)
        before = self.store.found_unusable(request).usd
        self.store.keep(request, outcome, usd + before)
        self.budget.pay(usd)
        self.progress.step(usd)

    def bill(self, request: Request, failed: CallFailed) -> CallFailed:
        """Note and pay for an unusable reply; the failure that results, which is final where the
        request has been asked often enough."""
        if not failed.billed:
            return failed
        usd = reply_cost(request, failed, self.price, self.batch)
        self.store.note_unusable(request, failed, usd)
        self.budget.pay(usd)
        self.progress.usd += usd
        found = self.store.found_unusable(request)
        return found.failure if found.final and failed.again else failed
