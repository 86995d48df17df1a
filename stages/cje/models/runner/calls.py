"""Calls: requests are answered from the store, and those that it lacks are sent, once each.

A reply is kept as soon as it comes, so that neither a fault nor a kill loses more than the calls in
flight, and nothing is paid for twice.
"""

import asyncio
import os
import sys
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import pandas as pd

from cje.errors import CJEError
from cje.models.addresses import answering_address
from cje.models.exactness import Exactness
from cje.models.http import own_headers
from cje.models.names import LIKELIHOOD, full_name, split_model
from cje.models.prices import Price, price_of
from cje.models.provider import Backend, CallSettings, InProcessBackend
from cje.models.registry import AnyBackend, backend_for, is_asked
from cje.models.requests import CallFailed, Outcome, Request, Requests
from cje.models.retired import require_alive
from cje.models.runner.attempts import Attempts
from cje.models.runner.batch_calls import BatchCalls
from cje.models.runner.budget import Budget, experiment_name
from cje.models.runner.in_process import ask_in_process
from cje.models.runner.keeping import Keeper
from cje.models.runner.place import store_folder
from cje.models.runner.progress import CallProgress
from cje.models.runner.recording import recorded_runs, recordings
from cje.models.runner.store import ReplyStore
from cje.models.runner.unusable import MOST_ATTEMPTS
from cje.settings import Settings
from cje.vocabulary import counted

REASONS_SHOWN = 3
LOST = CallFailed("its reply is damaged; run again, and it is asked again")

Look = Callable[[list[Outcome]], str | None]
# Why no more is asked, by the failures so far.
Check = Callable[[dict[str, CallFailed]], str | None]


class Call(NamedTuple):
    """A row of table calls."""

    key: str
    stage: str
    kind: str
    model: str
    address: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cost_usd: float | None
    reason: str | None


