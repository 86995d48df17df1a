"""What logs reach, and what the recorded run's sizes buy: python benchmarks/reach.py

The first table reweights the simulator's answers (`cje.models.providers.simulation`) from one way
of sampling to another. The second is of the recorded run: parts of its prompts and labels are drawn
at random, and the half width of dr-cpo's 95 % interval is averaged, beside that of a policy's own
labels without judge or logs.
Run `make repro` before. `--write docs/choosing.md` puts the tables there.
"""

import argparse
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

import cje
from cje.models.providers import simulation
from cje.stats.weights import SequenceWeights, weight_summary
from cje.vocabulary import Verdict
from label_samples import Z, run, with_labels
from pages import put_between

MARKS = ("<!-- reach -->", "<!-- end of reach -->")
WAYS = ((0.5, 1.0), (0.7, 1.0), (1.0, 1.0), (0.7, 0.9), (1.0, 0.9))  # temperature, top_p
ANSWERS, TOKENS = 1000, 40  # of the simulator
POLICIES = ("clone", "cooler", "concise", "hotter")
MOSTLY = 0.5  # of the parts: a policy that is refused in more of them has no half width
SIZES = (  # prompts, labels on the logs, on the answers of each target
    *((500, 125, 100), (1000, 250, 100)),
    *((1000, 50, 0), (1000, 250, 0), (1000, 1000, 0)),
    *((1000, 250, 50), (1000, 250, 200), (1000, 250, 400), (1000, 400, 400)),
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
            cells.append(f"{found.ess:.0%}, {found.mean_weight:.2f}")
        rows.append([words(way), *cells])
    return grid(["logged with", *map(words, WAYS)], rows)


def words(way: tuple[float, float]) -> str:
    """Temperature and top_p."""
    return f"T {way[0]:g}, top_p {way[1]:g}"


def half_widths(task: tuple[int, int, int, int]) -> dict[str, float]:
    """By policy, of the difference of two, and of own labels alone, on a part of the run."""
    seed, count, logged, own = task
    logs, draws, logps = run()
    order = np.random.default_rng(seed).permutation(logs["uid"].to_numpy())[:count]
    logs, draws, logps = (f[f["uid"].isin(order)] for f in (logs, draws, logps))
    logs, draws = with_labels(logs, order[:logged]), with_labels(draws, order[:own])
    found = cje.analyze(logs, draws, logps, seed=seed)
    kept = found.estimates["verdict"] != Verdict.REFUSE
    half = ((found.estimates["ci_high"] - found.estimates["ci_low"]) / 2).where(kept)
    pairs = found.comparisons.set_index(["policy_a", "policy_b"])
    pairs = ((pairs["ci_high"] - pairs["ci_low"]) / 2).reindex([("careful", "clone")])
    spread = draws.groupby("policy")["truth"].std().mean()
    return half[list(POLICIES)].to_dict() | {
        "careful - clone": pairs.iloc[0],
        "own labels alone": Z * spread / own**0.5 if own else np.nan,
    }


def recorded_table(samples: int, processes: int) -> list[str]:
    """Mean half widths on the recorded run, by prompts and labels."""
    rows = []
    with ProcessPoolExecutor(processes) as pool:
        for count, logged, own in SIZES:
            tasks = [(seed, count, logged, own) for seed in range(samples)]
            found = pd.DataFrame(pool.map(half_widths, tasks, chunksize=5))
            found = found.mean().where(found.notna().mean() > MOSTLY)
            cells = ["-" if pd.isna(value) else f"±{value:.3f}" for value in found]
            rows.append([f"{count:,}", f"{logged:,}", f"{own:,}", *cells])
    return grid(["prompts", "on the logs", "own", *found.index], rows)


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
        f"Half widths on the recorded run, means of {given.samples} random parts of it; a dash "
        "where the policy is mostly refused.",
        "",
        *recorded_table(given.samples, given.processes),
    ]
    text = "\n".join(lines)
    print(text)
    if given.write:
        put_between(MARKS, text, given.write)


if __name__ == "__main__":
    main()
