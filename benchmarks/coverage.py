"""Coverage and error of the estimators in worlds of known truth: python benchmarks/coverage.py

Each world has 1,000 prompts, 25 % of the logs labelled. An answer has a trait z, which the target
policy shifts by sd: its log-weight is sd z - sd^2 / 2, of standard deviation sd. Judge and oracle
see a common quality, each with noise; where the judge is fooled, z raises its score by 0.05 and
lowers the oracle's by as much. The trait shows in the answer's length, or in nothing but the
log-probabilities. `--write docs/coverage.md` puts the table there.
"""

import argparse
import itertools
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

import cje
from cje.rewards import calibrate
from cje.samples import build_samples, check_frames
from pages import put_between

N, LABELLED = 1000, 0.25
FOOL = 0.1
NOISE = 0.06  # of the judge
SHIFTS = (0.0, 0.4, 1.0, 2.5)
TRUTH_DRAWS = 4_000_000
MARKS = ("<!-- table -->", "<!-- end of table -->")
METHODS = ("dr-cpo", "dr-cpo, no log-probabilities", "plain", "direct")


def answers(
    rng: np.random.Generator,
    ease: np.ndarray,
    shift: float,
    fool: float,
    style: str,
    noise: float = NOISE,
) -> dict[str, np.ndarray]:
    """Trait, oracle utility, judge score and length of one answer to each prompt."""
    n = len(ease)
    z = rng.normal(size=n) + shift
    quality = 0.6 + 0.12 * (0.6 * ease + 0.8 * rng.normal(size=n))
    oracle = quality + 0.08 * rng.normal(size=n) - fool / 2 * z
    judge = quality + noise * rng.normal(size=n) + fool / 2 * z
    shown = z if style == "length" else rng.normal(size=n)
    length = np.maximum(1, np.round(np.exp(5.5 + 0.35 * shown))).astype(int)
    return {"z": z, "oracle": oracle.clip(0, 1), "judge": judge.clip(0, 1), "length": length}


def truth(shift: float, fool: float) -> float:
    """The target's true utility, to within 1e-4."""
    rng = np.random.default_rng(1)
    ease = rng.normal(size=TRUTH_DRAWS)
    return float(answers(rng, ease, shift, fool, "length")["oracle"].mean())


def frames(
    seed: int,
    shift: float,
    fool: float,
    style: str,
    *,
    prompts: int = N,
    labels: float = LABELLED,
    noise: float = NOISE,
) -> tuple[pd.DataFrame, ...]:
    """Logs, target log-probabilities and draws of one replication; `labels` is a share."""
    rng = np.random.default_rng(seed)
    ease = rng.normal(size=prompts)
    logged = answers(rng, ease, 0.0, fool, style, noise)
    fresh = answers(rng, ease, shift, fool, style, noise)
    labelled = np.isin(np.arange(prompts), rng.permutation(prompts)[: round(labels * prompts)])
    uid = [f"{i}" for i in range(prompts)]
    logp = -rng.gamma(100, 2, prompts)
    ratio = shift * logged["z"] - shift**2 / 2
    logs = pd.DataFrame(
        {
            "uid": uid,
            "judge_raw": logged["judge"],
            "oracle_score": np.where(labelled, logged["oracle"], np.nan),
            "sequence_logp": logp,
            "answer": ["x" * k for k in logged["length"]],
        }
    )
    target = pd.DataFrame({"uid": uid, "policy": "target", "sequence_logp": logp + ratio})
    draws = pd.DataFrame(
        {
            "uid": uid,
            "policy": "target",
            "draw": 0,
            "judge_raw": fresh["judge"],
            "answer": ["x" * k for k in fresh["length"]],
        }
    )
    return logs, target, draws


