"""The sets of which every label is known: ../shared/label_sets, and the project's recorded run."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

RECORDED = "recorded"
BASE = "base"


@dataclass(frozen=True)
class LabelSet:
    """N prompts answered by a base policy (column 0) and T targets, judged and labelled in full.

    `judge` (N, 1 + T), NaN where the judge gave no score, and `oracle`; `lengths` of the answers in
    characters, or None; `logged_logp` (N,) and `target_logps` (N, T), log-probabilities of the
    logged answers, or None.
    """

    name: str
    policies: tuple[str, ...]
    judge: np.ndarray
    oracle: np.ndarray
    lengths: np.ndarray | None = None
    logged_logp: np.ndarray | None = None
    target_logps: np.ndarray | None = None

    @property
    def truth(self) -> np.ndarray:
        """The policies' mean utility, (1 + T,)."""
        return self.oracle.mean(axis=0)

    @property
    def rank_correlation(self) -> float:
        """Judge with oracle, over all answers."""
        scores = pd.DataFrame({"judge": self.judge.ravel(), "oracle": self.oracle.ravel()})
        return float(scores.rank().corr().iloc[0, 1])


def label_sets(folder: Path, names: list[str] | None = None) -> Iterator[LabelSet]:
    """The sets in the folder, in the order of their names, or those asked for."""
    for path in sorted(folder.glob("*.parquet")):
        if names is None or path.stem in names:
            yield from_scores(path.stem, pd.read_parquet(path))


def from_scores(name: str, scores: pd.DataFrame) -> LabelSet:
    """A set from a row an answer: `uid`, `policy`, `judge`, `oracle`, perhaps `length`."""
    policies = (BASE, *sorted(set(scores["policy"]) - {BASE}))

    def table(column: str) -> np.ndarray:
        wide = scores.pivot(index="uid", columns="policy", values=column)
        return wide[list(policies)].to_numpy(float)

    judge, oracle = table("judge"), table("oracle")
    whole = ~np.isnan(oracle).any(axis=1)
    lengths = table("length")[whole].astype(int) if "length" in scores else None
    return LabelSet(name, policies, judge[whole], oracle[whole], lengths)


def recorded_run() -> LabelSet:
    """The project's own run: `make repro` makes its tables; its oracle is free, so all is known."""
    from label_samples import run

    logs, draws, logps = run()
    logs = logs.assign(policy=BASE)
    draws = draws[draws["draw"] == 0]
    scores = pd.concat([logs, draws]).rename(columns={"judge_raw": "judge", "truth": "oracle"})
    scores = scores.assign(length=scores["answer"].str.len())
    found = from_scores(RECORDED, scores[["uid", "policy", "judge", "oracle", "length"]])
    uids = np.sort(logs["uid"].to_numpy())
    if len(uids) != len(found.judge):
        raise SystemExit("The recorded run lacks the truth of some answers: run `make repro` again")
    wide = logps.pivot(index="uid", columns="policy", values="sequence_logp")
    return LabelSet(
        name=RECORDED,
        policies=found.policies,
        judge=found.judge,
        oracle=found.oracle,
        lengths=found.lengths,
        logged_logp=logs.set_index("uid")["sequence_logp"].loc[uids].to_numpy(float),
        target_logps=wide.loc[uids, list(found.policies[1:])].to_numpy(float),
    )
