"""Prompts from data sets of the Hugging Face hub: the first user turn of every conversation.

A data set is recognised by its columns, not its name: the first of TURNS that a file has holds the
turns (see `cje.data.readers.conversations`), as a list, as JSON, or as text; the first of CLUSTERS
what they belong to; of the others short texts, numbers and truth values are kept as metadata, to
slice results by. The package huggingface_hub, needed only here, finds HF_TOKEN or what `hf auth
login` stored by itself.
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cje.data.languages import NAMES
from cje.data.metadata import metadata_of
from cje.data.readers.conversations import TURNS, first_user_text, from_json, grouping, id_text
from cje.data.readers.user_files import csv_rows
from cje.data.tables import prompt_uids
from cje.errors import CJEError
from cje.settings import show_value

CLUSTERS = (
    "cluster", "conversation_id", "conversation_hash", "evaluation_session_id", "session_id"
)  # fmt: skip
FORMATS = (".parquet", ".jsonl", ".csv")  # the first that a data set has is read
QUESTIONS = "question.jsonl"  # FastChat's name for prompts that lie beside models' answers
NESTED = "metadata"  # a column of objects, whose values are metadata each
BATCH = 1024  # rows in memory at once
REMEDY = "Convert it to one file with a column `prompt` under data/prompts"
CODES = {name.casefold(): code for code, name in NAMES.items()}

KNOWN = frozenset(("checks", "reference", *TURNS, *CLUSTERS))  # the others are metadata

Row = tuple[Any, Any, Any, str | None]  # turns, language, cluster, and metadata as JSON


class Chosen(NamedTuple):
    """The columns to read; None if there is no such column, or it is not needed."""

    turns: str
    language: str | None
    cluster: str | None
    others: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        named = (self.turns, self.language, self.cluster, *self.others)
        return [name for name in dict.fromkeys(named) if name]


def hub_prompts(name: str, language: str | None = None) -> pd.DataFrame:
    """Every different prompt of the data set `name`, "owner/name" or "owner/name@revision".

    Columns uid, prompt, source, "hf:owner/name@commit", cluster (None where the set has none), and
    metadata (see `cje.data.metadata`); in the order of the files and rows. `language` is a name or
    a code, "English" or "en". Left out are rows in another language, rows whose first user turn is
    missing, blank, not Unicode or partly an image, and repeats: texts that differ from an earlier
    one only in case and white space. Nothing is moderated. Raises CJEError.
    """
    data_set = _find(name)
    wanted = _code(language) if language else None
    found: Counter[str] = Counter()
    seen: set[bytes] = set()
    texts, clusters, metadata = [], [], []
    for file in data_set.files:
        for value, row_language, cluster, beside in _rows(data_set, file, language):
            if wanted:
                found[str(row_language)] += 1
                if wanted not in _codes(row_language):
                    continue
            text = first_user_text(value)
            if text and (key := _key(text)) and key not in seen:
                seen.add(key)
                texts.append(text)
                clusters.append(cluster)
                metadata.append(beside)
    if not texts:
        raise _nothing_left(data_set, language, found)
    source = f"hf:{data_set.repo}@{data_set.commit}"
    frame = pd.DataFrame({"uid": prompt_uids(texts), "prompt": texts})
    return frame.assign(source=source, cluster=grouping(clusters), metadata=metadata)


@dataclass(frozen=True)
class DataSet:
    """A data set at one commit, and those of its files that hold prompts."""

    repo: str
    commit: str
    files: list[str]
    hub: ModuleType

    @property
    def where(self) -> str:
        return _where(self.repo)

    def download(self, file: str) -> Path:
        """The file's path in the cache of huggingface_hub."""
        try:
            path = self.hub.hf_hub_download(
                self.repo, file, repo_type="dataset", revision=self.commit
            )
        except Exception as error:  # its transports raise errors of their own
            raise _hub_error(error, self.repo, self.hub, file) from None
        return Path(path)


def _find(name: str) -> DataSet:
    try:
        import huggingface_hub as hub
        import huggingface_hub.errors
    except ImportError:
        raise CJEError(
            f"{_where(name)}: needs the package huggingface_hub; run: pip install -e '.[hub]'"
        ) from None
    repo, _, revision = name.partition("@")
    try:
        api = hub.HfApi()
        commit = api.dataset_info(repo, revision=revision or None).sha or "main"
        names = api.list_repo_files(repo, repo_type="dataset", revision=commit)
    except Exception as error:
        raise _hub_error(error, name, hub) from None
    return DataSet(repo, commit, _prompt_files(repo, names), hub)


