"""Whether plans keep their promise: python benchmarks/planning.py --write docs/planning.md

On the sets of `benchmarks/labels.py`, whose every label is known. A pilot is a redraw of a set: as
many prompts, a quarter of the base's answers labelled, and 50 answers of each target (25 of a set
with fewer than 200 prompts). It plans the half widths that twice the labels a target reach, with at
least as many on the logs. Beside them stand the half widths that redraws with so many labels really
have: their mean, and how far a single one lies from it, which no plan can know.

`--write` puts the table between the marks of the page.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import cje
from cje.stats.planning import Aim, Planner, Size, pilot
from label_efficiency import redraws
from label_efficiency.environments import ROOT
from label_efficiency.frames import input_frames
from label_efficiency.sets import LabelSet, label_sets
from pages import put_between

FOLDER = ROOT.parent / "shared" / "label_sets"
MARKS = ("<!-- planned widths -->", "<!-- end of planned widths -->")
CLOSE = 0.1


@dataclass(frozen=True)
class Figures:
    """Half widths `planned` (pilots, T) and their `ranges` (pilots, 2) of the widest; and those of
    other `runs` (runs, T)."""

    planned: np.ndarray
    ranges: np.ndarray
    runs: np.ndarray


def figures(of: LabelSet, count: int) -> Figures:
    """Of so many pilots, and twice as many runs."""
    prompts = len(of.judge)
    labels = 50 if prompts >= 200 else 25
    later = redraws.task(of, 2 * labels, 2 * count, "redrawn")
    if later.logged_labels[0].sum() < 2 * labels:
        later = replace(later, logged_labels=later.own_labels)
    size = Size(prompts, int(later.logged_labels[0].sum()), 2 * labels)
    planned, ranges, runs = [], [], []
    for redraw in redraws.task(of, labels, count, "redrawn").redraws(0, count):
        frames = input_frames(redraw)
        planner = Planner(pilot(frames["logs"], frames["draws"]), Aim(within=0.05))
        planned.append(planner.reach(size).half_widths[1:])
        ranges.append(planner.likely(size))
    for redraw in later.redraws(count, 2 * count):
        rows = cje.analyze(**input_frames(redraw)).estimates.loc[list(redraw.policies[1:])]
        runs.append(((rows["ci_high"] - rows["ci_low"]) / 2).to_numpy())
    return Figures(np.array(planned), np.array(ranges), np.array(runs))


def row(of: LabelSet, count: int) -> str:
    found = figures(of, count)
    planned, reached = found.planned, found.runs.mean(axis=0)
    widest = found.runs.max(axis=1)
    low, high = found.ranges.T
    held = (low[:, None] <= widest) & (widest <= high[:, None])
    shares = (
        close(reached / planned),
        close((reached / planned).mean(axis=1)),
        close(reached.max() / planned.max(axis=1)),
        close(found.runs / reached),
    )
    return (
        f"| {of.name} | {planned.mean():.3f} | {reached.mean():.3f} "
        f"| {(reached / planned).mean():.2f} | "
        + " | ".join(f"{100 * share:.0f} %" for share in shares)
        + f" | {low.mean():.3f} to {high.mean():.3f} | {100 * held.mean():.0f} % |"
    )


def close(ratio: np.ndarray) -> float:
    """The share within a tenth of 1."""
    return float((np.abs(ratio - 1) <= CLOSE).mean())


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--redraws", type=int, default=100)
    options.add_argument("--folder", type=Path, default=FOLDER)
    options.add_argument("--sets", nargs="+")
    options.add_argument("--write", type=Path)
    given = options.parse_args()
    lines = [
        f"{given.redraws} pilots a set.",
        "",
        "| set | planned half width | reached | reached / planned | within 10 %: a policy's width "
        "| the mean width | the widest | a run's own width | range of the widest | held |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for of in label_sets(given.folder, given.sets):
        lines.append(row(of, given.redraws))
        print(lines[-1], flush=True)
    if given.write:
        put_between(MARKS, "\n".join(lines), given.write)


if __name__ == "__main__":
    main()
