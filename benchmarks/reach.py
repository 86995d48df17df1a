"""What logs reach, and what the recorded run's sizes buy: python benchmarks/reach.py

The first table reweights the simulator's answers (`cje.simulation`) from one way of sampling to
another. The second is of the recorded run: parts of its prompts and labels are drawn at random, and
the half width of dr-cpo's 95 % interval is averaged, beside that of as many labels on a policy's
own answers, without judge or logs. Run `make repro` before. `--write docs/choosing.md` puts the
tables there.
"""

import argparse
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

import cje
from cje import simulation
from cje.weights import SequenceWeights, weight_summary
from label_samples import Z, run
from pages import put_between

MARKS = ("<!-- reach -->", "<!-- end of reach -->")
WAYS = ((0.5, 1.0), (0.7, 1.0), (1.0, 1.0), (0.7, 0.9), (1.0, 0.9))  # temperature, top_p
ANSWERS, TOKENS = 1000, 40  # of the simulator
POLICIES = ("clone", "cooler", "concise", "hotter")
SIZES = (  # prompts, share labelled
    *((250, 0.25), (500, 0.25)),
    *((1000, 0.05), (1000, 0.1), (1000, 0.25), (1000, 0.5), (1000, 1.0)),
)


def grid(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """A table in Markdown."""
    head = list(head)
    return [f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows)]


def sampling_table() -> list[str]:
    """Effective sample and mean weight from one way of sampling to another."""
    prompts = [f"Say something about subject {i}." for i in range(ANSWERS)]
    keys = simulation.sampling_keys(0, prompts, "reach", 0)
    rows = []
    for way in WAYS:
        logged = simulation.Speaker("base", None, *way).sample(prompts, keys, TOKENS)
        cells = []
        for target in WAYS:
            speaker = simulation.Speaker("base", None, *target)
            logps = speaker.score(prompts, logged.tokens, logged.lengths)
            ratio = logps.sum(axis=1) - logged.logps.sum(axis=1)
            weights = SequenceWeights.from_log_ratio(ratio)
            found = weight_summary(weights.weight, weights.ratio)
            cells.append(f"{found['ess']:.0%}, {found['mean_weight']:.2f}")
        rows.append([words(way), *cells])
    return grid(["logged with", *map(words, WAYS)], rows)


def words(way: tuple[float, float]) -> str:
    """Temperature and top_p."""
    return f"T {way[0]:g}, top_p {way[1]:g}"


def half_widths(task: tuple[int, int, float]) -> dict[str, float]:
    """By policy, of the difference of two, and of labels of their own, on a part of the run."""
    seed, count, share = task
    rng = np.random.default_rng(seed)
    logs, draws, logps = run()
    kept = set(rng.permutation(logs["uid"].to_numpy())[:count])
    logs, draws, logps = (f[f["uid"].isin(kept)] for f in (logs, draws, logps))
    labels = round(share * len(logs))
    labelled = rng.permutation(len(logs)) < labels
    logs = logs.assign(oracle_score=np.where(labelled, logs["truth"], np.nan))
    found = cje.analyze(logs, logps, draws, seed=seed)
    half = (found.estimates["ci_high"] - found.estimates["ci_low"]) / 2
    pairs = found.comparisons.set_index(["policy_a", "policy_b"])
    pair = pairs.loc[("careful", "clone")]
    own = Z * draws.groupby("policy")["truth"].std().mean() / labels**0.5
    return half[list(POLICIES)].to_dict() | {
        "careful - clone": (pair["ci_high"] - pair["ci_low"]) / 2,
        "own labels": own,
    }


def recorded_table(samples: int, processes: int) -> list[str]:
    """Mean half widths on the recorded run, by prompts and labels."""
    rows = []
    with ProcessPoolExecutor(processes) as pool:
        for count, share in SIZES:
            tasks = [(seed, count, share) for seed in range(samples)]
            found = pd.DataFrame(pool.map(half_widths, tasks, chunksize=5)).mean()
            head = list(found.index)
            labels = f"{round(count * share):,}"
            rows.append([f"{count:,}", labels, *(f"±{value:.3f}" for value in found)])
    return grid(["prompts", "labels", *head], rows)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--samples", type=int, default=100, help="of the recorded run")
    options.add_argument("--processes", type=int, default=2)
    options.add_argument("--write", type=Path)
    given = options.parse_args()
    lines = [
        f"Effective sample and mean weight; {ANSWERS:,} answers of the simulated model.",
        "",
        *sampling_table(),
        "",
        f"Half widths on the recorded run, means of {given.samples} random parts of it.",
        "",
        *recorded_table(given.samples, given.processes),
    ]
    text = "\n".join(lines)
    print(text)
    if given.write:
        put_between(MARKS, text, given.write)


if __name__ == "__main__":
    main()