class Calls:
    """All calls of one stage, made as the settings say.

    `rows` are those of table calls: every request that the stage's tables depend on, once.
    `makes_calls` is False in a forecast.
    """

    makes_calls = True

    def __init__(self, settings: Settings, stage: str, store: ReplyStore | None = None):
        self.settings, self.stage = settings, stage
        self.store = store or ReplyStore(store_folder(), recordings())
        self.budget = Budget(settings.max_cost_usd, self.store, experiment_name(settings))
        self.rows: dict[str, Call] = {}
        self.said: set[str] = set()
        self.unanswered: dict[str, Exactness] = {}  # by the key of a probe that nobody answers

    def replies(
        self,
        requests: Sequence[Request],
        backend: AnyBackend,
        title: str,
        *,
        first: int = 0,
        look: Look | None = None,
        trial: bool = False,
    ) -> Iterator[Outcome]:
        """The outcome of each request, in their order; equal requests are sent once. When the
        `first` requests have their outcomes, `look` may say why no other is to be sent. The
        failures of a `trial` do not count: its requests are sent again later.

        Raises CJEError, with a table of reasons, where more than `max_failed_fraction` fail, where
        no call can succeed, and where the budget is spent.
        """
        seen, places = set(), array("L")  # of the requests that must be asked
        for place, request in enumerate(requests):
            if request.key not in seen:
                seen.add(request.key)
                if not self.store.holds(request):
                    places.append(place)
        unique = len(seen)
        del seen
        missing = Requests(len(places), lambda place: requests[places[place]])
        self.store.count(self.stage, unique - len(missing), len(missing))

        def check(failed: dict[str, CallFailed]) -> str | None:
            heads = [requests[place] for place in range(min(first, len(requests)))]
            return look([self._outcome(request, failed) for request in heads]) if look else None

        ahead = sum(place < first for place in places) if look else 0
        failed: dict[str, CallFailed] = {}
        if missing and look and not ahead and (words := check(failed)):
            raise CJEError(words)  # as the run before found
        if missing:
            failed = self._ask(missing, backend, title, unique, ahead, check, trial)
            if ahead and (words := check(failed)):
                raise CJEError(words)
        for path, count in self.store.damaged.items():
            self.say(f"{path}: {count} damaged records skipped; their requests are asked again")
        for request in requests:
            kept = None if request.key in failed else self.store.get(request)
            if kept is None:
                failure = failed.get(request.key, LOST)
                paid = self.store.found_unusable(request).usd
                self._add_row(request, (None, None), paid or None, failure.reason)
                yield failure
                continue
            tokens = kept.reply.prompt_tokens, kept.reply.completion_tokens
            self._add_row(request, tokens, kept.usd, None)
            yield kept.reply

    def _outcome(self, request: Request, failed: dict[str, CallFailed]) -> Outcome:
        kept = None if request.key in failed else self.store.get(request)
        return failed.get(request.key, LOST) if kept is None else kept.reply

    def say(self, words: str) -> None:
        """Print a note for the user, unless it was printed before."""
        if words not in self.said:
            self.said.add(words)
            print(f"note: {words}", file=sys.stderr)

    def require_ready(self, models: Iterable[str]) -> None:
        """Raise CJEError where a model of which no reply is kept could not be called because a key,
        a package or a file is missing. A model of which some replies are kept is taken to be
        replayed, and checked only when a reply is missing."""
        names = [model.removeprefix(f"{LIKELIHOOD}/") for model in models]
        backends = {full_name(m): backend_for(m) for m in names if is_asked(m)}
        new = {m: backend for m, backend in backends.items() if not self.store.knows(m)}
        for model, backend in new.items():
            require_alive(model, self.settings.address(model))
            backend.ready(split_model(model)[1])
            own_headers(self.settings.extra_headers.get(split_model(model)[0], {}).items())
        require_keys(new.values())

    def table(self) -> pd.DataFrame:
        """The table calls of this stage."""
        return pd.DataFrame(self.rows.values(), columns=list(Call._fields), dtype=object)

    def _add_row(
        self,
        request: Request,
        tokens: tuple[int | None, int | None],
        usd: float | None,
        reason: str | None,
    ) -> None:
        address = answering_address(request.model, request.base_url)
        self.rows[request.key] = Call(
            request.key, self.stage, request.kind, request.model, address, *tokens, usd, reason
        )

    def _ask(
        self,
        missing: Requests,
        backend: AnyBackend,
        title: str,
        total: int,
        ahead: int,
        check: Check,
        trial: bool,
    ) -> dict[str, CallFailed]:
        """Send the missing requests, the first `ahead` of them before the `check`; the failures by
        key."""
        model = missing[0].model
        given_up = self._given_up(missing)
        if given_up:
            places = [i for i, request in enumerate(missing) if request.key not in given_up]
            wanted, missing = missing, Requests(len(places), lambda i: wanted[places[i]])
            looked_at, ahead = ahead, sum(place < ahead for place in places)
            self.say(
                f"{model}: {calls_words(len(given_up))} not made: "
                f"{counted(MOST_ATTEMPTS, 'reply', 'replies')} to each were paid for "
                "and unusable; `cje store prune --failed` has them asked again"
            )
            if missing and looked_at and not ahead and (words := check(given_up)):
                raise CJEError(words)  # as the run before found
        allowed = int(self.settings.max_failed_fraction * total)
        failed = {}
        if missing:
            failed = self._ask_now(
                missing,
                backend,
                title,
                total,
                allowed,
                ahead,
                lambda new: check(new | given_up),
                trial,
            )
        failed |= given_up
        self._stop_where_it_must(failed, model, total if trial else allowed, total)
        return failed

    def _given_up(self, missing: Requests) -> dict[str, CallFailed]:
        """The requests that have failed too often to be sent again, by key."""
        found = ((request.key, self.store.found_unusable(request)) for request in missing)
        return {key: unusable.failure for key, unusable in found if unusable.final}

    def _ask_now(
        self,
        missing: Requests,
        backend: AnyBackend,
        title: str,
        total: int,
        allowed: int,
        ahead: int,
        check: Check,
        trial: bool,
    ) -> dict[str, CallFailed]:
        model = missing[0].model
        provider, name = split_model(model)
        require_keys([backend])
        try:
            require_alive(model, answering_address(model, missing[0].base_url))
            backend.ready(name)
        except CJEError as error:
            words = f"{title}: {len(missing):,} of {total:,} replies of {model} are not recorded"
            raise CJEError("\n".join([words, *recorded_runs(self.settings), str(error)])) from None
        price = self._price(model)
        self.budget.open()
        limits = self.settings.limits.get(provider)
        concurrency = (limits and limits.concurrency) or self.settings.concurrency
        headers = tuple(self.settings.extra_headers.get(provider, {}).items())
        values = own_headers(headers)
        found = self.store.folder / "servers.jsonl"
        call_settings = CallSettings(
            self.settings.timeout, self.settings.max_retries, concurrency, headers, found
        )
        with CallProgress(title, total, total - len(missing)) as progress:
            keep = Keeper(self.store, self.budget, price, progress)
            if isinstance(backend, InProcessBackend):
                return ask_in_process(missing, backend, self.store, keep)

            def singly(requests: Sequence[Request], ahead: int = 0) -> dict[str, CallFailed]:
                attempts = Attempts(
                    requests, self.store, self.budget, keep, price, call_settings,
                    requests_per_minute=(limits and limits.requests_per_minute)
                    or self.settings.requests_per_minute,
                    tokens_per_minute=(limits and limits.tokens_per_minute)
                    or self.settings.tokens_per_minute,
                    allowed=allowed,
                )  # fmt: skip
                attempts.first, attempts.check = ahead, check
                failed = asyncio.run(attempts.run(backend))
                for words in attempts.notes:
                    self.say(words)
                return failed

            if not (self.settings.batch and "batch" in backend.can(name)):
                return singly(missing, ahead)
            batched = BatchCalls(provider, self.store, self.budget, keep, price, values)
            if trial or 0 < ahead < len(missing):
                tried = len(missing) if trial else ahead
                return batched.run_after_first(missing, tried, singly, check, allowed)
            return batched.run(missing)

    def _price(self, model: str) -> Price:
        price = price_of(model, self.settings.prices)
        if price is not None:
            return price
        if self.settings.max_cost_usd is not None:
            raise CJEError(
                f"max_cost_usd: the price of {model} is not known, so the bound cannot be "
                f"enforced; give it in `prices` ({{{model}: {{input: ..., output: ...}}}}), or set "
                "max_cost_usd: null"
            )
        self.say(
            f"the price of {model} is not known: its calls are counted as free until `prices` "
            "has it"
        )
        return Price(0.0, 0.0)

    def _stop_where_it_must(
        self, failed: dict[str, CallFailed], model: str, allowed: int, total: int
    ) -> None:
        fatal = next((f for f in failed.values() if f.fatal), None)
        if fatal is None and len(failed) <= allowed:
            return
        reasons = Counter(failure.reason for failure in failed.values())
        shown = [f"{n:,} x {reason}" for reason, n in reasons.most_common(REASONS_SHOWN)]
        if len(reasons) > REASONS_SHOWN:
            shown.append(f"and {len(reasons) - REASONS_SHOWN} other reasons")
        words = "all replies so far are kept: fix the cause and run again"
        if fatal is not None:
            raise CJEError(f"{model}: {fatal.reason}\n{words}")
        share = self.settings.max_failed_fraction
        head = f"{model}: {len(failed):,} of {total:,} calls failed (max_failed_fraction {share:g})"
        raise CJEError("\n".join([head, *shown[: REASONS_SHOWN + 1], words]))


def calls_words(count: int) -> str:
    """So many calls, with the verb: 1 call is, 2 calls are."""
    return f"{counted(count, 'call')} {'is' if count == 1 else 'are'}"


def require_keys(backends: Iterable[Backend]) -> None:
    """Raise CJEError where the environment lacks a key that one of the backends needs."""
    wanted = {key for backend in backends for key in backend.keys}
    lacking = sorted(key for key in wanted if not os.environ.get(key, "").strip())
    if lacking:
        lacking.sort(key="OPENAI_API_KEY ANTHROPIC_API_KEY".find)
        raise CJEError(
            f"No provider API key found! Please set {' and '.join(lacking)} in the environment, "
            "or name models that need none (local/..., server/..., sim/...)"
        )
