"""Recordings: extracts of the reply store that travel with the project.

A Parquet file, a row a reply: `key`, `model`, `at`, `usd`, `request` and `reply` as JSON, sorted by
request: similar texts are next to each other. Its metadata say what made it. Recordings are read
before the store, so that whoever has the project replays real replies without keys, servers or
models.
"""

import errno
import json
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cje.errors import NO_ROOM, CJEError
from cje.models.local.files import NAMED
from cje.models.requests import Reply, request_key
from cje.settings import Settings

SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), False),
        pa.field("model", pa.string(), False),
        pa.field("at", pa.string(), False),
        pa.field("usd", pa.float64(), False),
        pa.field("request", pa.string(), False),
        pa.field("reply", pa.string(), False),
    ]
)
FOLDER = Path("data/recordings")
ANSWERS_DEPEND_ON = (
    "prompts", "language", "max_samples", "seed", "policies", "base_model", "target_models",
    "addresses", "temperature", "top_p", "max_tokens", "draws_per_prompt",
)  # fmt: skip
MOST_DIFFERENT = 3  # settings in which a run that is named differs
PACKAGES = ("cje-pipeline", "openai", "anthropic", "torch", "transformers")


@dataclass(frozen=True)
class Record:
    """A reply that is kept, and its request, as JSON."""

    key: str
    at: str
    usd: float
    request: str
    reply: str


class Recording:
    """A recording, read-only; its replies are read from the file when the first is wanted."""

    def __init__(self, path: Path):
        self.path = path
        table = _read(path, ["key", "model"])
        self.rows = {key: row for row, key in enumerate(table["key"].to_pylist())}
        self.known = set(table["model"].unique().to_pylist())
        self.replies: pa.Table | None = None

    def __contains__(self, key: str) -> bool:
        return key in self.rows

    def __len__(self) -> int:
        return len(self.rows)

    def knows(self, model: str) -> bool:
        """Whether it holds a reply of the model."""
        return model in self.known

    def get(self, key: str) -> tuple[str, float] | None:
        """The JSON of the reply to a key and its dollars; None where there is none."""
        row = self.rows.get(key)
        if row is None:
            return None
        if self.replies is None:
            self.replies = _read(self.path, ["reply", "usd"]).combine_chunks()
        return self.replies["reply"][row].as_py(), self.replies["usd"][row].as_py()


def recordings(folder: Path = FOLDER) -> list[Path]:
    """The recordings of the project, in the order in which they are read."""
    return sorted(folder.glob("*.parquet"))


def recorded_runs(settings: Settings) -> list[str]:
    """The recorded runs whose answers were written under settings that differ from these in a few,
    a line each: what would have to be set to replay it."""
    now, lines = _written_under(settings.model_dump(mode="json")), []
    for path in recordings():
        then = _written_under(recording_facts(path).get("settings", {}))
        other = {key: then[key] for key in then if then[key] != now.get(key)}
        if other.get("max_samples", 0) > now["max_samples"]:
            del other["max_samples"]  # the fewer are among the more
        if 0 < len(other) <= MOST_DIFFERENT and "policies" not in other:
            words = " ".join(f"-S {key}={json.dumps(value)}" for key, value in other.items())
            lines.append(f"  recorded, and needs no model: {words} ({path})")
    return lines


def _written_under(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the settings that answers depend on; what is null counts as absent, so that a
    recording does not differ by a setting that it did not know."""

    def given(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {key: given(part) for key, part in value.items() if part is not None}

    return {key: given(settings[key]) for key in ANSWERS_DEPEND_ON if settings.get(key) is not None}


def write_recording(
    path: Path,
    records: Iterable[Record],
    settings: Mapping[str, Any] | None = None,
    made: Mapping[str, str] | None = None,
) -> int:
    """Write records as a recording; returns how many there are.

    The same records give the same bytes. The date in its metadata is that of the newest reply.
    `made`: facts of the machine that made the replies (device, versions of packages), where that
    is not this one.
    """
    by_key = {record.key: record for record in records}
    rows: list[dict[str, Any]] = [
        {**vars(record), "model": json.loads(record.request)["model"]}
        for record in sorted(by_key.values(), key=lambda r: (r.request, r.key))
    ]
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    facts = {
        "newest": max((row["at"] for row in rows), default=""),
        "made": dict(made) if made else _this_machine(),
        "models": _model_facts(table["model"].unique().to_pylist()),
        "settings": dict(settings or {}),
    }
    text = json.dumps(facts, sort_keys=True, ensure_ascii=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        table.replace_schema_metadata({"cje": text}),
        path,
        compression="zstd",
        compression_level=15,
        write_page_checksum=True,
    )
    return len(rows)


def read_recording(path: Path) -> pa.Table:
    """The whole table of a recording, its pages' checksums verified."""
    return _read(path, SCHEMA.names)


def recording_facts(path: Path) -> dict[str, Any]:
    """What made the recording: newest reply, machine, the named models' files, settings."""
    facts: dict[str, Any] = json.loads((pq.read_schema(path).metadata or {}).get(b"cje", b"{}"))
    return facts


def recording_problems(path: Path) -> list[str]:
    """What is wrong with a recording, a line each: a key that is not that of its request, a reply
    that cannot be read, a key that occurs twice."""
    table = read_recording(path)
    problems = []
    for row in table.select(["key", "request", "reply"]).to_pylist():
        if request_key(row["request"]) != row["key"]:
            problems.append(f"{path}: key {row['key']}: is not the key of its request")
        if (words := reply_problem(row["reply"])) is not None:
            problems.append(f"{path}: key {row['key']}: {words}")
    repeats = len(table) - pc.count_distinct(table["key"]).as_py()
    if repeats:
        problems.append(f"{path}: {repeats} keys occur twice")
    return problems


def reply_problem(text: str) -> str | None:
    """Why the JSON of a kept reply cannot be read; None where it can."""
    try:
        Reply.from_json(text)
    except ValueError as error:
        return f"its reply cannot be read: {error}"
    return None


def _read(path: Path, columns: list[str]) -> pa.Table:
    if path.is_dir():
        raise CJEError(f"{path}: {NO_ROOM[errno.EISDIR]}")
    if not path.exists():
        raise CJEError(f"{path}: there is no such file; give the path of a recording")
    try:
        return pq.read_table(path, columns=columns, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise CJEError(
            f"{path}: this recording cannot be read ({reason}); restore it from git, or move "
            "it away and its replies are asked again"
        ) from None


def _model_facts(models: Iterable[str]) -> dict[str, dict[str, str]]:
    """File and sha256 of the models that have a name."""
    found = {}
    for model in models:
        if (named := NAMED.get(model.removeprefix("local/"))) is not None:
            source = {"repository": named.repository, "package": named.package}
            given = {key: value for key, value in source.items() if value is not None}
            found[model] = {"file": named.file, "sha256": named.sha256, **given}
    return found


def _this_machine() -> dict[str, str]:
    """Versions, and what local models run on."""
    own = {"python": platform.python_version()}
    own |= {name: found for name in PACKAGES if (found := _version(name))}
    return own | ({"device": _device()} if "torch" in own else {})


def _device() -> str:
    """What local models run on here."""
    import torch

    wanted = os.environ.get("CJE_LOCAL_DEVICE", "").strip()
    on_gpu = wanted.startswith("cuda") if wanted else torch.cuda.is_available()
    return torch.cuda.get_device_name() if on_gpu else "cpu"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
