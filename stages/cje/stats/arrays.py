"""The kinds of arrays that statistics are made of, as annotations name them."""

from typing import TypeVar

import numpy as np
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
