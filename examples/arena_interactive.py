"""A finished run in a notebook or a Python session, by the name that the Arena Analysis guide uses.

from examples.arena_interactive import ArenaAnalyzer

analyzer = ArenaAnalyzer()
analyzer.plot_weight_diagnostics()
analyzer.diagnose_weights()
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "stages"))  # installed or not

from cje import ArenaAnalyzer

__all__ = ["ArenaAnalyzer"]
