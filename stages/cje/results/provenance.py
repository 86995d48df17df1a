"""Where a result comes from: versions, commit, checksums."""

import hashlib
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cje.data.tables import read_json
from cje.results.run import RESULTS

PACKAGES = (
    "cje-pipeline", "dvc", "numpy", "pandas", "pyarrow", "scipy", "openai", "anthropic",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Of Python and of the packages that results rest on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def git_state(folder: Path) -> dict[str, Any]:
    """`git_commit` that the folder is at and `git_changed`: the files that differ from it; of a run
    folder what it says itself; null where there is no git."""
    if (own := folder / RESULTS).exists():
        kept = read_json(own)
        return {key: kept.get(key) for key in ("git_commit", "git_changed")}

    def ask(*command: str) -> str | None:
        try:
            done = subprocess.run(["git", *command], cwd=folder, capture_output=True, text=True)
        except FileNotFoundError:
            return None
        return done.stdout.rstrip() if done.returncode == 0 else None

    commit = ask("rev-parse", "HEAD") if ask("ls-files", "params.yaml") else None
    changed = ask("status", "--porcelain", "--untracked-files=no", "--", ".") if commit else None
    files = None if changed is None else [line[3:] for line in changed.splitlines()]
    return {"git_commit": commit, "git_changed": files}


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in the folder, by its path there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }
