"""The kinds of arrays that statistics are made of, and what several modules do with them."""

from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]
Codes = NDArray[np.int64]  # numbers of prompts, clusters, folds, rows
Mask = NDArray[np.bool_]
Names = NDArray[np.object_]  # of prompts and clusters
Hashes = NDArray[np.uint64]
Kind = TypeVar("Kind", bound=np.generic)  # of numbers


def totals(place: Codes, values: Array, size: int = 0) -> Array:
    """The sums of the values (m,) by place, (size,) or as many as there are places."""
    return np.asarray(np.bincount(place, values, size), dtype=float)


def common_ranks(scores: Array) -> Array:
    """Mid-ranks of all scores together, as shares, in their shape; NaN where there is none."""
    ranks: Array = pd.Series(scores.ravel()).rank(pct=True).to_numpy().reshape(scores.shape)
    return ranks
