"""What calls cost: a bound in dollars that is never passed, and a ledger of what was paid.

The ledger of an experiment, a line a paid call, lies beside the replies under a hash of the
settings that say what is asked, so that a run which is stopped, killed or raised goes on counting.
"""

import asyncio
import hashlib
import json
import os
from pathlib import Path

from cje.errors import CJEError
from cje.models.prices import Price
from cje.models.requests import Reply, Request
from cje.settings import CALL_SETTINGS, Settings

TOKENS_AROUND = 128  # of the chat template, at most
TOKENS_OF_VERDICT = 1024  # that a provider adds to say how a structured verdict looks, at most
COMPLETION_TOKENS = 4096  # taken where a request sets no bound


class BudgetSpent(Exception):
    """The next call could pass the budget."""


def prompt_bound(request: Request) -> int:
    """Tokens that a prompt can have at most: a token of any common tokenizer is a byte or more."""
    text = sum(len(content.encode("utf-8", "replace")) for _, content in request.messages)
    given = len((request.answer or "").encode("utf-8", "replace"))
    verdict = TOKENS_OF_VERDICT + len(request.schema) if request.schema else 0
    return text + given + verdict + TOKENS_AROUND


def worst_cost(request: Request, price: Price, batch: bool = False) -> float:
    """Dollars that a call can cost at most."""
    completion = 1 if request.kind == "score" else request.max_tokens or COMPLETION_TOKENS
    return price.cost(prompt_bound(request), completion, batch)


def reply_cost(request: Request, reply: Reply, price: Price, batch: bool = False) -> float:
    """Dollars that a reply cost; the most it can have where the provider does not tell."""
    if reply.prompt_tokens is None or reply.completion_tokens is None:
        return worst_cost(request, price, batch)
    return price.cost(reply.prompt_tokens, reply.completion_tokens, batch)


def experiment_name(settings: Settings) -> str:
    """A hash of all settings but those of how calls are made."""
    values = settings.model_dump(mode="json", exclude=set(CALL_SETTINGS))
    text = json.dumps(values, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class Budget:
    """Dollars paid for new calls of one experiment, held to `most` (None: no bound)."""

    def __init__(self, most: float | None, ledger: Path):
        self.most, self.ledger = most, ledger
        self.reserved = 0.0
        self.freed = asyncio.Condition()
        self.read, self.sum = 0, 0.0  # bytes of the ledger read so far, and dollars in them

    @property
    def spent(self) -> float:
        """Dollars in the ledger, those of other processes included."""
        try:
            with self.ledger.open("rb") as file:
                file.seek(self.read)
                new = file.read()
        except FileNotFoundError:
            return self.sum
        whole = new[: new.rfind(b"\n") + 1]
        self.sum += sum(float(line) for line in whole.split(b"\n") if _is_number(line))
        self.read += len(whole)
        return self.sum

    def fits(self, dollars: float) -> bool:
        """Whether so much more could be paid, beside what is reserved."""
        return self.most is None or self.spent + self.reserved + dollars <= self.most

    async def reserve(self, dollars: float) -> None:
        """Set the dollars aside; waits for calls in flight, and raises BudgetSpent where they are
        over and it still does not fit."""
        if self.most is None or dollars == 0:
            return
        async with self.freed:
            while not self.fits(dollars):
                if self.reserved == 0:
                    raise BudgetSpent(self.words(dollars))
                await self.freed.wait()
            self.reserved += dollars

    async def release(self, dollars: float) -> None:
        """Give back what was set aside: the call is over, and paid for by `pay` or not at all."""
        if self.most is None or dollars == 0:
            return
        async with self.freed:
            self.reserved -= dollars
            if self.reserved < 1e-12:  # what is left of sums and differences
                self.reserved = 0.0
            self.freed.notify_all()

    def pay(self, dollars: float) -> None:
        """Note what a call cost."""
        if dollars == 0:
            return
        self.ledger.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(descriptor, f"{dollars:.9f}\n".encode("ascii"))
        except OSError as error:
            raise CJEError(f"{self.ledger}: cannot be written ({error.strerror})") from None
        finally:
            os.close(descriptor)

    def words(self, dollars: float) -> str:
        """Why the run stops here."""
        return (
            f"max_cost_usd: ${self.most:g}: ${self.spent:.4f} are spent and the next call could "
            f"cost ${dollars:.4f}; all replies so far are kept. Raise max_cost_usd and run again"
        )


def _is_number(line: bytes) -> bool:
    try:
        float(line)
    except ValueError:
        return False
    return True
