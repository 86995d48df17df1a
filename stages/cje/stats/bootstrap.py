"""The cluster bootstrap: everything fitted again on clusters drawn with replacement."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from cje.errors import CJEError
from cje.stats.samples import clusters_of


def bootstrap_intervals(
    logs: pd.DataFrame,
    target_logps: pd.DataFrame,
    draws: pd.DataFrame,
    estimated: Callable[[pd.DataFrame, pd.DataFrame, pd.DataFrame], pd.Series],
    *,
    alpha: float,
    replicates: int,
    seed: int,
) -> dict[str, pd.Series]:
    """`se`, `ci_low` and `ci_high` by policy, percentiles over clusters drawn with replacement.

    Checked frames, and what gives the estimates by policy of such frames. Every copy of a cluster
    keeps its fold, so that no copy of it is in its own training set.
    """
    rng = np.random.default_rng(seed)
    place = pd.concat([logs[["uid"]], draws[["uid"]]]).assign(
        cluster=np.concatenate([clusters_of(logs), clusters_of(draws)])
    )
    owner = place.drop_duplicates("uid").set_index("uid")["cluster"]
    names = np.unique(owner.to_numpy(str))
    values = []
    for _ in range(replicates):
        count = pd.Series(
            np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names)), names
        )
        frames = [_repeated(frame, owner, count) for frame in (logs, target_logps, draws)]
        try:
            values.append(estimated(*frames))
        except CJEError:  # a replicate without a label, or without a policy's answers
            continue
    table = pd.DataFrame(values)
    return {
        "se": table.std(ddof=1),
        "ci_low": table.quantile(alpha / 2),
        "ci_high": table.quantile(1 - alpha / 2),
    }


def _repeated(frame: pd.DataFrame, owner: pd.Series, count: pd.Series) -> pd.DataFrame:
    """The rows of each cluster as often as it was drawn, every copy with uids of its own."""
    cluster = frame["uid"].map(owner)
    times = cluster.astype(str).map(count).to_numpy(dtype=int)
    rows = frame.loc[np.repeat(frame.index, times)]
    copy = np.concatenate([np.arange(n) for n in times]) if len(times) else np.zeros(0, int)
    uid = rows["uid"].astype(str) + " copy " + copy.astype(str)
    return rows.assign(uid=uid, cluster=rows["uid"].map(owner)).reset_index(drop=True)
