"""Where the replies of a repository are: one store, whichever of its worktrees a stage runs in.

A worktree that had a store of its own, as earlier versions made, hands it over: file by file, and
no file goes before its lines are on the disk.
"""

import os
import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

from cje.errors import CJEError, writing
from cje.models.runner.locks import Members, locked
from cje.models.runner.store import ModelReplies, line_key
from cje.vocabulary import counted

REPLIES = Path(".cje/replies")
AT_ONCE = 1000  # lines that are written in one piece
NOTES = ("unusable.jsonl", "batches/*.jsonl", "spent/*", "hits.jsonl")
COUNTED = re.compile(r"spent/(?!together)|hits\.jsonl")  # equal lines are so many calls


def store_folder() -> Path:
    """Where the replies are: $CJE_STORE, or .cje/replies of the repository's main worktree, which
    takes over what a worktree has of its own.

    DVC_ROOT, which DVC sets in every stage, names the repository also where a stage runs in a
    temporary copy of it, so that queued experiments share the store. Raises CJEError where a run
    still uses the store that is to be taken over.
    """
    if given := os.environ.get("CJE_STORE"):
        return Path(given)
    project = Path(os.environ.get("DVC_ROOT") or project_root())
    own, shared = project / REPLIES, main_project(project) / REPLIES
    if own.is_dir() and own.resolve() != shared.resolve():
        take_over(own, shared)
    return shared


def project_root() -> Path:
    """The nearest folder above, or this one, that DVC manages; else this one."""
    here = Path.cwd()
    return next((p for p in (here, *here.parents) if (p / ".dvc").is_dir()), here)


def main_project(project: Path) -> Path:
    """The same project in the main worktree of its git repository; itself without git. A bare
    repository has no main worktree, and its own folder is taken."""
    output = _git(project, "rev-parse", "--git-common-dir", "--show-prefix")
    if output is None:
        return project
    common_dir, _, prefix = output.partition("\n")
    common = (project / common_dir).resolve()
    if common.name == ".git":
        return common.parent / prefix
    elsewhere = _git(common, "config", "core.worktree")  # of a submodule
    return (common / (elsewhere or "")).resolve() / prefix


def take_over(own: Path, shared: Path) -> None:
    """Move the replies and notes of the store `own` into the store `shared`. A reply that both have
    is kept once; the rest of `own`, damaged records included, is in `shared` afterwards.

    Raises CJEError while a run uses `own`.
    """
    if not any(_files(own)):
        return
    with locked(own / "lock"):
        if Members(own / "runs").others():
            raise CJEError(f"{own}: a run uses these replies; wait for its end, then run again")
        if not any(files := _files(own)):  # another process was quicker
            return
        replies, notes = files
        shared.mkdir(parents=True, exist_ok=True)
        (shared / ".gitignore").write_text("*\n", encoding="utf-8")
        added = 0
        with writing(shared), locked(shared / "lock"):
            for path in replies:
                there = ModelReplies(shared / path.relative_to(own))
                there.refresh()
                new = [line for line in _lines(path) if line_key(line) not in there.places]
                _move(path, there.path, new)
                added += len(new)
            for path in notes:
                name = path.relative_to(own)
                _move_notes(path, shared / name, bool(COUNTED.match(name.as_posix())))
    moved = counted(added, "reply", "replies")
    words = f"note: {own}: moved {moved} to {shared}, which all worktrees share"
    print(words, file=sys.stderr)


def _files(folder: Path) -> tuple[list[Path], list[Path]]:
    """The files of replies, and those of notes."""
    notes = [path for pattern in NOTES for path in sorted(folder.glob(pattern)) if path.is_file()]
    return [path for path in sorted(folder.glob("*/*.jsonl")) if path not in notes], notes


def _lines(path: Path) -> list[bytes]:
    """The lines of a file, the last one ended where a killed process left it open."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        return [line.rstrip(b"\n") + b"\n" for line in file if line.strip()]


def _move_notes(path: Path, to: Path, counted: bool) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    # A journal of batches has a lock of its own.
    with locked(to.with_suffix(".lock")) if to.parent.name == "batches" else nullcontext():
        known = set() if counted else set(_lines(to))
        _move(path, to, [line for line in _lines(path) if line not in known])


def _move(path: Path, to: Path, lines: list[bytes]) -> None:
    """Append the lines, on the disk when this returns, and remove the file that they are from."""
    for start in range(0, len(lines), AT_ONCE):
        descriptor = ModelReplies(to).append(b"".join(lines[start : start + AT_ONCE]))
        os.fsync(descriptor)
        os.close(descriptor)
    path.unlink()


def _git(folder: Path, *words: str) -> str | None:
    """What git says there; None where it knows nothing, or is not installed. The folder counts, not
    the variables that git sets in its hooks, nor whose folder it is."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-c", "safe.directory=*", "-C", str(folder), *words]
    try:
        done = subprocess.run(command, env=kept, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return done.stdout.rstrip("\n") if done.returncode == 0 else None
