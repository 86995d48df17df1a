"""The estimators on the recorded run, 200 times over: python benchmarks/label_samples.py

The answers are those of the default run, a real model's; its oracle is free, so the truth is known.
Run `make repro` before. Two questions:

labels: everything as it is, but which answers are labelled is drawn again: a quarter of the logs,
and, for the methods that use them, a hundred fresh answers of every policy, on the same prompts as
far as there are so many. The truth is the oracle's mean over all fresh draws of the policy, on the
same prompts. The spread shows what the labels' chance costs. An interval allows for the chance of
prompts, too, which stands still here: it should cover more often than it says.

halves: the prompts are split at random. One half, labelled likewise, gives estimate and interval,
the fresh draws of the other half the truth, which is then independent: an interval for the
difference should cover as often as it says.

Beside this project's estimators stand the labels' mean, the judge's scores as they are, and ppi_py
(`pip install ppi-python==0.2.3`; left out where it is not installed): prediction-powered inference
with its lambda tuned, on the policy's own judge scores, their mean where one is missing.

`--write docs/real-run.md` puts the tables there.
"""

import argparse
import sys
from collections.abc import Callable, Collection
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

import cje
from cje.data.frames import KEY, answer_frames
from cje.data.tables import read_table
from cje.judging.checks import parse_checks, utility
from cje.pipeline.stage import DATA
from cje.results.rows import difference_rows
from cje.settings import load_settings
from cje.vocabulary import Verdict
from pages import put_between

LABELLED, OWN, Z, ALPHA = 0.25, 100, 1.96, 0.05
MARKS = ("<!-- tables -->", "<!-- end of tables -->")
METHODS = {  # whether a method sees labels on the policies' own answers, and its options
    "dr-cpo": (True, {}),
    "ppi": (True, {"estimator": "ppi"}),
    "direct": (True, {"estimator": "direct"}),
    "dr-cpo, logs alone": (False, {}),
    "exact weights": (False, {"weights": "sequence"}),
    "learned weights": (False, {"weights": "marginal"}),
    "snips": (False, {"estimator": "snips", "weights": "sequence"}),
}
JUDGED = ("dr-cpo", "dr-cpo, logs alone")
ALONE, PEER, RAW = "own labels alone", "ppi_py", "raw judge"
HERE = str(Path(__file__).resolve().parent)
COLUMNS = ["question", "method", "policy", "gap", "half", "verdict", "conclusion"]