def plain(logs: pd.DataFrame, target: pd.DataFrame, draws: pd.DataFrame) -> dict[str, object]:
    """The textbook form: isotonic calibration, exact weights, lambda = 1, a normal interval."""
    logs, draws = logs.drop(columns="answer"), draws.drop(columns="answer")
    logs, target, draws = check_frames(logs, target, draws, (0, 1), (0, 1))
    fitted = calibrate(logs, draws)
    samples = build_samples(fitted.logs, target, fitted.draws, 5, 42)
    own, drawn = samples.logs, samples.draws["target"]
    weight = np.exp(samples.log_ratios["target"])
    psi = np.empty(own.prompts)
    psi[drawn.prompt] = drawn.reward
    psi[own.prompt] += weight / weight.mean() * own.label_weight * own.residual
    value, se = psi.mean(), psi.std(ddof=1) / np.sqrt(len(psi))
    low, high = value - 1.96 * se, value + 1.96 * se
    return {"v_hat": value, "ci_low": low, "ci_high": high, "verdict": "-"}


def replicate(task: tuple[int, float, float, str]) -> list[tuple[str, float, float, float, str]]:
    """Every method's estimate, interval and verdict in one replication."""
    seed, shift, fool, style = task
    logs, target, draws = frames(seed, shift, fool, style)
    found = {
        "dr-cpo": cje.analyze(logs, target, draws).estimates.iloc[0],
        "plain": plain(logs, target, draws),
        "direct": cje.analyze(logs, target, draws, estimator="direct").estimates.iloc[0],
    }
    if style == "length":
        bare = cje.analyze(logs.drop(columns="sequence_logp"), None, draws)
        found["dr-cpo, no log-probabilities"] = bare.estimates.iloc[0]
    keys = ("v_hat", "ci_low", "ci_high", "verdict")
    return [(method, *(row[key] for key in keys)) for method, row in found.items()]


def summarise(rows: pd.DataFrame, true: float) -> dict[str, float]:
    """Bias, RMSE, coverage, half width and verdict shares of one method in one world."""
    error = rows["v_hat"] - true
    return {
        "bias": error.mean(),
        "rmse": np.sqrt((error**2).mean()),
        "coverage": rows["ci_low"].le(true).mul(rows["ci_high"].ge(true)).mean(),
        "half width": (rows["ci_high"] - rows["ci_low"]).mean() / 2,
        **{word: rows["verdict"].eq(word).mean() for word in ("reliable", "caution", "refuse")},
    }


def study(replications: int, processes: int) -> pd.DataFrame:
    """The whole study, one row a world and method."""
    table = []
    with ProcessPoolExecutor(processes) as pool:
        for style, fool, shift in itertools.product(("length", "hidden"), (0.0, FOOL), SHIFTS):
            tasks = [(seed, shift, fool, style) for seed in range(replications)]
            results = [row for rows in pool.map(replicate, tasks, chunksize=10) for row in rows]
            columns = ["method", "v_hat", "ci_low", "ci_high", "verdict"]
            found = pd.DataFrame(results, columns=columns)
            true = truth(shift, fool)
            world = {"style": style, "judge": "fooled" if fool else "fair", "sd": shift}
            for method in METHODS:
                rows = found[found["method"] == method]
                if len(rows):
                    table.append(world | {"method": method} | summarise(rows, true))
                    print(table[-1], flush=True)
    return pd.DataFrame(table)


def markdown(table: pd.DataFrame) -> str:
    """The table in Markdown; verdicts in per cent."""
    head = "| style shows in | judge | sd | method | bias | RMSE | coverage | half width "
    head += "| reliable / caution / refuse |\n|---|---|---|---|---|---|---|---|---|\n"
    lines = []
    for row in table.to_dict("records"):
        shown = "length" if row["style"] == "length" else "log-probabilities"
        verdicts = " / ".join(f"{100 * row[v]:.0f}" for v in ("reliable", "caution", "refuse"))
        verdicts = "-" if row["method"] == "plain" else verdicts + " %"
        lines.append(
            f"| {shown} | {row['judge']} | {row['sd']:g} | {row['method']} | {row['bias']:+.4f} "
            f"| {row['rmse']:.4f} | {100 * row['coverage']:.1f} % | {row['half width']:.4f} "
            f"| {verdicts} |"
        )
    return head + "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replications", type=int, default=500)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--write", type=Path, help="a Markdown file with marks for the table")
    arguments = parser.parse_args()
    table = markdown(study(arguments.replications, arguments.processes))
    print(table)
    if arguments.write:
        words = f"{arguments.replications} replications a world.\n\n"
        put_between(MARKS, f"{words}{table}", arguments.write)


if __name__ == "__main__":
    main()
