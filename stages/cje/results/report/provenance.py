"""Where the results come from: commit, versions, checksums, and how to reproduce them."""

from dataclasses import dataclass
from pathlib import Path

from cje.results.opening import locked_stages
from cje.results.provenance import git_state, versions
from cje.results.run import LOCK, Run
from cje.results.words import count


@dataclass(frozen=True)
class Provenance:
    """`commit` is empty where git does not know the run; `changed`: tracked files that differ from
    it; `versions` of the software that wrote the page; `outputs`: path, md5 and bytes of what
    the stages wrote; `commands` that reproduce it; `own_files`: from files that git ignores."""

    commit: str
    changed: list[str]
    versions: list[tuple[str, str]]
    outputs: list[tuple[str, str, str]]
    commands: list[str]
    own_files: bool


def provenance(run: Run) -> Provenance:
    """Everything that git, DVC's lock file and Python say."""
    state = git_state(run.folder)
    commit, changed = state["git_commit"] or "", state["git_changed"] or []
    commands = [f"git checkout {commit}"] if commit else []
    commands += ["dvc repro", "cje report"]
    files = run.settings.source == "files"
    return Provenance(
        commit, changed, list(versions().items()), outputs(run.folder), commands, files
    )


def outputs(folder: Path) -> list[tuple[str, str, str]]:
    """What `dvc.lock` says that the stages wrote; nothing where it is not there."""
    if not (folder / LOCK).exists():
        return []
    return [
        (out["path"], out["md5"], count(out["size"]))
        for stage in locked_stages(folder).values()
        for out in stage.get("outs", [])
    ]
