"""What a DVC that was stopped in the middle leaves behind, and what the next one fails over.

DVC writes an entry of its run cache, and the list of who reads and writes what, in several steps.
Stopped between two of them it leaves a temporary file or an empty folder where it expects entries,
or a list that is cut short, and every later run of the stage ends in an error.
"""

import json
import time
from pathlib import Path

SECONDS = 1.0  # that a living process takes at the most between two such steps


def clear_leftovers(project: Path) -> list[Path]:
    """Remove what a stopped DVC left in the project, and nothing that a running one is writing;
    the paths of it."""
    if not (found := _leftovers(project)):
        return []
    time.sleep(SECONDS)
    left = [path for path in _leftovers(project) if path in found]
    for path in left:
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
    # A folder whose temporary file went is empty now.
    emptied = [folder for folder in {path.parent for path in left} if _is_entry(folder)]
    for folder in emptied:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    return left


def _leftovers(project: Path) -> list[Path]:
    runs = _cache(project) / "runs"
    entries = [folder for folder in runs.glob("*/*") if folder.is_dir()]
    found = [path for folder in entries for path in folder.glob("*.tmp")]
    found += [folder for folder in entries if not any(folder.iterdir())]
    lists = project / ".dvc" / "tmp" / "rwlock"
    return sorted(found) + ([lists] if lists.is_file() and not _is_json(lists) else [])


def _is_entry(folder: Path) -> bool:
    return folder.parent.parent.name == "runs"


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True


def _cache(project: Path) -> Path:
    """The folder of DVC's cache, which its settings may have moved."""
    from dvc.config import Config

    settings = Config(str(project / ".dvc"), validate=False)
    return Path(settings.get("cache", {}).get("dir") or project / ".dvc" / "cache")
