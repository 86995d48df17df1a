"""Run a stage's script as DVC does, after the one that checks the settings: staged.py <stage>.

A second argument is what root's shell does before, in mounts of this process alone.
"""

import ctypes
import runpy
import subprocess
import sys
from pathlib import Path

CLONE_NEWNS = 0x00020000

STAGES = Path(__file__).resolve().parents[1] / "stages"


def run_stage(name: str) -> None:
    """Run the script of that name, and `check_settings` before any other."""
    for script in dict.fromkeys(("check_settings", name)):
        runpy.run_path(str(STAGES / f"{script}.py"), run_name="__main__")


def own_mounts(before: str) -> None:
    """Have mounts of one's own, and run shell commands there."""
    assert ctypes.CDLL(None).unshare(CLONE_NEWNS) == 0
    subprocess.run(["sh", "-c", f"mount --make-rprivate / && {before}"], check=True)


if __name__ == "__main__":
    for before in sys.argv[2:]:
        own_mounts(before)
    run_stage(sys.argv[1])
