"""What calls cost: a bound in dollars that is never passed, and a ledger of what was paid.

The ledger of an experiment, a line a paid call, lies beside the replies under a hash of the
settings that say what is asked, so that a run which is stopped, killed or raised goes on counting.
Runs of other settings at the same time count too: two at once never pay twice the bound.
"""

import asyncio
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from cje.errors import CJEError
from cje.models.prices import Price
from cje.models.requests import CallFailed, Reply, Request
from cje.models.runner.store import ReplyStore
from cje.settings import CALL_SETTINGS, Settings

TOKENS_AROUND = 128  # of the chat template, at most
TOKENS_OF_VERDICT = 1024  # that a provider adds to say how a structured verdict looks, at most
COMPLETION_TOKENS = 4096  # taken where a request sets no bound
WAIT_SECONDS = 0.05  # before looking again whether calls in flight have left room


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


def reply_cost(
    request: Request, reply: Reply | CallFailed, price: Price, batch: bool = False
) -> float:
    """Dollars that a reply cost, or an unusable one; the most it can have cost where that is not
    known."""
    if reply.prompt_tokens is None or reply.completion_tokens is None:
        return worst_cost(request, price, batch)
    return price.cost(reply.prompt_tokens, reply.completion_tokens, batch)


def experiment_name(settings: Settings) -> str:
    """A hash of all settings but those of how calls are made."""
    values = settings.model_dump(mode="json", exclude=set(CALL_SETTINGS))
    text = json.dumps(values, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class Ledgers:
    """What was paid, a file an experiment with a line a call, under `folder`; and which experiments
    ran at once, in its file `together`, a line a pair."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self._read: dict[str, tuple[int, float]] = {}  # bytes read so far, and dollars in them

    def paid(self, experiment: str) -> float:
        """Dollars of one experiment, those of other processes included."""
        read, dollars = self._read.get(experiment, (0, 0.0))
        try:
            with (self.folder / experiment).open("rb") as file:
                file.seek(read)
                new = file.read()
        except FileNotFoundError:
            return dollars
        whole = new[: new.rfind(b"\n") + 1]
        dollars += sum(float(line) for line in whole.split(b"\n") if _is_number(line))
        self._read[experiment] = read + len(whole), dollars
        return dollars

    def pay(self, experiment: str, dollars: float) -> None:
        """Note what a call cost."""
        self._append(experiment, f"{dollars:.9f}\n")

    def join(self, experiment: str, others: Iterable[str]) -> None:
        """Note that the experiments run at once; the caller holds the store's lock."""
        known = self.group(experiment)
        for other in others:
            if other not in known:
                self._append("together", f"{experiment} {other}\n")

    def group(self, experiment: str) -> set[str]:
        """The experiments that ever ran at once with this one, or with one of those."""
        try:
            text = (self.folder / "together").read_text(encoding="ascii")
        except FileNotFoundError:
            return {experiment}
        pairs = [pair for line in text.splitlines() if len(pair := line.split()) == 2]
        found, size = {experiment}, 0
        while len(found) > size:
            size = len(found)
            for pair in pairs:
                if found.intersection(pair):
                    found.update(pair)
        return found

    def _append(self, name: str, line: str) -> None:
        path = self.folder / name
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with path.open("ab", buffering=0) as file:
                file.write(line.encode("ascii"))
        except OSError as error:
            raise CJEError(f"{path}: cannot be written ({error.strerror})") from None


class Budget:
    """Dollars paid for new calls of one experiment, held to `most` (None: no bound).

    The bound is one for all processes of the repository: what each has set aside for calls in
    flight is noted beside its name among the store's members, and experiments that run at once
    share what they pay, from then on. `open` comes before any other method but `pay`.
    """

    def __init__(self, most: float | None, store: ReplyStore, experiment: str):
        self.most, self.store, self.experiment = most, store, experiment
        self.ledgers = Ledgers(store.folder / "spent")
        self.reserved = 0.0

    def open(self) -> None:
        """Join the experiments that are being asked at present."""
        self.store.join()
        with self.store.mutex:
            self._say()
            self.ledgers.join(self.experiment, {name for name, _ in self._others()})

    @property
    def spent(self) -> float:
        """Dollars paid, by experiments that ran at the same time as well."""
        return sum(map(self.ledgers.paid, self.ledgers.group(self.experiment)))

    def take(self, dollars: float) -> bool:
        """Whether the dollars were set aside; False where calls in flight may leave room for them.
        Raises BudgetSpent where none is in flight, in any process, and they still do not fit."""
        if self.most is None or dollars == 0:
            return True
        with self.store.mutex:
            elsewhere = sum(reserved for _, reserved in self._others())
            if self.spent + self.reserved + elsewhere + dollars <= self.most:
                self.reserved += dollars
                self._say()
                return True
            if self.reserved == 0 and elsewhere == 0:
                raise BudgetSpent(self.words(dollars))
        return False

    async def reserve(self, dollars: float) -> None:
        """Set the dollars aside; waits for calls in flight, and raises BudgetSpent where they are
        over and it still does not fit."""
        while not self.take(dollars):
            await asyncio.sleep(WAIT_SECONDS)

    def release(self, dollars: float) -> None:
        """Give back what was set aside: the call is over, and paid for by `pay` or not at all."""
        if self.most is None or dollars == 0:
            return
        self.reserved -= dollars
        if self.reserved < 1e-12:  # what is left of sums and differences
            self.reserved = 0.0
        with self.store.mutex:
            self._say()

    def pay(self, dollars: float) -> None:
        """Note what a call cost."""
        if dollars != 0:
            self.ledgers.pay(self.experiment, dollars)

    def words(self, dollars: float) -> str:
        """Why the run stops here."""
        spent = self.spent
        others = spent - self.ledgers.paid(self.experiment)
        of_them = f" (${others:.4f} by runs at the same time)" if others >= 0.00005 else ""
        return (
            f"max_cost_usd: ${self.most:g}: ${spent:.4f} is spent{of_them} and the next call "
            f"could cost ${dollars:.4f}; all replies so far are kept. Raise max_cost_usd and run "
            "again"
        )

    def _others(self) -> list[tuple[str, float]]:
        """Experiment and dollars set aside of every other process that asks."""
        said = (self.store.members.said(name) for name in self.store.members.others())
        return [(parts[0], float(parts[1])) for line in said if len(parts := line.split()) == 2]

    def _say(self) -> None:
        self.store.members.say(f"{self.experiment} {self.reserved:.9f}")


def _is_number(line: bytes) -> bool:
    try:
        float(line)
    except ValueError:
        return False
    return True
