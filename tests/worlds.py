"""Known-truth worlds for the tests of the statistics."""

import numpy as np
import pandas as pd


def frames(
    seed: int,
    n: int = 1000,
    *,
    shifts: dict[str, float] | None = None,
    fool: float = 0.0,
    fraction: float = 0.25,
    style: str = "length",
    label_draws: int = 0,
):
    """Logs, target log-probabilities and draws; policy `t` shifts a normal trait z by its shift.

    The log-weight of an answer is shift * z - shift^2 / 2, so its standard deviation is the shift.
    `fool`: z raises the judge and lowers the oracle by fool / 2 each. The trait shows in the
    answer's length, or, with style="hidden", in the log-weights alone. The true utility of a
    policy is 0.6 - fool / 2 * shift.
    """
    shifts = {"t": 0.4} if shifts is None else shifts
    rng = np.random.default_rng(seed)
    uid = [f"prompt {i}" for i in range(n)]
    ease = rng.normal(size=n)

    def answers(shift: float):
        z = rng.normal(size=n) + shift
        quality = 0.6 + 0.07 * (0.6 * ease + 0.8 * rng.normal(size=n))
        oracle = quality + 0.05 * np.clip(rng.normal(size=n), -2, 2) - fool / 2 * z
        judge = quality + 0.04 * np.clip(rng.normal(size=n), -2, 2) + fool / 2 * z
        shown = z if style == "length" else rng.normal(size=n)
        length = np.maximum(1, np.round(np.exp(4.0 + 0.35 * shown))).astype(int)
        return z, np.clip(oracle, 0, 1), np.clip(judge, 0, 1), ["x" * k for k in length]

    z, oracle, judge, answer = answers(0.0)
    labelled = np.zeros(n, dtype=bool)
    labelled[rng.permutation(n)[: round(fraction * n)]] = True
    logp = -rng.gamma(100, 2, n)
    logs = pd.DataFrame(
        {
            "uid": uid,
            "judge_raw": judge,
            "oracle_score": np.where(labelled, oracle, np.nan),
            "sequence_logp": logp,
            "answer": answer,
        }
    )
    target_logps, draws = [], []
    for policy, shift in shifts.items():
        ratio = shift * z - shift**2 / 2
        target_logps.append(
            pd.DataFrame({"uid": uid, "policy": policy, "sequence_logp": logp + ratio})
        )
        _, oracle, judge, answer = answers(shift)
        seen = np.arange(n) < label_draws
        draws.append(
            pd.DataFrame(
                {
                    "uid": uid,
                    "policy": policy,
                    "draw": 0,
                    "judge_raw": judge,
                    "oracle_score": np.where(seen, oracle, np.nan),
                    "answer": answer,
                }
            )
        )
    return logs, pd.concat(target_logps, ignore_index=True), pd.concat(draws, ignore_index=True)


def truth(shift: float, fool: float) -> float:
    """The true utility of a policy of such a world."""
    return 0.6 - fool / 2 * shift
