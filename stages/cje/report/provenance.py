"""Where the results come from: commit, versions, checksums, and how to make them again."""

import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version

from ruamel.yaml import YAML

from cje.runs import LOCK, Run

PACKAGES = ("cje", "numpy", "pandas", "pyarrow", "scikit-learn", "dvc")


@dataclass(frozen=True)
class Provenance:
    """`commit` is empty where git does not know the run; `changed`: tracked files that differ from
    it; `versions` of the software that wrote the page; `outputs`: path, md5 and bytes of what
    the stages wrote; `commands` that make it again; `own_files`: from files that git ignores."""

    commit: str
    changed: list[str]
    versions: list[tuple[str, str]]
    outputs: list[tuple[str, str, str]]
    commands: list[str]
    own_files: bool


def provenance(run: Run) -> Provenance:
    """Everything that git, DVC's lock file and Python say."""
    commit, changed = "", []
    if git(run.folder, "ls-files", "params.yaml"):
        commit = git(run.folder, "rev-parse", "HEAD").strip()
        lines = git(run.folder, "status", "--porcelain", "--untracked-files=no", "--", ".")
        changed = [line[3:] for line in lines.splitlines()]
    versions = [("python", python_version()), *((name, installed(name)) for name in PACKAGES)]
    commands = [f"git checkout {commit}"] if commit else []
    commands += ["dvc repro", "cje report"]
    files = run.settings.source == "files"
    return Provenance(commit, changed, versions, outputs(run.folder), commands, files)


def git(folder: Path, *arguments: str) -> str:
    """What git says about a folder; nothing where there is no git or no repository."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ""
    return done.stdout if done.returncode == 0 else ""


def installed(package: str) -> str:
    """A package's version."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def outputs(folder: Path) -> list[tuple[str, str, str]]:
    """What `dvc.lock` says that the stages wrote; nothing where it is not there."""
    lock = folder / LOCK
    if not lock.exists():
        return []
    stages = YAML(typ="safe").load(lock.read_text(encoding="utf-8"))["stages"]
    return [
        (out["path"], out["md5"], f"{out['size']:,}")
        for stage in stages.values()
        for out in stage.get("outs", [])
    ]