@cache
def run() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Logs and draws of the run with judge scores and everybody's true utility; and the
    log-probabilities of the logs under the targets."""
    rule = load_settings().oracle_model.removeprefix("checks/")
    prompts = read_table(DATA / "prompts.parquet", "prompts").set_index("uid")
    checks = {uid: parse_checks(text, uid) for uid, text in prompts["checks"].items()}
    scores = read_table(DATA / "proxy_scores.parquet", "proxy_scores", [*KEY, "judge_raw"])
    frames = []
    for frame in answer_frames(DATA):
        truth = [
            utility(checks[uid], answer, rule)
            for uid, answer in zip(frame["uid"], frame["answer"], strict=True)
        ]
        frames.append(frame.merge(scores, how="left", on=KEY).assign(truth=truth))
    return *frames, read_table(DATA / "target_logps.parquet", "target_logps")


def labels(seed: int) -> list[tuple]:
    """One drawing of the labels, all prompts."""
    logs, draws, logps = run()
    return estimates("labels", seed, logs, draws, logps, draws)


def halves(seed: int) -> list[tuple]:
    """One split of the prompts, and one drawing of labels in the first half."""
    logs, draws, logps = run()
    uids = np.random.default_rng([seed, 1]).permutation(logs["uid"].to_numpy())
    first = set(uids[: len(uids) // 2])
    own = [frame[frame["uid"].isin(first)] for frame in (logs, draws, logps)]
    return estimates("halves", seed, own[0], own[1], own[2], draws[~draws["uid"].isin(first)])


def estimates(
    question: str,
    seed: int,
    logs: pd.DataFrame,
    draws: pd.DataFrame,
    logps: pd.DataFrame,
    judged: pd.DataFrame,
) -> list[tuple]:
    """Every method's distance from the truth, with its half width, by policy."""
    order = np.random.default_rng([seed, 2]).permutation(logs["uid"].to_numpy())
    logs, labelled = with_labels(logs, order[: round(LABELLED * len(logs))]), order[:OWN]
    own, none = with_labels(draws, labelled), with_labels(draws, ())
    by_policy = judged.groupby("policy")["truth"]
    truth = by_policy.mean()
    # Where the truth is another half's, its own error belongs to the difference.
    known = by_policy.sem() if question == "halves" else truth * 0
    rows = []
    for method, (checked, options) in METHODS.items():
        analysis = cje.analyze(logs, own if checked else none, logps, seed=seed, **options)
        found = analysis.estimates
        base = found.index[-1]
        conclusions = {
            pair.policy_a: pair.conclusion
            for pair in difference_rows(analysis.comparisons, list(found.index), ALPHA)
            if pair.policy_b == base
        }
        for policy, row in found.loc[list(truth.index)].iterrows():
            half = np.hypot((row["ci_high"] - row["ci_low"]) / 2, Z * known[policy])
            gap = row["v_hat"] - truth[policy]
            verdict = row["verdict"], conclusions.get(policy)
            rows.append((question, method, policy, gap, half, *verdict))
    for policy, answers in own.groupby("policy"):
        labels, scores = answers["oracle_score"].dropna(), answers["judge_raw"].dropna()
        found = {
            ALONE: (labels.mean(), Z * labels.sem()),
            PEER: with_ppi_py(answers),
            RAW: (scores.mean(), Z * scores.sem()),
        }
        for method, estimate in found.items():
            if estimate is not None:
                half = np.hypot(estimate[1], Z * known[policy])
                gap = estimate[0] - truth[policy]
                rows.append((question, method, policy, gap, half, "-", None))
    return rows


def with_ppi_py(answers: pd.DataFrame) -> tuple[float, float] | None:
    """A policy's estimate and half width by ppi_py; None where it is not installed."""
    if (functions := peer()) is None:
        return None
    point, interval = functions
    judge = answers["judge_raw"].fillna(answers["judge_raw"].mean()).to_numpy()
    oracle = answers["oracle_score"].to_numpy()
    labelled = ~np.isnan(oracle)
    data = (oracle[labelled], judge[labelled], judge[~labelled])
    low, high = map(np.squeeze, interval(*data, alpha=0.05))
    return float(np.squeeze(point(*data))), float(high - low) / 2


@cache
def peer() -> tuple[Callable, Callable] | None:
    """ppi_py's estimate and interval of a mean; None where it is not installed."""
    here, sys.path[:] = list(sys.path), [path for path in sys.path if path != HERE]
    try:  # its numba would take the module `coverage` of this folder for another
        from ppi_py import ppi_mean_ci, ppi_mean_pointestimate
    except ImportError:
        return None
    finally:
        sys.path[:] = here
    return ppi_mean_pointestimate, ppi_mean_ci


def with_labels(answers: pd.DataFrame, uids: Collection[str]) -> pd.DataFrame:
    """The answers with the labels of the first one to each of these prompts."""
    chosen = answers["uid"].isin(uids) & (answers["draw"] <= 0)
    return answers.assign(oracle_score=answers["truth"].where(chosen))


def table(rows: pd.DataFrame) -> list[str]:
    """By method and policy: bias, RMSE, coverage; then over all policies."""
    policies = list(dict.fromkeys(rows["policy"]))
    lines = [
        f"| method | {' | '.join(policies)} | all | covered |",
        f"|{'---|' * (len(policies) + 3)}",
    ]
    for method, found in rows.groupby("method", sort=False):
        cells = []
        for policy in [*policies, None]:
            gaps = found if policy is None else found[found["policy"] == policy]
            error = (gaps["gap"] ** 2).mean() ** 0.5
            cells.append(
                f"{error:.3f}" if policy is None else f"{gaps['gap'].mean():+.3f} {error:.3f}"
            )
        covered = found["gap"].abs().le(found["half"])
        lines.append(f"| {method} | {' | '.join(cells)} | {covered.mean():.1%} |")
    return lines


