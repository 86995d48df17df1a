"""Time and memory of `cje.analyze` as the logs grow: python benchmarks/scaling.py

Each size runs in a process of its own. Cost should grow linearly: the last column is the time per
log as a multiple of that at 10,000 logs.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np
import pandas as pd

POLICIES = ("a", "b", "c", "d")
REFERENCE = 10_000


def frames(n: int, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Logs, draws and target log-probabilities of n prompts and four policies; 25 % of the logs and
    100 draws of each policy are labelled."""
    rng = np.random.default_rng(seed)
    uid = np.array([f"prompt-{i}" for i in range(n)], dtype=object)
    quality = rng.normal(size=n)

    def scores() -> tuple[np.ndarray, np.ndarray, list[str]]:
        own = 0.6 * quality + 0.8 * rng.normal(size=n)
        judge = np.clip(0.6 + 0.12 * own + 0.06 * rng.normal(size=n), 0, 1)
        oracle = np.clip(0.6 + 0.12 * own + 0.08 * rng.normal(size=n), 0, 1)
        return judge, oracle, ["x" * k for k in rng.integers(20, 200, n)]

    judge, oracle, answers = scores()
    logp = -rng.gamma(50, 2, n)
    logs = pd.DataFrame(
        {
            "uid": uid,
            "judge_raw": judge,
            "oracle_score": np.where(rng.random(n) < 0.25, oracle, np.nan),
            "sequence_logp": logp,
            "logprob_kind": "sampling",
            "answer": answers,
        }
    )
    own = np.isin(np.arange(n), rng.permutation(n)[:100])
    target_logps, draws = [], []
    for policy in POLICIES:
        shift = np.minimum(rng.normal(-0.08, 0.4, n), -logp)
        target_logps.append(
            pd.DataFrame({"uid": uid, "policy": policy, "sequence_logp": logp + shift})
        )
        judge, oracle, answers = scores()
        labels = np.where(own, oracle, np.nan)
        draws.append(
            pd.DataFrame(
                {"uid": uid, "policy": policy, "draw": 0, "judge_raw": judge,
                 "oracle_score": labels, "answer": answers}
            )
        )  # fmt: skip
    logps = pd.concat(target_logps, ignore_index=True).assign(logprob_kind="sampling")
    return logs, pd.concat(draws, ignore_index=True), logps


def measure(n: int) -> dict[str, float]:
    """Seconds of an analysis of n logs (the second call, imports done) and the process's peak."""
    import cje

    cje.analyze(*frames(200))
    tables = frames(n)
    start = time.perf_counter()
    cje.analyze(*tables)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"n": n, "seconds": seconds, "peak_gib": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sizes", nargs="*", type=int, default=[1000, REFERENCE, 100_000, 1_000_000])
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one)))
        return
    rows = []
    for n in arguments.sizes:
        command = [sys.executable, __file__, "--one", str(n)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        rows.append(json.loads(done.stdout))
    per_log = {row["n"]: row["seconds"] / row["n"] for row in rows}
    reference = per_log.get(REFERENCE, next(iter(per_log.values())))
    print(f"{'logs':>10} {'seconds':>9} {'peak GiB':>9} {'per log':>8}")
    for row in rows:
        ratio = per_log[row["n"]] / reference
        print(f"{row['n']:>10,} {row['seconds']:>9.3f} {row['peak_gib']:>9.2f} {ratio:>8.2f}")


if __name__ == "__main__":
    main()
