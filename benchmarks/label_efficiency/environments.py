"""An environment for each peer, made once under a cache folder."""

import os
import shutil
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path("~/.cache/cje-benchmarks").expanduser()
PYENV = Path("~/.pyenv/versions").expanduser()


class NotHere(Exception):
    """A peer cannot be had on this machine; the message says why."""


def installed(name: str, requirement: str, oldest: tuple[int, int], cache: Path) -> Path:
    """The interpreter of the environment `name`, which has the one requirement installed."""
    folder = cache / name
    ready, python = folder / "ready", folder / "bin" / "python"
    if ready.exists() and ready.read_text(encoding="utf-8") == requirement:
        return python
    interpreter = python_at_least(oldest)
    shutil.rmtree(folder, ignore_errors=True)
    for command in (
        [interpreter, "-m", "venv", folder],
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or ["no message"]
            raise NotHere(f"{requirement} could not be installed: {last[0]}")
    ready.write_text(requirement, encoding="utf-8")
    return python


def python_at_least(version: tuple[int, int]) -> Path:
    """This interpreter if it is new enough, else one on PATH or of pyenv that is and that runs."""
    if sys.version_info[:2] >= version:
        return Path(sys.executable)
    minors = range(version[1], version[1] + 4)
    on_path = [shutil.which(f"python{version[0]}.{minor}") for minor in minors]
    of_pyenv = [
        path for minor in minors for path in PYENV.glob(f"{version[0]}.{minor}.*/bin/python")
    ]
    for candidate in [*of_pyenv, *filter(None, on_path)]:
        asked = [candidate, "-c", "import sys; print(*sys.version_info[:2])"]
        done = subprocess.run(asked, capture_output=True, text=True)
        if done.returncode == 0 and tuple(map(int, done.stdout.split())) >= version:
            return Path(candidate)
    wanted = ".".join(map(str, version))
    raise NotHere(f"it needs Python {wanted} or newer, and there is none on PATH or in {PYENV}")


def former_stages(revision: str, cache: Path) -> Path:
    """The library of an earlier revision of this project, unpacked beside the environments."""
    folder = cache / f"former-{revision}"
    if not folder.exists():
        command = ["git", "-C", ROOT, "archive", revision, "stages"]
        done = subprocess.run(command, capture_output=True)
        if done.returncode:
            raise NotHere(f"the repository's history lacks revision {revision}")
        unpacked = folder.with_suffix(".new")
        shutil.rmtree(unpacked, ignore_errors=True)
        with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
            archive.extractall(unpacked, filter="data")
        unpacked.rename(folder)
    return folder / "stages"


def variables(stages: Path | None = None) -> dict[str, str]:
    """A peer's environment variables: one thread, and the library at `stages` where given."""
    found = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    if stages is None:
        found.pop("PYTHONPATH", None)
    # The peers' scripts lie in a folder below this package: they find it through the path.
    paths = [Path(__file__).resolve().parents[1], *([stages] if stages else [])]
    return found | {"PYTHONPATH": os.pathsep.join(map(str, paths))}
