"""A redraw as the frames of `cje.analyze`, and its comparisons as signs."""

from functools import cache

import numpy as np
import pandas as pd

from label_efficiency.exchange import Redraw
from label_efficiency.multiple import LEVEL


@cache
def text(length: int) -> str:
    """An answer of that length: nothing else is known of most answers."""
    return "x" * length


def input_frames(
    redraw: Redraw, *, logps: bool = False, chance: np.ndarray | None = None
) -> dict[str, pd.DataFrame | None]:
    """The keyword arguments `logs`, `draws` and `target_logps`, the last only where asked for;
    `chance` (n, 1 + T): of each answer to be labelled, where they are not all alike."""
    n, columns = redraw.judge.shape
    uid = np.array([f"prompt {i}" for i in range(n)], dtype=object)

    def answers(column: int) -> pd.DataFrame:
        frame = pd.DataFrame(
            {
                "uid": uid,
                "judge_raw": redraw.judge[:, column],
                "oracle_score": redraw.oracle[:, column],
            }
        )
        if chance is not None:
            known = frame["oracle_score"].notna()
            frame = frame.assign(oracle_prob=np.where(known, chance[:, column], np.nan))
        if redraw.lengths is None:
            return frame
        return frame.assign(answer=[text(length) for length in redraw.lengths[:, column].tolist()])

    targets = redraw.policies[1:]
    logs, target_logps = answers(0), None
    draws = [answers(column).assign(draw=0) for column in range(1, columns)]
    if logps:
        kind = {"logprob_kind": "sampling"}
        logs = logs.assign(sequence_logp=redraw.logged_logp, **kind)
        scored = [
            pd.DataFrame({"uid": uid, "policy": policy, "sequence_logp": values} | kind)
            for policy, values in zip(targets, redraw.target_logps.T, strict=True)
        ]
        target_logps = pd.concat(scored, ignore_index=True)
    named = [frame.assign(policy=policy) for policy, frame in zip(targets, draws, strict=True)]
    return {
        "logs": logs,
        "draws": pd.concat(named, ignore_index=True),
        "target_logps": target_logps,
    }


def claimed(comparisons: pd.DataFrame, targets: tuple[str, ...]) -> np.ndarray:
    """Signs (T, T) of the differences between targets that are significant after Holm."""
    place = {policy: i for i, policy in enumerate(targets)}
    found = np.zeros((len(targets), len(targets)), dtype=np.int8)
    significant = comparisons[comparisons["p_value_corrected"] < LEVEL]
    for row in significant.itertuples():
        if row.policy_a in place and row.policy_b in place:
            a, b = place[row.policy_a], place[row.policy_b]
            found[a, b] = np.sign(row.difference)
            found[b, a] = -found[a, b]
    return found
