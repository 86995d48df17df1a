"""Look into a run: python examples/analyze_arena_results.py [--run-dir outputs/arena_runs/run_...]

The tables of `cje analyze`, and what they hold as CSV and as a figure of the intervals.
"""

import sys

from cje.cli import main

FILES = ["--csv", "outputs/policies.csv", "--plot", "outputs/intervals.png"]

if __name__ == "__main__":
    main(["analyze", *FILES, *sys.argv[1:]])
