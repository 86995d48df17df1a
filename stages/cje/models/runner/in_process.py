"""Calls of a model in this process: large batches, each reply kept as it comes."""

import time
from collections.abc import Iterator, Sequence
from itertools import islice

from cje.models.provider import InProcessBackend
from cje.models.requests import CallFailed, Request
from cje.models.runner.attempts import WAIT_SECONDS
from cje.models.runner.keeping import Keeper
from cje.models.runner.store import ReplyStore

CLAIMED_AT_ONCE = 1024  # requests that a model is asked in one go


def ask_in_process(
    requests: Sequence[Request], backend: InProcessBackend, store: ReplyStore, keep: Keeper
) -> dict[str, CallFailed]:
    """Ask what no other process is asking, and wait for what one is; the failures by key."""
    failed: dict[str, CallFailed] = {}
    left = requests
    while left:
        queue: Iterator[Request] = iter(left)
        later: list[Request] = []
        while group := list(islice(queue, CLAIMED_AT_ONCE)):
            mine = [request for request in group if store.claim(request)]
            claimed = {request.key for request in mine}
            later += [request for request in group if request.key not in claimed]
            store.refresh(group[0].model)
            try:
                wanted = [request for request in mine if not store.holds(request)]
                for request, outcome in backend.ask_many(wanted) if wanted else ():
                    if isinstance(outcome, CallFailed):
                        failed[request.key] = outcome
                    keep(request, outcome)
            finally:
                for request in mine:
                    store.release(request)
        if later:
            time.sleep(WAIT_SECONDS)
        left = later
    return failed