def coverage_table(rows: pd.DataFrame) -> list[str]:
    """Coverage and mean half width, by method and policy."""
    policies = list(dict.fromkeys(rows["policy"]))
    lines = [f"| method | {' | '.join(policies)} |", f"|{'---|' * (len(policies) + 1)}"]
    for method, found in rows.groupby("method", sort=False):
        cells = []
        for policy in policies:
            own = found[found["policy"] == policy]
            covered = own["gap"].abs().le(own["half"]).mean()
            cells.append(f"{covered:.0%} ±{own['half'].mean():.3f}")
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return lines


def by_verdict_table(rows: pd.DataFrame) -> list[str]:
    """Of dr-cpo's intervals, with own labels and without, how many have each verdict and cover."""
    lines = [f"| verdict | {' | '.join(JUDGED)} |", f"|{'---|' * (len(JUDGED) + 1)}"]
    for word in Verdict:
        cells = []
        for method in JUDGED:
            own = rows[(rows["method"] == method) & (rows["verdict"] == word)]
            covered = own["gap"].abs().le(own["half"]).mean()
            cells.append(f"{len(own):,}, {covered:.1%} covered" if len(own) else "none")
        lines.append(f"| {word} | {' | '.join(cells)} |")
    return lines


def verdict_table(rows: pd.DataFrame) -> list[str]:
    """How often dr-cpo's estimate was reliable, with caution, refused, with own labels and not."""
    lines = [f"| policy | {' | '.join(JUDGED)} |", f"|{'---|' * (len(JUDGED) + 1)}"]
    for policy, found in rows.groupby("policy", sort=False):
        cells = []
        for method in JUDGED:
            own = found.loc[found["method"] == method, "verdict"]
            cells.append(", ".join(f"{own.eq(word).mean():.0%} {word}" for word in Verdict))
        lines.append(f"| {policy} | {' | '.join(cells)} |")
    return lines


def conclusions_table(rows: pd.DataFrame) -> list[str]:
    """How often dr-cpo, with own labels, finds each policy clearly different from the base."""
    own = rows[rows["method"] == JUDGED[0]]
    policies = list(dict.fromkeys(own["policy"]))
    lines = [f"| {JUDGED[0]} | {' | '.join(policies)} |", f"|{'---|' * (len(policies) + 1)}"]
    named = {"better": "better", "worse": "worse", "same": "not clearly different"}
    for word, words in named.items():
        shares = [
            own.loc[own["policy"] == policy, "conclusion"].eq(word).mean() for policy in policies
        ]
        lines.append(f"| {words} | {' | '.join(f'{share:.1%}' for share in shares)} |")
    return lines


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--samples", type=int, default=200)
    options.add_argument("--processes", type=int, default=2)
    options.add_argument("--write", type=Path)
    given = options.parse_args()
    with ProcessPoolExecutor(given.processes) as pool:
        rows = [
            row
            for question in (labels, halves)
            for found in pool.map(question, range(given.samples), chunksize=5)
            for row in found
        ]
    found = pd.DataFrame(rows, columns=COLUMNS)
    lines = [f"{given.samples} samples. Cells: mean error, and root of the mean squared error."]
    for question, title in (
        ("labels", "The labels drawn again, all prompts"),
        ("halves", "Half of the prompts against the truth on the other half"),
    ):
        own = found[found["question"] == question]
        lines += ["", f"### {title}", "", *table(own), "", "Covered, and mean half width:", ""]
        lines += [*coverage_table(own), "", "Verdicts:", "", *verdict_table(own)]
        lines += ["", "By verdict:", "", *by_verdict_table(own)]
        if question == "labels":
            title = "Clearly different from the base (p < 0.05, Holm-corrected for all pairs):"
            lines += ["", title, "", *conclusions_table(own)]
    text = "\n".join(lines)
    print(text)
    if given.write:
        put_between(MARKS, text, given.write)


if __name__ == "__main__":
    main()
