"""The batch interfaces of OpenAI and Anthropic by their SDKs: one class each, used by `batches`.

A request's `custom_id` is its key. Bodies and replies are those of the single calls, made and read
by the same functions.
"""

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast

import httpx2

from cje.models.addresses import OWN
from cje.models.http import failure, one_line, unexpected
from cje.models.requests import CallFailed, Outcome, Reply, Request

if TYPE_CHECKING:
    from anthropic.types.messages import MessageBatchRequestCounts
    from anthropic.types.messages.batch_create_params import Request as AnthropicRequest
    from openai.types.batch import Errors

Prepared = TypeVar("Prepared")

RETRIES = 5  # of the SDKs, at everything but making a batch
FAULTS = (httpx2.HTTPError, UnicodeEncodeError)  # beside the SDK's own
LOOKED_THROUGH = 1000  # batches, newest first, that a lost one is looked for among

# What Anthropic's words for an error are as the status of a single call.
STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "timeout_error": 408,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "overloaded_error": 529,
}


@dataclass(frozen=True)
class Look:
    """How far a batch is: its state in the provider's own word, and requests `done` of `total`,
    `failed` of them. `made` is when the provider says that it was made."""

    ended: bool
    done: int
    total: int
    state: str = ""
    failed: int = 0
    made: datetime | None = None


class BatchApi(ABC, Generic[Prepared]):
    """What batches need of a provider, which wants the requests as `Prepared`. Raises one of
    `faults` where a call fails.

    most_requests, most_bytes: of one batch. tagged: whether a batch that `find` gives is ours for
    certain.
    """

    most_requests: int
    most_bytes: int
    tagged: bool
    faults: tuple[type[Exception], ...]

    @abstractmethod
    def __init__(self, base_url: str | None, headers: dict[str, str] | None = None):
        """A client of the provider, or of the server at `base_url`, with the `headers` beside the
        usual ones."""

    @abstractmethod
    def close(self) -> None:
        """Give back what the client holds."""

    @abstractmethod
    def body(self, request: Request) -> dict[str, Any]:
        """The request as a single call would send it."""

    @abstractmethod
    def prepare(self, bodies: Mapping[str, dict[str, Any]]) -> Prepared:
        """What `create` needs for the bodies by custom_id; may be done twice without harm."""

    @abstractmethod
    def newest(self) -> str | None:
        """The newest batch of the account, None where there is none."""

    @abstractmethod
    def create(self, prepared: Prepared, tag: str) -> str:
        """Make a batch and return its id. It is tried once: a second try could make a second."""

    @abstractmethod
    def find(self, tag: str, count: int, after: str | None, known: Collection[str]) -> list[str]:
        """The batches that may be the one made as `tag` of `count` requests, after the batch
        `after`, and not `known`."""

    @abstractmethod
    def look(self, batch: str) -> Look:
        """How far the batch is."""

    @abstractmethod
    def results(
        self, batch: str, requests: Mapping[str, Request]
    ) -> Iterator[tuple[str, Outcome | None]]:
        """(custom_id, outcome) of a batch that has ended, in any order; the outcome is None where
        the id is not one of `requests`."""


