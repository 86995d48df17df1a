"""The command of the Arena Analysis guide: `cje run` under its old name, with all of its flags.

python scripts/run_arena_analysis.py --max-samples 100 --oracle-fraction 0.5
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "stages"))  # installed or not

try:
    from cje.cli import main
except ModuleNotFoundError as error:
    sys.exit(
        f"error: the package {error.name} is not installed here; run: make repro && "
        "source .venv/bin/activate (or: pip install -e .)"
    )

if __name__ == "__main__":
    main(["run", *sys.argv[1:]])
