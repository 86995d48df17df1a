"""How wide an interval is, and why: python benchmarks/sizes.py [--write docs/choosing.md]

What can be chosen before a run is prompts, labels, judge and base policy. The first three tables
vary them one at a time in the worlds of `coverage.py`, whose truth is known: n prompts, a share
of the logs labelled, a judge that tells quality with more or less noise and is not fooled, and a
target whose log-weights have standard deviation sd. The fourth reweights the simulator's answers
(`cje.simulation`) from one way of sampling to another. The last is the recorded run: parts of its
prompts and labels are drawn at random. Run `make repro` before, or leave it out with --worlds.
"""

import argparse
from collections.abc import Iterable
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

import cje
from cje import simulation
from cje.weights import SequenceWeights, weight_summary
from coverage import answers, truth

MARKS = ("<!-- tables -->", "<!-- end of tables -->")
PROMPTS = (250, 500, 1000, 2000, 4000)
SHARES = (0.05, 0.1, 0.25, 0.5, 1.0)
NOISE = (0.0, 0.1, 0.2, 0.4, 1.0)  # standard deviation of what is added to the judge's score
SHIFTS = (0.0, 0.4, 0.7, 1.0, 1.5, 2.0)  # of the target's log-weights
USUAL = {"n": 1000, "share": 0.25, "noise": 0.0, "shift": 0.4}
SAMPLED = ((0.5, 1.0), (0.7, 1.0), (1.0, 1.0), (0.7, 0.9), (1.0, 0.9))  # temperature, top_p
SIMULATED = 1000  # answers of the simulator
POLICIES = ("clone", "cooler", "concise", "hotter")

World = dict[str, float]


def world_estimate(task: tuple[int, World]) -> dict[str, float | str]:
    """Estimate of one replication, the judge's rank correlation, and the t interval of as many
    labels on the target's own answers."""
    seed, world = task
    n, shift = int(world["n"]), world["shift"]
    rng = np.random.default_rng(seed)
    ease = rng.normal(size=n)
    logged, fresh = (answers(rng, ease, s, 0.0, "length") for s in (0.0, shift))
    judged = [
        np.clip(part["judge"] + world["noise"] * rng.normal(size=n), 0, 1)
        for part in (logged, fresh)
    ]
    labelled = rng.permutation(n) < round(world["share"] * n)
    uid, logp = [f"{i}" for i in range(n)], -rng.gamma(100, 2, n)
    texts = [["x" * k for k in part["length"]] for part in (logged, fresh)]
    oracle = np.where(labelled, logged["oracle"], np.nan)
    logs = pd.DataFrame({"uid": uid, "judge_raw": judged[0], "oracle_score": oracle})
    logs = logs.assign(sequence_logp=logp, answer=texts[0])
    ratio = shift * logged["z"] - shift**2 / 2
    target = pd.DataFrame({"uid": uid, "policy": "target", "sequence_logp": logp + ratio})
    draws = pd.DataFrame({"uid": uid, "policy": "target", "draw": 0, "judge_raw": judged[1]})
    row = cje.analyze(logs, target, draws.assign(answer=texts[1])).estimates.iloc[0]
    return {
        "gap": row["v_hat"] - truth_of(shift),
        "half": (row["ci_high"] - row["ci_low"]) / 2,
        "rank": spearmanr(judged[0], logged["oracle"]).statistic,
        "labels": 1.96 * fresh["oracle"][labelled].std(ddof=1) / labelled.sum() ** 0.5,
        "verdict": row["verdict"],
    }


def truth_of(shift: float) -> float:
    """The target's true utility: of a judge that is not fooled no shift changes it."""
    if shift not in TRUTHS:
        TRUTHS[shift] = truth(shift, 0.0)
    return TRUTHS[shift]


TRUTHS: dict[float, float] = {}


def study(pool: Executor, replications: int, **changed: float) -> pd.DataFrame:
    """All replications of one world."""
    tasks = [(seed, USUAL | changed) for seed in range(replications)]
    return pd.DataFrame(pool.map(world_estimate, tasks, chunksize=5))


def covered(found: pd.DataFrame) -> str:
    """How many of the intervals hold the truth."""
    return f"{100 * found['gap'].abs().le(found['half']).mean():.0f} %"


