"""The list as a page on this machine: one answer at a time, every label saved at once.

The server listens on 127.0.0.1 only. It answers nothing without the key in the page's address, so
that neither other users of the machine nor other pages in the browser can read or write: a page of
another origin cannot send the key's header, and a name bound to this address (DNS rebinding) is
refused because of its Host header.
"""

import hmac
import json
import secrets
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cje.errors import CJEError, disk_problem
from cje.labelling.importing import BadRow, number
from cje.labelling.kept import rater_name
from cje.labelling.session import Session
from cje.settings import Settings

HOST = "127.0.0.1"
PORT = 8765  # where it is free
LARGEST = 1 << 16  # bytes of a request
MOST_BUTTONS = 11
ASSETS = {
    "/label.js": "text/javascript; charset=utf-8",
    "/label.css": "text/css; charset=utf-8",
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Page(ThreadingHTTPServer):
    """The server of the page of a session; `address` is what a browser opens."""

    daemon_threads = True

    def __init__(self, session: Session, rubric: str, rater: str, port: int | None = None):
        self.session, self.rubric, self.rater = session, rubric, rater
        self.key = secrets.token_urlsafe(16)
        try:
            super().__init__((HOST, PORT if port is None else port), Handler)
        except OSError as error:
            if port is not None:
                raise CJEError(f"port {port}: {error.strerror}; give another --port") from None
            super().__init__((HOST, 0), Handler)
        self.hosts = {f"{name}:{self.server_port}" for name in (HOST, "localhost")}

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.server_port}/?key={self.key}"

    def about(self) -> dict[str, Any]:
        """What the page needs to know besides the answers."""
        settings = self.session.settings
        return {
            "rubric": self.rubric,
            "scale": settings.oracle_range,
            "buttons": buttons(settings),
            "rater": self.rater,
        }


class Refused(Exception):
    """A request that is not answered: the status and why."""

    def __init__(self, status: HTTPStatus, words: str):
        super().__init__(words)
        self.status = status


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Page
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        self._answered(self._get)

    def do_POST(self) -> None:
        self._answered(self._post)

    def log_message(self, *words: Any) -> None:
        """Logs nothing: the terminal is for people."""

    def _get(self) -> tuple[str, bytes]:
        self._check_host()
        place = urlsplit(self.path)
        if place.path == "/":
            given = parse_qs(place.query).get("key", [""])[0]
            if not hmac.compare_digest(given.encode(), self.server.key.encode()):
                raise Refused(HTTPStatus.FORBIDDEN, "Open the address that cje label printed.")
            return "text/html; charset=utf-8", asset("label.html")
        if place.path in ASSETS:
            return ASSETS[place.path], asset(place.path[1:])
        raise Refused(HTTPStatus.NOT_FOUND, "There is no such page.")

    def _post(self) -> tuple[str, bytes]:
        self._check_host()
        self._check_sender()
        call = CALLS.get(urlsplit(self.path).path)
        if call is None:
            raise Refused(HTTPStatus.NOT_FOUND, "There is no such page.")
        try:
            found = call(self.server, self._given())
        except CJEError as error:
            raise Refused(HTTPStatus.CONFLICT, str(error)) from None
        except OSError as error:
            words = disk_problem(error) or str(error)
            raise Refused(HTTPStatus.INSUFFICIENT_STORAGE, words) from None
        return "application/json", json.dumps(found).encode("utf-8")

    def _check_host(self) -> None:
        if self.headers.get("Host") not in self.server.hosts:
            raise Refused(HTTPStatus.FORBIDDEN, "This page is available at 127.0.0.1 only.")

    def _check_sender(self) -> None:
        origin = self.headers.get("Origin")
        own = origin is None or origin.removeprefix("http://") in self.server.hosts
        given = self.headers.get("X-Key", "")
        if not own or not hmac.compare_digest(given.encode(), self.server.key.encode()):
            raise Refused(HTTPStatus.FORBIDDEN, "Open the address that cje label printed.")

    def _given(self) -> dict[str, Any]:
        try:
            size = int(self.headers.get("Content-Length", ""))
        except ValueError:
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "The request has no length.") from None
        if not 0 <= size <= LARGEST:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The note is too long.")
        try:
            given = json.loads(self.rfile.read(size))
        except ValueError:
            given = None
        if not isinstance(given, dict):
            raise Refused(HTTPStatus.BAD_REQUEST, "The request is not a JSON object.")
        return given

    def _answered(self, answer: Callable[[], tuple[str, bytes]]) -> None:
        status = HTTPStatus.OK
        try:
            kind, body = answer()
        except Refused as words:
            status, kind, body = words.status, "text/plain; charset=utf-8", str(words).encode()
            self.close_connection = True  # what was sent may be unread
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def start(page: Page, given: dict[str, Any]) -> dict[str, Any]:
    """What the page needs to know before a rater has given a name."""
    return page.about()


def state(page: Page, given: dict[str, Any]) -> dict[str, Any]:
    """The next answer for a rater."""
    return page.session.state(_rater(given))


def mark(page: Page, given: dict[str, Any]) -> dict[str, Any]:
    """Keep a label, or a skip with its reason; then the next answer."""
    rater, note, seconds = _rater(given), given.get("note", ""), given.get("seconds")
    if not isinstance(note, str):
        raise CJEError("the note is not text")
    said: dict[str, Any] = {"note": note.strip(), "seconds": None}
    if isinstance(seconds, int | float) and 0 < seconds < 1e6:
        said["seconds"] = round(seconds, 1)
    skip = given.get("skip")
    if skip is not None:
        if not isinstance(skip, str) or not skip.strip():
            raise CJEError("say why you skip it")
        said["skip"] = skip.strip()
    else:
        try:
            label = given.get("label")
            said["label"] = number(
                "" if label is None else label, page.session.settings.oracle_range
            )
        except BadRow as problem:
            raise CJEError(str(problem)) from None
    page.session.mark(rater, str(given.get("id")), **said)
    return page.session.state(rater)


def undo(page: Page, given: dict[str, Any]) -> dict[str, Any]:
    """Withdraw the rater's last mark, and show its answer again."""
    rater = _rater(given)
    return page.session.state(rater, page.session.undo(rater))


CALLS = {"/start": start, "/state": state, "/mark": mark, "/undo": undo}


def _rater(given: dict[str, Any]) -> str:
    name = given.get("rater")
    if not isinstance(name, str):
        raise CJEError("give the name of the rater")
    return rater_name(name)


def buttons(settings: Settings) -> list[dict[str, Any]]:
    """The labels that have a button, each with its key: the whole numbers of a short scale,
    otherwise eleven evenly spaced ones. A key is the number itself where all are digits, otherwise
    its position."""
    lo, hi = settings.oracle_range
    if lo == int(lo) and hi == int(hi) and hi - lo < MOST_BUTTONS:
        values = [float(value) for value in range(int(lo), int(hi) + 1)]
    else:
        step = (hi - lo) / (MOST_BUTTONS - 1)
        values = [float(f"{lo + step * place:.6g}") for place in range(MOST_BUTTONS)]
    digits = all(value in range(10) for value in values)
    keys = [f"{value:g}" if digits else "0123456789t"[place] for place, value in enumerate(values)]
    return [{"value": value, "key": key} for value, key in zip(values, keys, strict=True)]


def asset(name: str) -> bytes:
    """A file of the page."""
    return files("cje.labelling").joinpath("assets", name).read_bytes()
