"""How many prompts, how many labels, how good a judge? python benchmarks/sizes.py

Mean half width of dr-cpo's 95 % interval in the worlds of coverage.py, the judge fooled by a trait
that shows in the answers' length: by prompts and labels, by the judge's noise, and by how far the
target is from the logs. `--write docs/choosing.md` puts the tables there.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np

import cje
from coverage import FOOL, NOISE, frames, truth
from pages import put_between

MARKS = ("<!-- tables -->", "<!-- end of tables -->")
PROMPTS, LABELS = (200, 500, 1000, 2000, 5000), (0.05, 0.1, 0.25, 0.5, 1.0)
NOISES, SHIFTS = (0.0, 0.06, 0.12, 0.25, 0.5), (0.0, 0.4, 0.7, 1.0, 1.5)
NEAR = 0.4  # standard deviation of the log-weights


def replicate(task: tuple) -> tuple[float, ...]:
    """Half width, rank correlation, effective sample share, and interval of one replication."""
    seed, prompts, labels, noise, shift = task
    logs, target, draws = frames(
        seed, shift, FOOL, "length", prompts=prompts, labels=labels, noise=noise
    )
    found = cje.analyze(logs, target, draws)
    row = found.estimates.iloc[0]
    rank = found.calibration["spearman"]
    half = (row["ci_high"] - row["ci_low"]) / 2
    return half, rank, row["ess"], row["ci_low"], row["ci_high"]


@cache
def known_truth(shift: float) -> float:
    """The target's true utility."""
    return truth(shift, FOOL)


def cell(pool: ProcessPoolExecutor, count: int, *world) -> np.ndarray:
    """Means over replications: half width, rank, effective sample share, coverage."""
    rows = np.array(list(pool.map(replicate, [(s, *world) for s in range(count)], chunksize=5)))
    true = known_truth(world[-1])
    covered = ((rows[:, 3] <= true) & (true <= rows[:, 4])).mean()
    return np.array([*rows[:, :3].mean(axis=0), covered])


def tables(count: int, processes: int) -> list[str]:
    """The three tables in Markdown."""
    with ProcessPoolExecutor(processes) as pool:
        lines = [
            f"Mean half widths of {count} replications; in brackets how often the truth was held.",
            "",
            "| prompts | " + " | ".join(f"{share:.0%} labelled" for share in LABELS) + " |",
            "|---|" + "---|" * len(LABELS),
        ]
        for prompts in PROMPTS:
            cells = []
            for share in LABELS:
                half, _, _, covered = cell(pool, count, prompts, share, NOISE, NEAR)
                cells.append(f"±{half:.3f} ({covered:.0%})")
            lines.append(f"| {prompts:,} | {' | '.join(cells)} |")
        lines += ["", "| judge's rank correlation | half width | held |", "|---|---|---|"]
        for noise in NOISES:
            half, rank, _, covered = cell(pool, count, 1000, 0.25, noise, NEAR)
            lines.append(f"| {rank:.2f} | ±{half:.3f} | {covered:.0%} |")
        head = "| sd of the log-weights | effective sample | half width | held |"
        lines += ["", head, "|---|---|---|---|"]
        for shift in SHIFTS:
            half, _, ess, covered = cell(pool, count, 1000, 0.25, NOISE, shift)
            lines.append(f"| {shift:g} | {ess:.0%} | ±{half:.3f} | {covered:.0%} |")
    return lines


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--replications", type=int, default=100)
    options.add_argument("--processes", type=int, default=2)
    options.add_argument("--write", type=Path)
    given = options.parse_args()
    text = "\n".join(tables(given.replications, given.processes))
    print(text)
    if given.write:
        put_between(MARKS, text, given.write)


if __name__ == "__main__":
    main()