def _where(name: str) -> str:
    return f"params.yaml: prompts: hf:{name}"


def _page(repo: str) -> str:
    return f"https://huggingface.co/datasets/{repo}"


def _hub_error(
    error: Exception, name: str, hub: ModuleType, file: str = "the data set"
) -> CJEError:
    """Words of ours for an error of huggingface_hub.

    Of the original error only the kind is shown, and no cause: an HTTP client's message may quote
    the token.
    """
    repo, _, revision = name.partition("@")
    known, kind = hub.errors, type(error).__name__
    # The base is the HTTP client's own error, whichever client this version uses.
    unreachable = (
        known.LocalEntryNotFoundError, known.HfHubHTTPError.__bases__[0], ConnectionError,
        TimeoutError,
    )  # fmt: skip
    if isinstance(error, known.GatedRepoError):
        words = f"gated: accept the terms on {_page(repo)} and set HF_TOKEN to your token"
    elif isinstance(error, known.RepositoryNotFoundError):
        words = f"no such data set; check the name on {_page(repo)}, or set HF_TOKEN if private"
    elif isinstance(error, known.RevisionNotFoundError):
        words = f"no revision {revision}; give a branch, tag or commit of {_page(repo)}/commits"
    elif isinstance(error, known.HFValidationError):
        words = "not the name of a data set; give hf:<owner>/<data set>"
    elif isinstance(error, known.HfHubHTTPError):
        status = error.response.status_code
        remedy = "check HF_TOKEN" if status in (401, 403) else "try again later"
        words = f"the hub answers {status} for {file}; {remedy}"
    elif isinstance(error, unreachable):
        words = (
            f"the hub cannot be reached for {file} ({kind}); "
            "check the network, and that HF_HUB_OFFLINE is not set"
        )
    elif isinstance(error, OSError):
        words = f"{file} cannot be stored ({error.strerror or kind}); HF_HOME says where it goes"
    else:
        words = f"{file} could not be fetched ({kind}); try again"
    return CJEError(f"{_where(name)}: {words}")


def _prompt_files(repo: str, names: Iterable[str]) -> list[str]:
    """The newest of the files of questions, else every file of the best format, in order."""
    names = sorted(names, key=_natural)
    if questions := [name for name in names if Path(name).name == QUESTIONS]:
        return questions[-1:]
    for suffix in FORMATS:
        if found := [name for name in names if name.endswith(suffix)]:
            return found
    raise CJEError(
        f"{_where(repo)}: no {', '.join(FORMATS)} file there, only {show_value(names)}.\n{REMEDY}"
    )


