"""Coverage in worlds of known truth: python benchmarks/coverage.py --write docs/coverage.md

A world has 1,000 logs, a quarter of them labelled, and one target policy that shifts a normal
trait z, its style, by `shift`; so the log-weights have standard deviation `shift`. The style may
fool the judge (it raises the score and lowers the utility), and shows either in the answers'
length or in nothing but the log-probabilities. The truth is the mean of a clipped normal.
"""

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

import cje
from cje.calibration import cross_fit, prompt_folds

N, LABELLED = 1000, 0.25
SHIFTS = (0.0, 0.4, 1.0, 2.5)
FOOLED = 0.1
LEVEL, EASE, QUALITY = 0.6, 0.6, 0.12  # mean utility; correlation within a prompt^0.5; sd
JUDGE_NOISE, ORACLE_NOISE = 0.06, 0.08
LOG_LENGTH, LENGTH_SD = 4.0, 0.35
MARKS = ("<!-- coverage: begin -->", "<!-- coverage: end -->")
SCENES = {
    ("length", True): "Style shows in the length, log-probabilities at hand",
    ("hidden", True): "Style shows in nothing but the log-probabilities",
    ("length", False): "Style shows in the length, no log-probabilities",
    ("hidden", False): "Style shows in nothing at all",
}
METHODS = ("dr-cpo", "plain", "direct")
Frames = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]


