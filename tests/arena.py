"""The real arena sample, where this checkout has it beside it."""

import shutil
from pathlib import Path

import pytest

ARENA = Path(__file__).resolve().parents[1].parent / "shared" / "arena_sample"


def arena_sample() -> Path:
    """The folder of the sample; skips the test where it is absent."""
    if not (ARENA / "logged_data.jsonl").is_file():
        pytest.skip(f"the arena sample is not at {ARENA}")
    return ARENA


def copy_arena_sample(folder: Path) -> Path:
    """Copy the sample into `folder` (made if need be) as a user would, and return it."""
    shutil.copytree(arena_sample(), folder, dirs_exist_ok=True)
    for path in (folder, *folder.rglob("*")):  # the original may be read-only
        path.chmod(path.stat().st_mode | 0o200)
    return folder
