"""A small Hugging Face hub on 127.0.0.1."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import huggingface_hub.constants as hub_constants
import pytest

COMMIT = "c0ffee" + 34 * "0"


class Hub:
    """Data sets and models by name, each a dictionary of file to bytes; or, for a name, an error's
    code."""

    def __init__(self):
        self.files: dict[str, dict[str, bytes]] = {}
        self.errors: dict[str, tuple[int, str]] = {}
        self.served: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def do_HEAD(self):
                outer.answer(self)

            def do_GET(self):
                outer.answer(self)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, call: BaseHTTPRequestHandler) -> None:
        parts = [unquote(part) for part in urlsplit(call.path).path.strip("/").split("/")]
        of_api = parts[0] == "api"
        parts = parts[2:] if of_api else parts[parts[0] == "datasets" :]
        name, rest = "/".join(parts[:2]), parts[2:]
        if name in self.errors or name not in self.files:
            return self.refuse(call, *self.errors.get(name, (401, "RepoNotFound")))
        revision = rest[1] if len(rest) > 1 else "main"
        if revision not in ("main", "v1", COMMIT):
            return self.refuse(call, 404, "RevisionNotFound")
        files = self.files[name]
        if not of_api:
            file = "/".join(rest[2:])
            if file not in files:
                return self.refuse(call, 404, "EntryNotFound")
            self.served.append(file)
            return self.send(call, files[file])
        if rest[:1] == ["tree"]:
            tree = [
                {"type": "file", "path": path, "size": len(data), "oid": "0" * 40}
                for path, data in files.items()
            ]
            return self.send(call, json.dumps(tree).encode())
        siblings = [{"rfilename": path} for path in files]
        about = {"id": name, "_id": "1", "sha": COMMIT, "siblings": siblings, "tags": []}
        return self.send(call, json.dumps(about).encode())

    def send(self, call: BaseHTTPRequestHandler, body: bytes, status: int = 200, **more) -> None:
        call.send_response(status)
        call.send_header("Content-Length", str(len(body)))
        call.send_header("ETag", f'"{hash(body):x}"')
        call.send_header("X-Repo-Commit", COMMIT)
        for name, value in more.items():
            call.send_header(name.replace("_", "-"), value)
        call.end_headers()
        if call.command == "GET":
            call.wfile.write(body)

    def refuse(self, call: BaseHTTPRequestHandler, status: int, code: str) -> None:
        self.send(call, b'{"error": "no"}', status, X_Error_Code=code, X_Error_Message="no")


@contextmanager
def serving(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[Hub]:
    """The hub that huggingface_hub's own client asks, with an empty cache."""
    found = Hub()
    monkeypatch.setattr(hub_constants, "ENDPOINT", found.url)
    template = found.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(hub_constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(hub_constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecretsecret")
    yield found
    found.server.shutdown()
    found.server.server_close()
