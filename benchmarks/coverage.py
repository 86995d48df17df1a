"""Coverage of the intervals in worlds of known truth: python benchmarks/coverage.py

Two families of worlds, described by their functions: `models` (policies are other models; nothing
but labels on their own answers checks them) and `reweighted` (exact weights of the logs; a judge
that may be fooled by a trait which the policy has more of). `--write docs/coverage.md` puts the
tables there.
"""

import argparse
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import norm

import cje
from pages import put_between

MARKS = {name: (f"<!-- {name} -->", f"<!-- end of {name} -->") for name in ("models", "reweighted")}
TRUTH_DRAWS = 2_000_000
SHARP = 8.0  # slope of utility on quality where few answers are next to 1
VERDICTS = ("reliable", "caution", "refuse")


@dataclass(frozen=True)
class Models:
    """Policies that are other models. An answer's quality is part the prompt's, part its own; the
    oracle and the judge see it with noise, and the judge favours long answers. Every policy has its
    own level and its own bias of the judge, to which nothing but its own labels can tell.

    form: continuous; skewed (most answers near 0); a share of passes; rare (next to 0, but for a
    share next to 1); length: the prompt drives both the length of answers and their score.
    `turns`: prompts of one conversation share their difficulty.
    """

    form: str = "continuous"
    rate: float = 0.6
    labels: int = 100
    policies: int = 4
    turns: int = 1
    judge: float = 0.7
    prompts: int = 1000

    @property
    def name(self) -> str:
        rates = {"pass": f"pass rate {self.rate:g}", "rare": f"{self.rate:g} next to 1"}
        what = rates.get(self.form, self.form)
        extra = f", conversations of {self.turns}" if self.turns > 1 else ""
        many = f", {self.policies} policies" if self.policies != 4 else ""
        useless = ", useless judge" if self.judge == 0 else ""
        return f"{what}{extra}{many}{useless}"

    def answers(self, rng: np.random.Generator, ease: np.ndarray, level: float, bias: float):
        """Oracle utility, judge score and length of one answer to each prompt."""
        n = len(ease)
        quality = 0.6 * ease + 0.8 * rng.normal(size=n)
        length = np.exp(5 + 0.5 * (ease if self.form == "length" else rng.normal(size=n)))
        seen = self.judge * quality + np.sqrt(1 - self.judge**2) * rng.normal(size=n)
        judge = norm.cdf(0.6 * seen + bias + 0.1 * (np.log(length) - 5))
        if self.form == "pass":
            oracle = (quality < norm.ppf(self.rate) + level).astype(float)
            return oracle, 1 - judge, length
        if self.form == "rare":
            return expit(SHARP * (quality + level - norm.isf(self.rate))), judge, length
        if self.form == "skewed":
            return np.exp(-np.maximum(0, 2.2 - 1.2 * quality - level)), judge, length
        return norm.cdf(0.5 * (quality + level) + 0.25), judge, length

    def levels(self) -> np.ndarray:
        """The level of each policy, the base first."""
        return 0.15 * np.linspace(-1, 1, self.policies + 1)

    @cache  # noqa: B019
    def truth(self) -> np.ndarray:
        """Mean utility of each policy, the base first."""
        rng = np.random.default_rng(1)
        ease = rng.normal(size=TRUTH_DRAWS // 4)
        return np.array([self.answers(rng, ease, level, 0)[0].mean() for level in self.levels()])

    def replicate(self, seed: int) -> list[dict[str, object]]:
        rng = np.random.default_rng(seed)
        n = self.prompts
        cluster = np.arange(n) // self.turns
        ease = rng.normal(size=n)
        if self.turns > 1:
            ease = np.sqrt(0.7) * rng.normal(size=cluster[-1] + 1)[cluster] + np.sqrt(0.3) * ease
        bias = rng.normal(size=self.policies + 1) * 0.5
        every = [self.answers(rng, ease, v, b) for v, b in zip(self.levels(), bias, strict=True)]
        order = rng.permutation(n)
        few, more = (np.isin(np.arange(n), order[:k]) for k in (self.labels, n // 4))
        keys = {"uid": [f"{i}" for i in range(n)], "cluster": [f"c{c}" for c in cluster]}

        def frame(oracle, judge, length, labelled):
            text = ["x" * int(k) for k in np.maximum(length, 1)]
            scores = {"judge_raw": judge, "oracle_score": np.where(labelled, oracle, np.nan)}
            return pd.DataFrame(keys | scores | {"answer": text})

        logs = frame(*every[0], more | few)
        names = [f"model {k}" for k in range(1, self.policies + 1)]
        draws = pd.concat(
            [frame(*every[k], few).assign(policy=p, draw=0) for k, p in enumerate(names, 1)]
        )
        found = cje.analyze(logs, draws=draws)
        truth = dict(zip(["base", *names], self.truth(), strict=True))
        claims = claimed(found, truth)
        return [
            row | claims | {"labels' error": every[k][0][few].mean() - truth[p]}
            for k, p in enumerate(names, 1)
            for row in [told(found, p, truth[p])]
        ]


@dataclass(frozen=True)
class Reweighted:
    """A target whose answers have a trait z more by sd: the log-weight is sd z - sd^2 / 2. Judge
    and oracle see a common quality; z (or z^2, `quadratic`) raises the judge's score and lowers the
    oracle's by half of `fool` each. The trait shows in the answer's length or in nothing but the
    log-probabilities. 25 % of the logs are labelled, and `own` draws."""

    sd: float
    fool: float = 0.0
    style: str = "hidden"
    quadratic: bool = False
    own: int = 0
    prompts: int = 1000

    @property
    def name(self) -> str:
        fooled = f"fooled by {self.fool / 2:g} a standard deviation" if self.fool else "fair"
        fooled += ", quadratically" if self.quadratic else ""
        shown = "length" if self.style == "length" else "log-probabilities"
        own = f", {self.own} own labels" if self.own else ""
        few = f"; {self.prompts} prompts" if self.prompts != 1000 else ""
        return f"{fooled}; style in {shown}; sd {self.sd:g}{own}{few}"

    def answers(self, rng: np.random.Generator, ease: np.ndarray, shift: float):
        """Trait, oracle utility, judge score and length of one answer to each prompt."""
        n = len(ease)
        z = rng.normal(size=n) + shift
        trait = (z**2 - 1) / 2 if self.quadratic else z
        quality = 0.6 + 0.12 * (0.6 * ease + 0.8 * rng.normal(size=n))
        oracle = quality + 0.08 * rng.normal(size=n) - self.fool / 2 * trait
        judge = quality + 0.06 * rng.normal(size=n) + self.fool / 2 * trait
        length = np.exp(5.5 + 0.35 * (z if self.style == "length" else rng.normal(size=n)))
        return z, oracle.clip(0, 1), judge.clip(0, 1), np.maximum(1, np.round(length)).astype(int)

    @cache  # noqa: B019
    def truth(self) -> float:
        rng = np.random.default_rng(1)
        return float(self.answers(rng, rng.normal(size=TRUTH_DRAWS), self.sd)[1].mean())

    def replicate(self, seed: int) -> list[dict[str, object]]:
        rng = np.random.default_rng(seed)
        n = self.prompts
        ease = rng.normal(size=n)
        z, oracle, judge, length = self.answers(rng, ease, 0.0)
        _, own_oracle, own_judge, own_length = self.answers(rng, ease, self.sd)
        order = rng.permutation(n)
        labelled, own = (np.isin(np.arange(n), order[:k]) for k in (n // 4, self.own))
        uid = [f"{i}" for i in range(n)]
        logp = -rng.gamma(100, 2, n)
        logs = pd.DataFrame(
            {"uid": uid, "judge_raw": judge, "oracle_score": np.where(labelled, oracle, np.nan),
             "sequence_logp": logp, "answer": ["x" * k for k in length]}
        ).assign(logprob_kind="sampling")  # fmt: skip
        ratio = np.minimum(logp + self.sd * z - self.sd**2 / 2, 0)
        logps = pd.DataFrame({"uid": uid, "policy": "target", "sequence_logp": ratio})
        draws = pd.DataFrame(
            {"uid": uid, "policy": "target", "draw": 0, "judge_raw": own_judge,
             "oracle_score": np.where(own, own_oracle, np.nan),
             "answer": ["x" * k for k in own_length]}
        )  # fmt: skip
        found = cje.analyze(logs, draws=draws, target_logps=logps.assign(logprob_kind="sampling"))
        return [told(found, "target", self.truth())]


def told(found: cje.Analysis, policy: str, truth: float) -> dict[str, object]:
    """What an analysis says of a policy, against the truth."""
    row = found.estimates.loc[policy]
    return {
        "policy": policy, "error": row["v_hat"] - truth, "verdict": row["verdict"],
        "covered": row["ci_low"] <= truth <= row["ci_high"],
        "half": (row["ci_high"] - row["ci_low"]) / 2,
    }  # fmt: skip


def claimed(found: cje.Analysis, truth: dict[str, float]) -> dict[str, float]:
    """How many pairs differ clearly, how many of them the wrong way round."""
    pairs = found.comparisons[found.comparisons["p_value_corrected"] < 0.05].itertuples()
    signs = [(truth[p.policy_a] - truth[p.policy_b]) * p.difference for p in pairs]
    return {"claims": len(signs), "wrong": sum(sign < 0 for sign in signs)}


MODELS = (
    *(Models("continuous", labels=m) for m in (50, 100, 250)),
    Models("continuous", judge=0.0),
    Models("length"),
    Models("continuous", policies=20),
    Models("continuous", turns=10),
    Models("continuous", turns=25),
    *(Models("skewed", labels=m) for m in (50, 100, 250)),
    *(Models("rare", rate=p, labels=m) for p in (0.03, 0.1) for m in (50, 100, 250)),
    *(Models("pass", rate=p, labels=m) for p in (0.5, 0.9, 0.97, 0.99) for m in (50, 100, 250)),
)
REWEIGHTED = (
    *(Reweighted(sd, fool, style) for style in ("length", "hidden") for fool in (0.0, 0.1)
      for sd in (0.0, 0.4, 1.0)),
    *(Reweighted(sd, fool) for fool in (0.04, 0.2) for sd in (1.3, 1.6, 2.0, 2.5)),
    *(Reweighted(sd, 0.1, quadratic=True) for sd in (0.4, 1.0)),
    *(Reweighted(sd, 0.04, prompts=400) for sd in (1.0, 1.3)),
    Reweighted(1.0, 0.1, quadratic=True, prompts=400),
    *(Reweighted(sd, 0.1, own=50) for sd in (0.4, 1.0, 2.5)),
)  # fmt: skip


def replications(world: Models | Reweighted, count: int, pool: ProcessPoolExecutor) -> pd.DataFrame:
    """A row a policy and replication."""
    world.truth()
    return pd.DataFrame(
        [row for rows in pool.map(world.replicate, range(count), chunksize=10) for row in rows]
    )


def per_cent(values: pd.Series) -> str:
    """Their mean in per cent; - where there is none."""
    return f"{100 * values.mean():.1f} %" if len(values) else "-"


def shares(rows: pd.DataFrame) -> str:
    """The verdicts' shares."""
    return " / ".join(f"{100 * rows['verdict'].eq(v).mean():.0f}" for v in VERDICTS) + " %"


def models_table(count: int, pool: ProcessPoolExecutor) -> Iterator[str]:
    """The first table, a line at a time."""
    yield "| world | own labels | coverage | of `reliable` | its worst policy | half width "
    yield "| squared error, labels' mean = 1 | wrong claims | reliable / caution / refuse |\n"
    yield "|---|---|---|---|---|---|---|---|---|\n"
    for world in MODELS:
        rows = replications(world, count, pool)
        good = rows[rows["verdict"] == "reliable"]
        enough = good.groupby("policy")["covered"].agg(["mean", "size"])
        worst = enough.loc[enough["size"] >= count / 4, "mean"].min()
        once = rows[rows["policy"] == "model 1"]
        wrong = once["wrong"].sum() / max(once["claims"].sum(), 1)
        error = (rows["error"] ** 2).mean() / (rows["labels' error"] ** 2).mean()
        yield (
            f"| {world.name} | {world.labels} | {per_cent(rows['covered'])} "
            f"| {per_cent(good['covered'])} | {'-' if np.isnan(worst) else f'{100 * worst:.1f} %'} "
            f"| {rows['half'].mean():.3f} | {error:.2f} | {100 * wrong:.2f} % | {shares(rows)} |\n"
        )


def reweighted_table(count: int, pool: ProcessPoolExecutor) -> Iterator[str]:
    """The second table, a line at a time."""
    yield "| judge, style, spread of log-weights | error (RMSE) | half width "
    yield "| coverage of `reliable` | of `caution` | reliable / caution / refuse |\n"
    yield "|---|---|---|---|---|---|\n"
    for world in REWEIGHTED:
        rows = replications(world, count, pool)
        by = {v: rows.loc[rows["verdict"] == v, "covered"] for v in VERDICTS}
        yield (
            f"| {world.name} | {np.sqrt((rows['error'] ** 2).mean()):.4f} "
            f"| {rows['half'].mean():.4f} | {per_cent(by['reliable'])} | {per_cent(by['caution'])} "
            f"| {shares(rows)} |\n"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replications", type=int, default=400)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--tables", choices=MARKS, nargs="+", default=list(MARKS))
    parser.add_argument("--write", type=Path, help="a Markdown file with marks for the tables")
    arguments = parser.parse_args()
    count = arguments.replications
    with ProcessPoolExecutor(arguments.processes) as pool:
        for name, table in (("models", models_table), ("reweighted", reweighted_table)):
            if name not in arguments.tables:
                continue
            lines = []
            for line in table(count, pool):
                lines.append(line)
                print(line, end="", flush=True)
            if arguments.write:
                words = f"{count} replications a world.\n\n"
                put_between(MARKS[name], words + "".join(lines).rstrip(), arguments.write)


if __name__ == "__main__":
    main()