@dataclass(frozen=True)
class World:
    """`fool`: utility that a unit of style costs and score that it adds, together."""

    shift: float
    fool: float
    style: str
    logprobs: bool

    @property
    def truth(self) -> float:
        """The target's expected utility: the mean of a normal clipped to [0, 1]."""
        mean = LEVEL - self.fool / 2 * self.shift
        sd = float(np.sqrt(QUALITY**2 + ORACLE_NOISE**2 + self.fool**2 / 4))
        low, high = -mean / sd, (1 - mean) / sd
        density = np.exp(-(low**2) / 2) - np.exp(-(high**2) / 2)
        inside = mean * (ndtr(high) - ndtr(low)) + sd * density / np.sqrt(2 * np.pi)
        return float(inside + ndtr(-high))

    def frames(self, seed: int) -> Frames:
        """Logs, target log-probabilities and draws; one seed gives all worlds the same noise."""
        rng = np.random.default_rng(seed)
        ease = rng.normal(size=N)

        def answers(shift: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
            z, own, oracle_noise, judge_noise, elsewhere = rng.normal(size=(5, N))
            z = z + shift
            quality = LEVEL + QUALITY * (EASE * ease + np.sqrt(1 - EASE**2) * own)
            oracle = quality + ORACLE_NOISE * oracle_noise - self.fool / 2 * z
            judge = quality + JUDGE_NOISE * judge_noise + self.fool / 2 * z
            shown = z if self.style == "length" else elsewhere
            length = np.maximum(1, np.round(np.exp(LOG_LENGTH + LENGTH_SD * shown))).astype(int)
            return z, np.clip(oracle, 0, 1), np.clip(judge, 0, 1), ["x" * k for k in length]

        z, oracle, judge, text = answers(0.0)
        _, _, target_judge, target_text = answers(self.shift)
        labelled = np.isin(np.arange(N), rng.permutation(N)[: round(LABELLED * N)])
        uid = [f"prompt-{i}" for i in range(N)]
        logp = -rng.gamma(100, 2, N)
        logs = {"uid": uid, "judge_raw": judge, "answer": text, "sequence_logp": logp}
        logs["oracle_score"] = np.where(labelled, oracle, np.nan)
        ratio = self.shift * z - self.shift**2 / 2
        target = {"uid": uid, "policy": "target", "sequence_logp": logp + ratio}
        drawn = {"uid": uid, "policy": "target", "draw": 0, "judge_raw": target_judge}
        drawn["answer"] = target_text
        if not self.logprobs:
            logs["sequence_logp"] = target["sequence_logp"] = np.nan
        return pd.DataFrame(logs), pd.DataFrame(target), pd.DataFrame(drawn)


def plain_form(logs: pd.DataFrame, target_logps: pd.DataFrame, draws: pd.DataFrame) -> np.ndarray:
    """Estimate, interval ends of the textbook form, (3,): isotonic calibration, exact weights of
    mean 1, the residual as it is, a normal interval. One row a prompt in every frame."""
    fold = prompt_folds(logs["uid"].to_numpy(), 5, 42)
    score, utility = logs["judge_raw"].to_numpy(), logs["oracle_score"].to_numpy()
    rows = np.isfinite(utility)
    fit = cross_fit(score[rows], utility[rows], np.ones(rows.sum()), fold[rows], 5)
    weight = np.exp((target_logps["sequence_logp"] - logs["sequence_logp"]).to_numpy())
    residual = np.where(rows, utility - fit.predict(score, fold), 0) / LABELLED
    terms = fit.predict(draws["judge_raw"].to_numpy(), fold) + weight / weight.mean() * residual
    half = ndtri(0.975) * terms.std(ddof=1) / np.sqrt(len(terms))
    return terms.mean() + np.array([0, -half, half])


def replication(task: tuple[World, int]) -> list[dict[str, object]]:
    """What each method says of one data set."""
    world, seed = task
    frames, truth = world.frames(seed), world.truth
    rows = []
    for method in METHODS:
        if method == "plain":
            if not world.logprobs:
                continue
            value, low, high = plain_form(*frames)
            verdict = ""
        else:
            found = cje.analyze(*frames, estimator=method).estimates.loc["target"]
            value, low, high, verdict = found[["v_hat", "ci_low", "ci_high", "verdict"]]
        row = {**vars(world), "method": method, "error": value - truth, "verdict": verdict}
        rows.append(row | {"covered": low <= truth <= high, "half": (high - low) / 2})
    return rows


def study(replications: int, seed: int, processes: int) -> pd.DataFrame:
    """A row a world and method: bias, RMSE, coverage, mean half width, shares of verdicts."""
    worlds = [
        World(shift, fool, style, logprobs)
        for (style, logprobs), fool, shift in itertools.product(SCENES, (0.0, FOOLED), SHIFTS)
    ]
    tasks = [(world, seed + k) for world in worlds for k in range(replications)]
    with Pool(processes) as pool:
        parts = pool.imap(replication, tasks, chunksize=min(100, replications))
        rows = pd.DataFrame(itertools.chain.from_iterable(parts))
    keys = [*World.__dataclass_fields__, "method"]
    table = rows.groupby(keys, sort=False).agg(
        bias=("error", "mean"),
        rmse=("error", lambda error: float(np.sqrt((error**2).mean()))),
        coverage=("covered", "mean"),
        half=("half", "mean"),
        **{
            name: ("verdict", lambda given, name=name: (given == name).mean())
            for name in ("reliable", "caution", "refuse")
        },
    )
    return table.reset_index()


def markdown(table: pd.DataFrame, replications: int) -> Iterator[str]:
    """The study's lines: a table for each scene, a row a world and method."""
    noise = 2 * np.sqrt(0.95 * 0.05 / replications)
    yield f"{replications} replications a world; two Monte-Carlo standard errors of a coverage of"
    yield f"95 % are {100 * noise:.1f} points."
    for (style, logprobs), title in SCENES.items():
        yield from ("", f"### {title}", "")
        yield "| judge | sd | method | bias | RMSE | coverage | half width | verdicts r / c / x |"
        yield "|---|---|---|---|---|---|---|---|"
        rows = table[(table["style"] == style) & (table["logprobs"] == logprobs)]
        for row in rows.itertuples():
            judge = "fooled" if row.fool else "fair"
            verdicts = " / ".join(
                f"{100 * share:.0f}" for share in (row.reliable, row.caution, row.refuse)
            )
            if row.method == "plain":
                verdicts = "none given"
            yield (
                f"| {judge} | {row.shift:g} | {row.method} | {row.bias:+.4f} | {row.rmse:.4f} | "
                f"{100 * row.coverage:.1f} % | {row.half:.3f} | {verdicts} |"
            )


def write_between_marks(path: Path, lines: list[str]) -> None:
    """Replace what stands between the marks of `path`; an error where they are not there."""
    text = path.read_text(encoding="utf-8")
    if any(text.count(mark) != 1 for mark in MARKS):
        raise SystemExit(f"{path}: needs the lines {MARKS[0]} and {MARKS[1]}, once each")
    before, rest = text.split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    body = "\n".join([MARKS[0], "", *lines, "", MARKS[1]])
    path.write_text(before + body + after, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replications", type=int, default=500)
    parser.add_argument("--seed", type=int, default=5000)
    parser.add_argument("--processes", type=int, choices=(1, 2), default=2)
    parser.add_argument("--write", type=Path, help="Markdown file whose table to replace")
    arguments = parser.parse_args()
    table = study(arguments.replications, arguments.seed, arguments.processes)
    lines = list(markdown(table, arguments.replications))
    if arguments.write:
        write_between_marks(arguments.write, lines)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