class OpenAIBatches(BatchApi[str]):
    """Files of lines; a batch has its tag as metadata."""

    most_requests, most_bytes = 50_000, 190_000_000  # 200 MB, less what the lines add
    tagged = True
    endpoint: Literal["/v1/chat/completions"] = "/v1/chat/completions"

    def __init__(self, base_url: str | None, headers: dict[str, str] | None = None):
        import openai

        key = os.environ.get("OPENAI_API_KEY", "").strip()
        self.client = openai.OpenAI(
            api_key=key,
            base_url=base_url or OWN["openai"],
            max_retries=RETRIES,
            default_headers=headers,
        )
        self.faults = (openai.OpenAIError, *FAULTS)

    def close(self) -> None:
        self.client.close()

    def body(self, request: Request) -> dict[str, Any]:
        from cje.models.providers.openai import BACKEND

        return BACKEND.arguments(request)

    def prepare(self, bodies: Mapping[str, dict[str, Any]]) -> str:
        common = {"method": "POST", "url": self.endpoint}
        lines = [
            json.dumps({"custom_id": key, **common, "body": body}) for key, body in bodies.items()
        ]
        data = "\n".join(lines).encode("utf-8")
        return self.client.files.create(file=("requests.jsonl", data), purpose="batch").id

    def newest(self) -> str | None:
        return next((batch.id for batch in self.client.batches.list(limit=1)), None)

    def create(self, prepared: str, tag: str) -> str:
        once = self.client.with_options(max_retries=0)
        batch = once.batches.create(
            input_file_id=prepared,
            endpoint=self.endpoint,
            completion_window="24h",
            metadata={"cje": tag},
        )
        return batch.id

    def find(self, tag: str, count: int, after: str | None, known: Collection[str]) -> list[str]:
        for batch in islice(self.client.batches.list(limit=100), LOOKED_THROUGH):
            if (batch.metadata or {}).get("cje") == tag:
                return [batch.id]
        return []

    def look(self, batch: str) -> Look:
        found = self.client.batches.retrieve(batch)
        ended = found.status in ("completed", "failed", "expired", "cancelled")
        counts, made = found.request_counts, datetime.fromtimestamp(found.created_at, UTC)
        if counts is None:
            return Look(ended, 0, 0, found.status, made=made)
        done = counts.completed + counts.failed
        return Look(ended, done, counts.total, found.status, counts.failed, made)

    def results(
        self, batch: str, requests: Mapping[str, Request]
    ) -> Iterator[tuple[str, Outcome | None]]:
        found = self.client.batches.retrieve(batch)
        if found.status == "failed":
            refused = _refused(found.errors)
            yield from ((key, refused) for key in requests)
            return
        for file in (found.output_file_id, found.error_file_id):
            if file is not None:
                yield from (self._outcome(line, requests) for line in self._lines(file))

    def _lines(self, file: str) -> Iterator[dict[str, Any]]:
        with self.client.files.with_streaming_response.content(file) as response:
            for line in response.iter_lines():
                if line.strip():
                    yield _parsed(line)

    def _outcome(
        self, line: dict[str, Any], requests: Mapping[str, Request]
    ) -> tuple[str, Outcome | None]:
        from cje.models.providers.chat import parse_completion

        key = str(line.get("custom_id"))
        request, response = requests.get(key), line.get("response")
        if request is None:
            return key, None
        if not response:
            said = (line.get("error") or {}).get("message") or "no reply"
            return key, CallFailed(one_line(f"the batch has no reply to it: {said}"), again=True)
        status, body = response.get("status_code") or 0, response.get("body")
        if status >= 400:
            return key, _failed(status, body)
        return key, _read(parse_completion, request, body)


