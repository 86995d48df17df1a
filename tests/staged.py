"""Run a stage's script as DVC does, after the one that checks the settings: staged.py <stage>."""

import runpy
import sys
from pathlib import Path

STAGES = Path(__file__).resolve().parents[1] / "stages"


def run_stage(name: str) -> None:
    """Run the script of that name, and `check_settings` before any other."""
    for script in dict.fromkeys(("check_settings", name)):
        runpy.run_path(str(STAGES / f"{script}.py"), run_name="__main__")


if __name__ == "__main__":
    run_stage(sys.argv[1])