def _natural(name: str) -> list[int | str]:
    """A key that sorts v9 before v10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"([0-9]+)", name)]


def _rows(data_set: DataSet, file: str, language: str | None) -> Iterator[Row]:
    """The rows of a file; raises CJEError where it cannot be read, or lacks a column."""
    path, where = data_set.download(file), f"{data_set.where}: {file}"
    read = {".parquet": _parquet_rows, ".jsonl": _json_rows, ".csv": _csv_rows}[Path(file).suffix]
    try:
        yield from read(path, where, language)
    except CJEError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise CJEError(f"{where}: cannot be read: {reason}; delete {path}, try again") from error


def _parquet_rows(path: Path, where: str, language: str | None) -> Iterator[Row]:
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        columns = {field.name: _may_hold_turns(field.type) for field in schema}
        others = [f.name for f in schema if f.name == NESTED or not pa.types.is_nested(f.type)]
        chosen = _choose(columns, others, where, language)
        batches = file.iter_batches(BATCH, columns=chosen.names)
        yield from _parsed(chain.from_iterable(map(_batch_rows, batches)), chosen)


def _batch_rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    values = [map(_lazily, column) for column in batch.columns]
    return (dict(zip(batch.schema.names, row, strict=True)) for row in zip(*values, strict=True))


def _may_hold_turns(kind: pa.DataType) -> bool:
    types = pa.types
    tests = (types.is_string, types.is_large_string, types.is_list, types.is_large_list)
    return any(test(kind) for test in tests)


def _lazily(value: pa.Scalar) -> Any:
    """Text as it is; turns one by one, as most conversations are long and only one is wanted."""
    if isinstance(value, pa.ListScalar | pa.LargeListScalar):
        return (turn.as_py() for turn in value.values or ())
    return value.as_py()


def _json_rows(path: Path, where: str, language: str | None) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as lines:
        objects = _json_objects(lines, where)
        first = next(objects, {})
        columns = {name: isinstance(v, str | list | None) for name, v in first.items()}
        chosen = _choose(columns, (), where, language)
        yield from _parsed(chain([first], objects), chosen)


def _json_objects(lines: Iterable[str], where: str) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row = from_json(line)
        if not isinstance(row, dict):
            raise CJEError(f"{where}:{number}: not a JSON object; tell the data set's owner")
        yield row


def _csv_rows(path: Path, where: str, language: str | None) -> Iterator[Row]:
    rows = (row for _, row in csv_rows(path))
    first = next(rows, {})
    chosen = _choose(dict.fromkeys(first, True), first, where, language)
    named = ({name: row[name] for name in chosen.names} for row in chain([first], rows) if row)
    yield from _parsed(named, chosen)


def _choose(
    columns: Mapping[str, bool], others: Iterable[str], where: str, language: str | None
) -> Chosen:
    """The columns of turns, of languages if one is given, of clusters, and those of `others` that
    are metadata; `columns` says by name whether the type of a column can hold turns."""
    turns = next((name for name in TURNS if columns.get(name)), None)
    found = f"found {', '.join(columns) or 'none'}"
    if turns is None:
        raise CJEError(
            f"{where}: none of the columns {', '.join(TURNS)} is there with lists or text; "
            f"{found}.\n{REMEDY}"
        )
    if language and "language" not in columns:
        raise CJEError(
            f"{where}: no column `language` to select {language} by; {found}.\n"
            "Set language: null for all rows"
        )
    cluster = next((name for name in CLUSTERS if name in columns), None)
    beside = tuple(name for name in others if name not in KNOWN)
    return Chosen(turns, "language" if language else None, cluster, beside)


def _parsed(rows: Iterable[Mapping[str, Any]], chosen: Chosen) -> Iterator[Row]:
    """Text that is JSON parsed: always in a column of conversations; in a column of prompts if the
    first one is a list of texts, as a single prompt may look like JSON without being any."""
    as_json = None if chosen.turns == "prompt" else True
    for row in rows:
        value = row.get(chosen.turns)
        if isinstance(value, str) and value.strip():
            if as_json is None:
                as_json = _is_texts(from_json(value))
            if as_json:
                value = from_json(value)
                value = value if isinstance(value, list) else None
        cluster = (chosen.cluster or "", id_text(row.get(chosen.cluster or "")))
        yield value, row.get(chosen.language or ""), cluster, metadata_of(row, KNOWN)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and value != [] and all(isinstance(v, str | None) for v in value)


def _key(text: str) -> bytes:
    """A key that texts share which differ only in case and white space."""
    plain = " ".join(unicodedata.normalize("NFC", text).split()).casefold()
    return hashlib.blake2b(plain.encode("utf-8"), digest_size=16).digest()


def _code(language: str) -> str:
    """A language's code, by its name or code."""
    plain = language.strip().casefold().replace("_", "-")
    return CODES.get(plain, plain)


def _codes(language: Any) -> tuple[str, ...]:
    """The codes that a row's language goes by: zh-hant is also zh."""
    if not isinstance(language, str):
        return ()
    code = _code(language)
    return code, code.split("-")[0]


def _nothing_left(data_set: DataSet, language: str | None, found: Counter[str]) -> CJEError:
    if language and not any(_code(language) in _codes(name) for name in found):
        most = ", ".join(name for name, _ in found.most_common(8))
        return CJEError(
            f"params.yaml: language: no row of hf:{data_set.repo} is in {language}; there are "
            f"{most or 'no rows'}.\nGive one of these, or null for all rows"
        )
    files = show_value(data_set.files)
    return CJEError(
        f"{data_set.where}: no row of {files} has a first user turn that is text.\n{REMEDY}"
    )
