"""The project in a temporary repository, and DVC run there."""

import atexit
import compileall
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import pytest
from filelock import FileLock

import warm

ROOT = Path(__file__).resolve().parents[1]
STAGES = (
    "check_settings load_prompts try_targets generate_logs draw_targets proxy_score oracle_label "
    "calibrate estimate validate cost"
).split()
KEPT = (
    "stages data/inputs/README.md data/prompts data/recordings/README.md data/rubrics "
    "labels/README.md dvc.yaml"
).split()
SIMULATED = ROOT / "tests/simulated.yaml"
SMALL = {
    "max_samples": 120,
    "target_labels": 40,
    "oracle_samples": 60,
    "target_models": "[clone,better,unhelpful]",
}


def run(*command: str, cwd: Path, ok: bool = True, **variables: str) -> str:
    """Run a command there, its Python and DVC from `warm`; its output. `ok`: whether it should
    succeed."""
    programs = warm.programs()
    command = tuple(str(programs / "python") if c == sys.executable else c for c in command)
    environment = (
        os.environ
        | variables
        | {
            "PATH": os.pathsep.join(
                [str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]
            ),
            "PYTHONPATH": str(cwd / "stages"),
            "DVC_NO_ANALYTICS": "1",
        }
    )
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )
    assert (done.returncode == 0) == ok, done.stdout + done.stderr
    return done.stdout + done.stderr


def stages_first() -> str:
    """The PYTHONPATH of a child: the library, and whatever this process was given."""
    return os.pathsep.join([str(ROOT / "stages"), os.environ.get("PYTHONPATH", "")])


def interruptible() -> None:
    """For `preexec_fn`: Ctrl-C ends the child also where a shell started the tests with `&`, whose
    children ignore it else."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def ran(output: str) -> list[str]:
    return [stage for stage in STAGES if f"Running stage '{stage}'" in output]


def experiment(repo: Path, *options: str, **changes) -> str:
    """`dvc exp run` with settings changed."""
    flags = [part for key, value in changes.items() for part in ("-S", f"{key}={value}")]
    return run("dvc", "exp", "run", *options, *flags, cwd=repo)


def rerun(repo: Path, *stages: str, ok: bool = True, **changes) -> str:
    """`dvc repro` with settings changed as `dvc exp run -S` changes them, for half its seconds."""
    from dvc.utils.hydra import apply_overrides

    if changes:
        apply_overrides(repo / "params.yaml", [f"{key}={value}" for key, value in changes.items()])
    return run("dvc", "repro", *stages, cwd=repo, ok=ok)


def restore(repo: Path) -> None:
    """Everything as it was committed, DVC's files too."""
    run("git", "checkout", "-q", ".", cwd=repo)
    run("git", "clean", "-fdq", cwd=repo)
    run("dvc", "checkout", "-q", "--force", cwd=repo)


def new_project(repo: Path) -> Path:
    """A copy of the project's pipeline with simulated models, committed, nothing run."""
    shutil.copytree(_template(), repo, symlinks=True, dirs_exist_ok=True)
    return repo


def finished_project(factory: pytest.TempPathFactory) -> Path:
    """A copy of a new project that has run with `SMALL` and is committed: it runs once for all
    processes that share the tests."""
    shared = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    with FileLock(shared / "finished.lock"):
        if not (shared / "finished").exists():
            made = new_project(shared / "making" / "cje")
            assert ran(rerun(made, **SMALL)) == STAGES
            commit(made)
            made.parent.rename(shared / "finished")
    repo = factory.mktemp("finished") / "cje"
    shutil.copytree(shared / "finished/cje", repo, symlinks=True)
    return repo


@cache
def _template() -> Path:
    """The project that `new_project` copies: made, and its modules compiled, once a process."""
    repo = Path(tempfile.mkdtemp()) / "cje"
    atexit.register(shutil.rmtree, repo.parent, ignore_errors=True)
    for name in (*KEPT, ".dvcignore", ".gitignore"):
        source, target = ROOT / name, repo / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    shutil.copy(SIMULATED, repo / "params.yaml")
    compileall.compile_dir(repo / "stages", quiet=2)
    run("git", "init", "-q", cwd=repo)
    for key, value in (("user.name", "Tester"), ("user.email", "tester@example.org")):
        run("git", "config", key, value, cwd=repo)
    run("dvc", "init", "-q", cwd=repo)
    shutil.copy(ROOT / ".dvc/config", repo / ".dvc/config")
    shutil.copytree(ROOT / ".dvc/plots", repo / ".dvc/plots")
    commit(repo)
    return repo


def own_cje(folder: Path) -> Path:
    """A new folder with a program `cje` that runs the library of the project it is called in."""
    folder.mkdir()
    (folder / "cje").write_text('#!/bin/sh\nexec python -m cje.cli "$@"\n')
    (folder / "cje").chmod(0o755)
    return folder


def commit(repo: Path) -> None:
    run("git", "add", "-A", cwd=repo)
    run("git", "commit", "-q", "-m", "state", cwd=repo)
