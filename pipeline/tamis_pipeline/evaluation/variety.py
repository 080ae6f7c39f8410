"""What lists are beyond right: how much of the catalogue they show, how new, how varied it is.

``lists`` int32[n, k]: rows, -1 where a list has ended.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]


def coverage(lists: Int32, items: int) -> float:
    """The share of the catalogue that stands in any list."""
    return float(np.unique(lists[lists >= 0]).shape[0] / items)


def novelty(lists: Int32, counts: Float32, users: int) -> Float64:
    """float64[n]: mean self-information of a list in bits (Zhou et al., PNAS 2010), 0 when empty.

    counts float32[items]: how many of ``users`` met each item; one more is added to both, so that
    an item nobody met has some.
    """
    bits = np.log2((users + 1.0) / (np.minimum(counts, users) + 1.0))
    filled = lists >= 0
    total = (bits[np.maximum(lists, 0)] * filled).sum(axis=1)
    mean: Float64 = total / np.maximum(filled.sum(axis=1), 1)
    return mean


def diversity(lists: Int32, vectors: Float32) -> Float64:
    """float64[n]: 1 - mean cosine over the pairs of a list (Ziegler et al., WWW 2005).

    vectors float32[items, d]; a zero row is at a right angle to all. A list of one or none has 0.
    """
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = (vectors / np.maximum(norms, 1e-12)).astype(np.float64)
    filled = lists >= 0
    counts = filled.sum(axis=1).astype(np.float64)
    own = unit[np.maximum(lists, 0)] * filled[..., None]
    # the square of the sum is the sum over all pairs, both ways, and over each with itself
    both_ways = (own.sum(axis=1) ** 2).sum(axis=1) - (own**2).sum(axis=(1, 2))
    pairs = np.maximum(counts * (counts - 1.0), 1.0)
    return np.where(counts > 1, 1.0 - both_ways / pairs, 0.0)
