"""Candidate lists into one, in plain Python."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tamis_kernels.arguments import check, check_length

Int32 = NDArray[np.int32]
Float32 = NDArray[np.float32]
MAX_LISTS = 32


def _check_count(rows: Sequence[Int32], **others: Sequence[object]) -> None:
    if len(rows) > MAX_LISTS:
        raise ValueError(f"rows: at most {MAX_LISTS} lists are allowed, got {len(rows)}")
    for name, other in others.items():
        if len(other) != len(rows):
            raise ValueError(f"{name}: {len(rows)} are needed, as in rows, got {len(other)}")


def _best_first(scores: dict[int, np.float32]) -> tuple[Int32, Float32]:
    rows = np.array(list(scores), np.int32)
    values = np.array(list(scores.values()), np.float32)
    order = np.lexsort((rows, -values))  # sorts NaN last
    return rows[order], values[order]


def fuse_ranks(
    rows: Sequence[Int32], weights: Sequence[float], sources: Sequence[int], damping: float
) -> tuple[Int32, Float32, NDArray[np.uint32]]:
    _check_count(rows, weights=weights, sources=sources)
    scores: dict[int, np.float32] = {}
    bits: dict[int, int] = {}
    for s, (row_list, weight, source) in enumerate(zip(rows, weights, sources, strict=True)):
        check(f"rows[{s}]", row_list, np.int32, 1)
        if not 0 <= source < 32:
            raise ValueError(f"sources[{s}] is {source}, allowed are 0 to 31")
        here = set()
        for rank, row in enumerate(row_list.tolist(), start=1):
            if row < 0 or row in here:
                continue
            here.add(row)
            score = np.float32(weight) / (np.float32(damping) + np.float32(rank))
            scores[row] = scores.get(row, np.float32(0)) + score
            bits[row] = bits.get(row, 0) | 1 << source
    found, values = _best_first(scores)
    return found, values, np.array([bits[row] for row in found.tolist()], np.uint32)


def best_of(
    rows: Sequence[Int32], scores: Sequence[Float32], without: Int32
) -> tuple[Int32, Float32]:
    _check_count(rows, scores=scores)
    check("without", without, np.int32, 1)
    best: dict[int, np.float32] = {}
    for s, (row_list, score_list) in enumerate(zip(rows, scores, strict=True)):
        check(f"rows[{s}]", row_list, np.int32, 1)
        check(f"scores[{s}]", score_list, np.float32, 1)
        check_length(f"scores[{s}]", score_list, len(row_list))
        for row, score in zip(row_list.tolist(), score_list, strict=True):
            if row >= 0 and (row not in best or np.isnan(best[row]) or score > best[row]):
                best[row] = score
    for row in without.tolist():
        best.pop(row, None)
    return _best_first(best)