class AnthropicBatches(BatchApi["list[AnthropicRequest]"]):
    """Requests in one body; a batch contains nothing of ours but the ids of its results."""

    most_requests, most_bytes = 100_000, 240_000_000  # 256 MB, less what the body adds
    tagged = False

    def __init__(self, base_url: str | None, headers: dict[str, str] | None = None):
        import anthropic

        from cje.models.providers.anthropic import server_root

        key = os.environ.get("ANTHROPIC_API_KEY", "").strip()
        root = server_root(base_url or OWN["anthropic"])
        self.client = anthropic.Anthropic(
            api_key=key, base_url=root, max_retries=RETRIES, default_headers=headers
        )
        self.faults = (anthropic.AnthropicError, *FAULTS)

    def close(self) -> None:
        self.client.close()

    def body(self, request: Request) -> dict[str, Any]:
        from cje.models.providers.anthropic import message_arguments

        return message_arguments(request)

    def prepare(self, bodies: Mapping[str, dict[str, Any]]) -> "list[AnthropicRequest]":
        requests = [{"custom_id": key, "params": body} for key, body in bodies.items()]
        return cast("list[AnthropicRequest]", requests)

    def newest(self) -> str | None:
        return next((batch.id for batch in self.client.messages.batches.list(limit=1)), None)

    def create(self, prepared: "list[AnthropicRequest]", tag: str) -> str:
        once = self.client.with_options(max_retries=0)
        return once.messages.batches.create(requests=prepared).id

    def find(self, tag: str, count: int, after: str | None, known: Collection[str]) -> list[str]:
        found = []
        for batch in islice(self.client.messages.batches.list(limit=100), LOOKED_THROUGH):
            if batch.id == after:
                break
            if batch.id not in known and _total(batch.request_counts) == count:
                found.append(batch.id)
        return found

    def look(self, batch: str) -> Look:
        found = self.client.messages.batches.retrieve(batch)
        counts, state = found.request_counts, found.processing_status
        total, failed = _total(counts), counts.errored + counts.canceled + counts.expired
        done = total - counts.processing
        return Look(state == "ended", done, total, state, failed, found.created_at)

    def results(
        self, batch: str, requests: Mapping[str, Request]
    ) -> Iterator[tuple[str, Outcome | None]]:
        lines = self.client.messages.batches.results(batch)
        while True:
            try:
                line = next(lines, None)
            except ValueError:
                raise _torn() from None
            if line is None:
                return
            yield line.custom_id, self._outcome(line.to_dict(warnings=False), requests)

    def _outcome(self, line: dict[str, Any], requests: Mapping[str, Request]) -> Outcome | None:
        from cje.models.providers.anthropic import parse_message

        request, result = requests.get(line["custom_id"]), line.get("result") or {}
        if request is None:
            return None
        kind = result.get("type")
        if kind == "succeeded":
            return _read(parse_message, request, result.get("message"))
        if kind == "errored":
            body = result.get("error") or {}
            what = (body.get("error") or {}).get("type")
            return _failed(STATUSES.get(str(what), 500), body)
        return CallFailed(f"the batch has no reply to it: it is {kind}", again=True)


AnyBatchApi = BatchApi[Any]
BATCH_APIS: dict[str, type[AnyBatchApi]] = {
    "openai": OpenAIBatches,
    "anthropic": AnthropicBatches,
}


class _LineError(Exception):
    """An error of one request of a batch, as `cje.models.http.failure` wants it."""

    def __init__(self, status: int, body: Any):
        super().__init__(f"HTTP {status}")
        self.status_code, self.body = status, body


def _failed(status: int, body: Any) -> CallFailed:
    failed = failure(_LineError(status, body))
    failed.retried = False  # no SDK was in between
    return failed


def _read(parse: Callable[[Request, Any], Reply], request: Request, body: Any) -> Outcome:
    try:
        return parse(request, body)
    except CallFailed as failed:
        return failed
    except Exception as error:  # whatever a line holds: one request, in its words
        return unexpected(error)


def _refused(errors: "Errors | None") -> CallFailed:
    """Why OpenAI ran none of a batch: what is wrong in its file, or too many tokens in the queue
    already."""
    found = (errors.data if errors else None) or []
    said = "; ".join(dict.fromkeys(str(error.message) for error in found)) or "no words"
    later = any("limit" in f"{error.code} {error.message}".lower() for error in found)
    return CallFailed(one_line(f"the batch is refused: {said}"), again=later, fatal=not later)


def _parsed(line: str) -> dict[str, Any]:
    try:
        fields: dict[str, Any] = json.loads(line)
    except ValueError:
        raise _torn() from None
    return fields


def _torn() -> httpx2.RemoteProtocolError:
    return httpx2.RemoteProtocolError("a line of the results is incomplete")


def _total(counts: "MessageBatchRequestCounts") -> int:
    return counts.processing + counts.succeeded + counts.errored + counts.canceled + counts.expired
