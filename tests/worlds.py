"""Known-truth worlds for the tests of the statistics, and when their coverage is believed."""

import numpy as np
import pandas as pd
from scipy.special import bdtr, ndtr, ndtri

FALSE_ALARM = 1e-4  # of each coverage test


def coverage_is(hits: int, runs: float, least: float, most: float = 1.0) -> bool:
    """Whether so few hits would come less than once in 10,000 from a true coverage of `least`, or
    so many from one of `most`: a test of `coverage_is(...)` fails by chance no more often."""
    missed = runs - hits
    return bdtr(hits, runs, least) > FALSE_ALARM and (
        most == 1.0 or bdtr(missed, runs, 1 - most) > FALSE_ALARM
    )


def shares_cover(shares: list[float], least: float, most: float = 1.0) -> bool:
    """The same of shares of policies covered, one for each of many independent runs: their mean,
    normal, may be 3.72 standard errors below `least` or above `most`."""
    slack = 3.72 * np.std(shares, ddof=1) / np.sqrt(len(shares))
    return least - slack <= np.mean(shares) <= most + slack


def labelled_rows(rng: np.random.Generator, n: int, *counts: int) -> list[np.ndarray]:
    """Random nested sets of rows, (n,) bool each: the smaller are within the larger."""
    order = rng.permutation(n)
    return [np.isin(np.arange(n), order[:count]) for count in counts]


def frames(
    seed: int,
    n: int = 1000,
    *,
    shifts: dict[str, float] | None = None,
    fool: float = 0.0,
    bend: float = 0.0,
    fraction: float = 0.25,
    style: str = "length",
    label_draws: int = 0,
):
    """Logs, draws and target log-probabilities; policy `t` shifts a normal trait z by its shift.

    The log-weight of an answer is shift * z - shift^2 / 2, so its standard deviation is the shift.
    `fool`: z raises the judge and lowers the oracle by fool / 2 each; `bend`: so does z^2. The
    trait shows in the answer's length, or, with style="hidden", in the log-weights alone.
    `label_draws`: of every policy, nested with the labelled logs.
    """
    shifts = {"t": 0.4} if shifts is None else shifts
    rng = np.random.default_rng(seed)
    uid = [f"prompt {i}" for i in range(n)]
    ease = rng.normal(size=n)

    def answers(shift: float):
        z = rng.normal(size=n) + shift
        quality = 0.6 + 0.07 * (0.6 * ease + 0.8 * rng.normal(size=n))
        trick = fool / 2 * z + bend / 2 * z**2
        oracle = quality + 0.05 * np.clip(rng.normal(size=n), -2, 2) - trick
        judge = quality + 0.04 * np.clip(rng.normal(size=n), -2, 2) + trick
        shown = z if style == "length" else rng.normal(size=n)
        length = np.maximum(1, np.round(np.exp(4.0 + 0.35 * shown))).astype(int)
        return z, np.clip(oracle, 0, 1), np.clip(judge, 0, 1), ["x" * k for k in length]

    z, oracle, judge, answer = answers(0.0)
    logged, own = labelled_rows(rng, n, round(fraction * n), label_draws)
    logp = -rng.gamma(100, 2, n)
    logs = pd.DataFrame(
        {
            "uid": uid,
            "judge_raw": judge,
            "oracle_score": np.where(logged, oracle, np.nan),
            "sequence_logp": logp,
            "logprob_kind": "sampling",
            "answer": answer,
        }
    )
    target_logps, draws = [], []
    for policy, shift in shifts.items():
        ratio = shift * z - shift**2 / 2
        target_logps.append(
            pd.DataFrame(
                {
                    "uid": uid,
                    "policy": policy,
                    "sequence_logp": logp + ratio,
                    "logprob_kind": "sampling",
                }
            )
        )
        _, oracle, judge, answer = answers(shift)
        draws.append(
            pd.DataFrame(
                {
                    "uid": uid,
                    "policy": policy,
                    "draw": 0,
                    "judge_raw": judge,
                    "oracle_score": np.where(own, oracle, np.nan),
                    "answer": answer,
                }
            )
        )
    return logs, pd.concat(draws, ignore_index=True), pd.concat(target_logps, ignore_index=True)


def truth(shift: float, fool: float = 0.0, bend: float = 0.0) -> float:
    """The true utility of a policy of such a world."""
    return 0.6 - fool / 2 * shift - bend / 2 * (1 + shift**2)


