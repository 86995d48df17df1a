"""The prompts of a run: a provider's own set, a data set of the hub, or a file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from cje.data.metadata import metadata_of
from cje.data.readers.bad_rows import BadRow
from cje.data.readers.conversations import (
    CLUSTERS,
    TURNS,
    cluster_of,
    first_user_text,
    grouping,
    prompt_turns,
    repeats,
    says_more,
)
from cje.data.readers.user_files import csv_rows, json_rows, parquet_rows
from cje.data.tables import prompt_uids
from cje.errors import CJEError
from cje.models.lookup import provider_for
from cje.models.names import split_model
from cje.pipeline.choice import nested_sample
from cje.pipeline.parts import Needs
from cje.settings import Settings, show_value
from cje.vocabulary import counted

PROMPT_FILES = Path("data/prompts")
HUB = "hf:"
PROMPT_COLUMNS = ("checks", "reference", *TURNS, *CLUSTERS)  # the others are metadata


def load_prompts(settings: Settings, notes: list[str] | None = None) -> pd.DataFrame:
    """The table prompts: from a provider's own set, the Hugging Face hub, or a file with a column
    `prompt`, or conversations as the hub's sets have them.

    Of more than `max_samples` a random part is kept, in the file's order. `notes` receives what
    people should know about the file, and whether there are fewer.
    """
    notes = [] if notes is None else notes
    prompts = _prompts(settings, notes)
    if len(prompts) < settings.max_samples:
        notes.append(
            f"{settings.prompts}: there {'is' if len(prompts) == 1 else 'are'} "
            f"{counted(len(prompts), 'prompt')}, fewer than max_samples "
            f"({settings.max_samples:,}): all of them are taken"
        )
    return prompts


def _prompts(settings: Settings, notes: list[str]) -> pd.DataFrame:
    """The table prompts, whatever its source."""
    if settings.prompts.startswith(HUB):
        from cje.data.readers.hub import hub_prompts

        frame = hub_prompts(settings.prompts.removeprefix(HUB), settings.language)
        return _sampled(frame.assign(checks=None, reference=None), settings)
    if Path(settings.prompts).suffix not in (".jsonl", ".csv", ".parquet"):
        _, name = split_model(settings.prompts)
        provider = provider_for(settings.prompts)
        return provider.prompts(name, settings.max_samples, settings.seed)
    path = Path(settings.prompts)
    if PROMPT_FILES not in path.parents:
        raise CJEError(
            f"params.yaml: prompts: {path} is not under {PROMPT_FILES}, where DVC "
            "would notice a change; move it there"
        )
    rows = _prompt_rows(path)
    if not rows:
        raise CJEError(f"{path}: there are no rows; every row needs a prompt's text")
    parsed = [_prompt(path, line, row) for line, row in rows]
    texts = [text for _, text in parsed]
    if more := sum(says_more(turns) for turns, _ in parsed):
        notes.append(
            f"{path}: the first user turn is the prompt; {more:,} of {len(parsed):,} rows hold "
            "more, later turns or a system message, which is left out"
        )
    checks = [row.get("checks") or None for _, row in rows]
    checks = [c if c is None or isinstance(c, str) else json.dumps(c) for c in checks]
    references = [_reference(path, line, row) for line, row in rows]
    uids = prompt_uids(texts)
    given = grouping([cluster_of(row) for _, row in rows])
    clusters = [cluster or same for cluster, same in zip(given, repeats(uids), strict=True)]
    frame = pd.DataFrame({"uid": uids, "prompt": texts, "source": str(path)})
    languages = [row.get("language") for _, row in rows]
    metadata = [metadata_of(row, PROMPT_COLUMNS) for _, row in rows]
    frame = frame.assign(checks=checks, reference=references, cluster=clusters, metadata=metadata)
    return _sampled(frame[_in_language(languages, settings, path)], settings)


def _sampled(frame: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    kept = nested_sample(frame["uid"], settings.max_samples, settings.seed, "prompts")
    return frame[kept].reset_index(drop=True)


def _in_language(languages: list[Any], settings: Settings, path: Path) -> np.ndarray:
    """Which rows of a file are in the language of the settings."""
    wanted = (settings.language or "").casefold()
    if not wanted:
        return np.ones(len(languages), dtype=bool)
    kept = np.array([str(found).casefold() == wanted for found in languages], dtype=bool)
    if not kept.any():
        raise CJEError(
            f"params.yaml: language: no row of {path} has {settings.language} in a column "
            "`language`; give null for all rows"
        )
    return kept


def _prompt_rows(path: Path) -> list[tuple[int, Any]]:
    """Line number and columns of each row."""
    read = {".csv": csv_rows, ".parquet": parquet_rows, ".jsonl": json_rows}[path.suffix]
    try:
        rows = list(read(path))
    except FileNotFoundError:
        raise CJEError(f"{path}: no such file; see `prompts` in params.yaml") from None
    except UnicodeDecodeError as error:
        raise CJEError(f"{path}: not UTF-8 text: {error.reason}; save it as UTF-8") from error
    except (pa.ArrowException, OSError, KeyError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        words = f"cannot be read as {path.suffix[1:]}: {reason}"
        raise CJEError(f"{path}: {words}; create the file again, or give another") from error
    for line, row in rows:
        if isinstance(row, BadRow):
            where = "" if row.column == "row" else f"{row.column}: "
            raise CJEError(f"{path}:{line}: {where}{row.reason}")
    return rows


def _prompt(path: Path, line: int, row: Mapping[str, Any]) -> tuple[Any, str]:
    """A row's prompt, text or turns, and its first user turn; raises CJEError if that is not
    text."""
    turns = prompt_turns(row)
    text = turns if isinstance(turns, str) else first_user_text(turns)
    if text is None:
        words = "missing or empty; every row needs a prompt's text"
        found = f"the row has {', '.join(map(str, row)) or 'no columns'}"
        raise CJEError(f"{path}:{line}: prompt: {words}; {found}")
    return turns, text


def _reference(path: Path, line: int, row: Mapping[str, Any]) -> str | None:
    """A row's reference answer, if it has one; a number is its text."""
    value = row.get("reference")
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return json.dumps(value)
    raise CJEError(f"{path}:{line}: reference: {show_value(value)} is not text; write it as one")


def check_prompts(prompts: pd.DataFrame, needs: Needs) -> None:
    """Raise CJEError if a judge needs something that a prompt does not have."""
    if needs.rules:
        from cje.models.providers import checks

        checks.check_prompts(prompts, needs.rules)
    lacking = prompts[prompts["reference"].isna()]
    for setting, rubric in needs.references if len(lacking) else ():
        raise CJEError(
            f"params.yaml: {setting}: {rubric} needs a reference answer, which "
            f"is missing from {counted(len(lacking), 'prompt')}, such as uid "
            f"{lacking['uid'].iloc[0]}; add a column `reference` to the prompts, or use "
            "another rubric"
        )
