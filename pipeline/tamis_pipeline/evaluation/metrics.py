"""Metrics of ranked lists with binary relevance, one value a user (Järvelin, Kekäläinen, TOIS 2002;
Manning, Raghavan, Schütze, 2008, chapter 8).

``hits`` bool[n, depth]: whether the item at each place of each user's list is relevant; a shorter
list ends in False. ``relevant`` int[n]: how many relevant items there are, at least 1. ``k`` is at
most depth. All return float64[n].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def found(lists: Int32, relevant: Sequence[Int32]) -> Mask:
    """bool[n, depth]: which of ``lists`` int32[n, depth] (rows, -1 where a list has ended) are
    among the user's ``relevant``."""
    items = int(max([lists.max(initial=0), *(rows.max(initial=0) for rows in relevant)])) + 1
    user = np.arange(lists.shape[0], dtype=np.int64)[:, None] * items
    wanted = [number * items + rows.astype(np.int64) for number, rows in enumerate(relevant)]
    known = np.concatenate([np.empty(0, np.int64), *wanted])
    mask: Mask = np.isin(user + lists, known) & (lists >= 0)
    return mask


def recall(hits: Mask, relevant: Int64, k: int) -> Float64:
    """The share of the relevant items that the first k places hold."""
    return _count(hits, k) / relevant


def precision(hits: Mask, k: int) -> Float64:
    """The share of the first k places that are relevant; a place not filled is not."""
    return _count(hits, k) / k


def hit_rate(hits: Mask, k: int) -> Float64:
    """1 where the first k places hold a relevant item, else 0."""
    return (_count(hits, k) > 0).astype(np.float64)


def ndcg(hits: Mask, relevant: Int64, k: int) -> Float64:
    """Gain 1 / log2(1 + place) of each hit, over that of the best possible list of k."""
    discount = 1.0 / np.log2(np.arange(2.0, k + 2.0))
    ideal: Float64 = np.concatenate([[0.0], np.cumsum(discount)])[np.minimum(relevant, k)]
    gain: Float64 = (hits[:, :k] * discount).sum(axis=1) / ideal
    return gain


def reciprocal_rank(hits: Mask) -> Float64:
    """1 / place of the first hit, 0 where there is none."""
    first = hits.argmax(axis=1)
    reciprocal: Float64 = np.where(hits.any(axis=1), 1.0 / (first + 1.0), 0.0)
    return reciprocal


def average_precision(hits: Mask, relevant: Int64, k: int) -> Float64:
    """The precision at each hit within k, summed, over how many hits k places can hold."""
    top = hits[:, :k]
    precisions = np.cumsum(top, axis=1) / np.arange(1.0, k + 1.0)
    possible = np.minimum(relevant, k)
    total: Float64 = (precisions * top).sum(axis=1) / possible
    return total


def _count(hits: Mask, k: int) -> Float64:
    count: Float64 = hits[:, :k].sum(axis=1).astype(np.float64)
    return count