# Other models: name -> level of the oracle's latent normal; the judge's bias goes its own way.
LEVELS = {"a": -0.2, "b": 0.0, "c": 0.3}
BIAS = {"base": 0.0, "a": 0.5, "b": -0.3, "c": 0.1}


def models(
    seed: int,
    n: int = 400,
    *,
    kind: str = "continuous",
    rate: float = 0.5,
    judge: float = 0.7,
    labels: int = 100,
    fraction: float = 0.25,
    levels: dict[str, float] | None = None,
    draws: int = 1,
    lengths: bool = False,
):
    """Logs and draws of policies that are other models: there is no log-probability.

    A policy's latent quality on a prompt is normal, .6 of its variance the prompt's. The oracle is
    "continuous", "skewed" (most answers near 0, a few good) or "pass" (`rate` of the base's answers
    do). `judge`: its correlation with the latent quality, and its bias differs by policy. With
    `lengths` easy prompts have short answers, and better policies write longer.
    """
    levels = LEVELS if levels is None else levels
    rng = np.random.default_rng(seed)
    uid = [f"prompt {i}" for i in range(n)]
    ease = rng.normal(size=n)
    logged, own = labelled_rows(rng, n, round(fraction * n), labels)

    def answers(policy: str, level: float, shown: np.ndarray) -> dict:
        latent = np.sqrt(0.6) * ease + np.sqrt(0.4) * rng.normal(size=n)
        noise = rng.normal(size=n)
        score = judge * (latent + level) + np.sqrt(1 - judge**2) * noise + BIAS.get(policy, 0.0)
        rows = {
            "uid": uid,
            "judge_raw": ndtr(score),
            "oracle_score": np.where(shown, oracle_score(latent, level, kind, rate), np.nan),
        }
        if lengths:
            long = np.exp(5 - 0.8 * ease + 0.5 * level + 0.1 * rng.normal(size=n))
            rows["answer"] = ["x" * int(k) for k in long]
        return rows

    logs = pd.DataFrame(answers("base", 0.0, logged))
    fresh = [
        pd.DataFrame(answers(policy, level, own & (draw == 0))).assign(policy=policy, draw=draw)
        for policy, level in levels.items()
        for draw in range(draws)
    ]
    return logs, pd.concat(fresh, ignore_index=True)


def oracle_score(latent: np.ndarray, level: float, kind: str, rate: float) -> np.ndarray:
    """The oracle's scores (n,) of answers of that latent quality, standard normal, and level."""
    if kind == "continuous":
        return ndtr(0.8 * (latent + level))
    if kind == "skewed":
        return ndtr(latent) ** np.exp(1.6 - level)
    return (latent + level + ndtri(rate) > 0).astype(float)


def model_truth(level: float, kind: str = "continuous", rate: float = 0.5) -> float:
    """The true utility of such a policy."""
    if kind == "continuous":
        return float(ndtr(0.8 * level / np.sqrt(1 + 0.8**2)))
    if kind == "skewed":
        return float(1 / (1 + np.exp(1.6 - level)))
    return float(ndtr(level + ndtri(rate)))


def conversations(seed: int, count: int, turns: int, *, labels: int = 0, named: bool = True):
    """Logs, and draws of policies `one` and `two`, over conversations whose turns are alike: the
    standard deviation between them is .15, within them .08. True utility of all: .6."""
    rng = np.random.default_rng(seed)
    n = count * turns
    talk = np.repeat(np.arange(count), turns)
    alike = rng.normal(0, 0.15, count)[talk]
    logged, own = labelled_rows(rng, n, round(0.25 * n), labels)

    def answers(shown: np.ndarray) -> pd.DataFrame:
        oracle = np.clip(0.6 + alike + rng.normal(0, 0.08, n), 0, 1)
        judge = np.clip(0.5 + 0.6 * (oracle - 0.6) + rng.normal(0, 0.08, n), 0, 1)
        rows = {
            "uid": [f"talk {t} turn {i % turns}" for i, t in enumerate(talk)],
            "judge_raw": judge,
            "oracle_score": np.where(shown, oracle, np.nan),
        }
        return pd.DataFrame(rows | ({"cluster": [f"talk {t}" for t in talk]} if named else {}))

    logs = answers(logged)
    fresh = [answers(own).assign(policy=policy, draw=0) for policy in ("one", "two")]
    return logs, pd.concat(fresh, ignore_index=True)