def grid(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """A table in Markdown."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(map(str, line))} |" for line in lines]


def size_table(pool: Executor, replications: int) -> list[str]:
    """Half width by prompts and labelled share."""
    rows = []
    for n in PROMPTS:
        found = [study(pool, replications, n=n, share=share) for share in SHARES]
        rows.append([f"{n:,}", *(f"{part['half'].mean():.4f}" for part in found)])
    return grid(["prompts", *(f"{share:.0%} labelled" for share in SHARES)], rows)


def judge_table(pool: Executor, replications: int) -> list[str]:
    """Half width by the judge's rank correlation with the oracle and the labelled share."""
    rows = []
    for noise in NOISE:
        found = [study(pool, replications, noise=noise, share=share) for share in (0.1, 0.25, 0.5)]
        rows.append(
            [
                f"{found[1]['rank'].mean():.2f}",
                *(f"{part['half'].mean():.4f}" for part in found),
                covered(found[1]),
            ]
        )
    own = [study(pool, replications, share=share) for share in (0.1, 0.25, 0.5)]
    rows.append(["labels alone", *(f"{part['labels'].mean():.4f}" for part in own), ""])
    head = ["judge's rank correlation", "100 labels", "250 labels", "500 labels"]
    return grid([*head, "covered (250)"], rows)


def overlap_table(pool: Executor, replications: int) -> list[str]:
    """Half width and verdict by the standard deviation of the target's log-weights."""
    rows = []
    for shift in SHIFTS:
        found = study(pool, replications, shift=shift)
        shares = [found["verdict"].eq(word).mean() for word in ("reliable", "caution", "refuse")]
        rows.append(
            [
                f"{shift:g}",
                f"{100 * np.exp(-(shift**2)):.0f} %",
                f"{found['half'].mean():.4f}",
                f"{(found['gap'] ** 2).mean() ** 0.5:.4f}",
                covered(found),
                " / ".join(f"{100 * share:.0f}" for share in shares) + " %",
            ]
        )
    head = ["sd of log-weights", "effective sample", "half width", "RMSE", "covered"]
    return grid([*head, "reliable / caution / refuse"], rows)


def sampling_table() -> list[str]:
    """Effective sample and mean weight from one way of sampling to another."""
    prompts = [f"Say something about subject {i}." for i in range(SIMULATED)]
    keys = simulation.sampling_keys(0, prompts, "sizes", 0)
    rows = []
    for temperature, top_p in SAMPLED:
        base = simulation.Speaker("base", None, temperature, top_p)
        logged = base.sample(prompts, keys, 40)
        cells = []
        for target in SAMPLED:
            other = simulation.Speaker("base", None, *target)
            logps = other.score(prompts, logged.tokens, logged.lengths)
            gap = logps.sum(axis=1) - logged.logps.sum(axis=1)
            weights = SequenceWeights.from_log_ratio(gap)
            found = weight_summary(weights.weight, weights.ratio)
            cells.append(f"{100 * found['ess']:.0f} %, {found['mean_weight']:.2f}")
        rows.append([f"**T {temperature}, top_p {top_p}**", *cells])
    return grid(["logged with", *(f"T {t}, top_p {p}" for t, p in SAMPLED)], rows)


def recorded_estimates(task: tuple[int, int, float]) -> dict[str, float]:
    """Half width by policy, and of the difference between two, on a part of the recorded run."""
    from label_samples import run

    seed, n, share = task
    logs, draws, logps = run()
    rng = np.random.default_rng(seed)
    kept = set(rng.permutation(logs["uid"].to_numpy())[:n])
    logs, draws, logps = (f[f["uid"].isin(kept)] for f in (logs, draws, logps))
    labelled = rng.permutation(len(logs)) < round(share * len(logs))
    logs = logs.assign(oracle_score=np.where(labelled, logs["truth"], np.nan))
    found = cje.analyze(logs, logps, draws, seed=seed)
    half = (found.estimates["ci_high"] - found.estimates["ci_low"]) / 2
    pairs = found.comparisons.set_index(["policy_a", "policy_b"])
    pair = pairs.loc[("careful", "clone")]
    return half[list(POLICIES)].to_dict() | {"pair": (pair["ci_high"] - pair["ci_low"]) / 2}


def recorded_table(pool: Executor, replications: int) -> list[str]:
    """Mean half width on the recorded run by prompts and labelled share."""
    rows = []
    sizes = [(250, 0.25), (500, 0.25), *((1000, share) for share in SHARES)]
    for n, share in sizes:
        tasks = [(seed, n, share) for seed in range(replications)]
        found = pd.DataFrame(pool.map(recorded_estimates, tasks, chunksize=5)).mean()
        labels = f"{round(share * n):,} ({share:.0%})"
        cells = [f"{found[name]:.3f}" for name in (*POLICIES, "pair")]
        rows.append([f"{n:,}", labels, *cells])
    return grid(["prompts", "labels", *POLICIES, "careful - clone"], rows)


def report(replications: int, samples: int, processes: int, recorded: bool) -> str:
    """All tables, each under its title."""
    with ProcessPoolExecutor(processes) as pool:
        parts = [
            (
                "Prompts and labels",
                f"Mean half width of the 95 % interval, {replications} replications a cell; a "
                "judge of rank correlation 0.73, log-weights of sd 0.4.",
                size_table(pool, replications),
            ),
            (
                "The judge",
                f"Half width at 1,000 prompts, {replications} replications a cell. The last row "
                "is what as many labels on the target's own answers give without judge or logs.",
                judge_table(pool, replications),
            ),
            (
                "The base policy, and how near the targets are",
                f"1,000 prompts, 250 labels, {replications} replications a row. The effective "
                "sample is exp(-sd^2) of the logs.",
                overlap_table(pool, replications),
            ),
            (
                "Temperature and top_p",
                f"Effective sample and mean weight of {SIMULATED:,} answers of the simulated "
                "model (up to 40 tokens), from one way of sampling to another.",
                sampling_table(),
            ),
        ]
        if recorded:
            parts.append(
                (
                    "The recorded run",
                    f"Mean half width, {samples} random parts of its prompts and labels a row; "
                    "last, of the difference between two policies on the same prompts.",
                    recorded_table(pool, samples),
                )
            )
    lines = [line for t, words, rows in parts for line in (f"### {t}", "", words, "", *rows, "")]
    return "\n".join(lines).rstrip()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--replications", type=int, default=200)
    options.add_argument("--samples", type=int, default=40, help="of the recorded run")
    options.add_argument("--processes", type=int, default=2)
    options.add_argument("--worlds", action="store_true", help="leave the recorded run out")
    options.add_argument("--write", type=Path, help="a Markdown file with marks for the tables")
    given = options.parse_args()
    text = report(given.replications, given.samples, given.processes, not given.worlds)
    print(text)
    if given.write:
        whole = given.write.read_text(encoding="utf-8")
        before, after = whole.split(MARKS[0])[0], whole.split(MARKS[1])[1]
        marked = f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{after}"
        given.write.write_text(marked, encoding="utf-8")


if __name__ == "__main__":
    main()
