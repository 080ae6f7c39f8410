"""The kernel of inverted lists in NumPy.

Arguments, results and errors are described on the public `IvfIndex` of `tamis_kernels`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tamis_kernels.arguments import check, check_bits, check_k, check_length, check_rows
from tamis_kernels.reference_hnsw import codes_of, query_codes
from tamis_kernels.reference_products import inner_products

_SAMPLE = 16_384  # rows that the step is taken from
_FINEST = np.float32(64)  # steps of residuals to one of centroids, at most
_MOST = 2**30
_BINS, _LEVELS = 1024, 16
_CLASSES = 256  # of products, each an eighth of their spread or up to half of that


class IvfIndex:
    def __init__(
        self,
        centroids: NDArray[np.float32],
        starts: NDArray[np.int64],
        rows: NDArray[np.int32],
        vectors: NDArray[np.float32],
    ) -> None:
        check("vectors", vectors, np.float32, 2)
        check("centroids", centroids, np.float32, 2)
        check("starts", starts, np.int64, 1)
        check("rows", rows, np.int32, 1)
        check_length("centroids", centroids, vectors.shape[1], axis=1)
        check_length("starts", starts, len(centroids) + 1)
        if starts[0] != 0 or (np.diff(starts) < 0).any() or starts[-1] != len(rows):
            raise ValueError(f"starts: must ascend from 0 to the {len(rows)} rows")
        check_rows(rows, len(vectors))
        sorted_rows = np.sort(rows)
        twice = sorted_rows[1:][np.diff(sorted_rows) == 0]
        if len(twice):
            raise ValueError(f"rows: {twice[0]} is there twice")
        self._vectors = vectors
        self._rows = rows
        self._starts = starts
        self._centroids = codes_of(centroids)
        sizes = np.abs(centroids)
        unit = np.max(sizes, initial=np.float32(0), where=np.isfinite(sizes)) / np.float32(127)
        near = (self._centroids.astype(np.float32) * unit).repeat(np.diff(starts), axis=0)
        with np.errstate(invalid="ignore", over="ignore"):
            residuals = vectors[rows] - near
        step = max(residual_step(residuals[:: len(rows) // _SAMPLE + 1]), unit / _FINEST)
        self._unit = float(unit) / float(step) if step > 0 else 0.0
        self._codes = _levels(residuals, np.float32(1) / step if step > 0 else np.float32(0))

    @property
    def size(self) -> int:
        return len(self._rows)

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        scanned: int,
        bits: NDArray[np.uint64] | None,
        reach: float,
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        check("queries", queries, np.float32, 2)
        check_length("queries", queries, self._vectors.shape[1], axis=1)
        if scanned < 1:
            raise ValueError(f"scanned must be 1 or more, got {scanned}")
        if not reach >= 0:
            raise ValueError(f"reach must be 0 or more, got {reach:f}")
        allowed = np.ones(self.size, np.bool_)
        if bits is not None:
            check_bits(bits, -(-(int(self._rows.max(initial=-1)) + 1) // 64))
            allowed = bits[self._rows >> 6] >> (self._rows & 63).astype(np.uint64) & 1 == 1
        check_k(k)
        rows = np.full((len(queries), k), -1, np.int32)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        for q, query in enumerate(queries if k else ()):
            near, products = self._near(query_codes(query), k, scanned, allowed, reach)
            nearest = np.lexsort((near, -products))
            found = near[nearest[: k + k // 2 + 64]]
            exact = inner_products(self._vectors[found], query[None])[:, 0]
            best = np.lexsort((found, -exact))[:k]  # NaN last
            rows[q, : len(best)] = found[best]
            scores[q, : len(best)] = exact[best]
        return rows, scores

    def _near(
        self,
        codes: NDArray[np.int32],
        k: int,
        scanned: int,
        allowed: NDArray[np.bool_],
        reach: float,
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """The allowed rows of the lists that are looked into, and their products."""
        spread = int(np.sqrt(float(codes @ codes)) * _LEVELS / 6)
        of_lists = self._centroids @ codes
        base = np.rint(np.clip(of_lists * self._unit, -_MOST, _MOST)).astype(np.int64)
        middle = base + int(codes.sum()) * (_LEVELS - 1) // 2
        rows, products = np.empty(0, np.int32), np.empty(0, np.int64)
        order = np.argsort(-of_lists, kind="stable")
        for each in order:
            reached = _reached_by(products, k, middle[order[0]] + 4 * spread, spread)
            if len(rows) >= scanned or (
                reached is not None and spread > 0 and middle[each] + reach * spread < reached
            ):
                break
            at = np.arange(*self._starts[each : each + 2])
            at = at[allowed[at]]
            rows = np.concatenate([rows, self._rows[at]])
            products = np.concatenate([products, base[each] + self._codes[at] @ codes])
        return rows, products


def _reached_by(products: NDArray[np.int64], k: int, top: int, spread: int) -> int | None:
    """The least product of the class that the k-th best is in, None where it is not known."""
    if len(products) < k:
        return None
    width = 1 << max(0, spread.bit_length() - 4)
    worst = int(np.partition(-products, k - 1)[k - 1])
    number = max(0, -(-(worst + top) // width))
    return None if number >= _CLASSES - 1 else top - number * width


def residual_step(numbers: NDArray[np.float32]) -> np.float32:
    """What one of sixteen levels is worth, so that they span all but 0.3 % of the numbers."""
    sizes = np.abs(numbers)
    sizes = sizes[np.isfinite(sizes)]
    most = np.float32(sizes.max(initial=0))
    if not most > 1e-30:
        return np.float32(0)
    bins = np.minimum((sizes * (np.float32(_BINS) / most)).astype(np.int64), _BINS - 1)
    within = np.cumsum(np.bincount(bins, minlength=_BINS))
    bin_ = int(np.argmax(within * 1000 >= len(sizes) * 997))
    return np.float32(bin_ + 1) * (most / np.float32(_BINS)) / np.float32(_LEVELS // 2)


def _levels(residuals: NDArray[np.float32], inverse: np.float32) -> NDArray[np.int32]:
    """0 to 15; what is no number counts as the least."""
    half = np.float32(_LEVELS // 2)
    with np.errstate(invalid="ignore", over="ignore"):
        steps = residuals * inverse
    steps = np.where(steps > -half, steps, -half)
    levels: NDArray[np.int32] = (np.minimum(steps, half - np.float32(0.5)) + half).astype(np.int32)
    return levels
