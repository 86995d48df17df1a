"""Whether plans keep their promise: python benchmarks/planning.py --write docs/planning.md

On the sets of `benchmarks/labels.py`, whose every label is known. A pilot is a redraw of a set: as
many prompts, a quarter of the base's answers labelled, and 50 answers of each target (25 of a set
with fewer than 200 prompts). It plans the half widths that twice the labels a target reach. Beside
them stand the half widths that redraws with so many labels really have, on average.

`--write` puts the table between the marks of the page.
"""

import argparse
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


def figures(of: LabelSet, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Half widths planned (pilots, targets), and those reached on average (targets,)."""
    prompts = len(of.judge)
    labels = 50 if prompts >= 200 else 25
    size = Size(prompts, round(redraws.LOGGED_SHARE * prompts), 2 * labels)
    planned, reached = [], []
    for redraw in redraws.task(of, labels, count, "redrawn").redraws(0, count):
        frames = input_frames(redraw)
        found = pilot(frames["logs"], frames["draws"])
        planned.append(Planner(found, Aim(within=0.05)).reach(size).half_widths[1:])
    later = redraws.task(of, 2 * labels, 2 * count, "redrawn")
    for redraw in later.redraws(count, 2 * count):
        rows = cje.analyze(**input_frames(redraw)).estimates.loc[list(redraw.policies[1:])]
        reached.append(((rows["ci_high"] - rows["ci_low"]) / 2).to_numpy())
    return np.array(planned), np.mean(reached, axis=0)


def row(of: LabelSet, count: int) -> str:
    planned, reached = figures(of, count)
    over = reached / planned
    by_pilot = over.mean(axis=1)
    widest = reached.max() / planned.max(axis=1)
    return (
        f"| {of.name} | {planned.mean():.3f} | {reached.mean():.3f} | {over.mean():.2f} "
        f"| {100 * (np.abs(by_pilot - 1) <= CLOSE).mean():.0f} % "
        f"| {100 * (np.abs(widest - 1) <= CLOSE).mean():.0f} % |"
    )


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
        "| set | planned half width | reached | reached / planned | pilots within 10 %: mean width "
        "| widest policy |",
        "|---|---|---|---|---|---|",
    ]
    for of in label_sets(given.folder, given.sets):
        lines.append(row(of, given.redraws))
        print(lines[-1], flush=True)
    if given.write:
        put_between(MARKS, "\n".join(lines), given.write)


if __name__ == "__main__":
    main()
