"""The kernel of inverted lists in NumPy.

Arguments, results and errors are described on the public `IvfIndex` of `tamis_kernels`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tamis_kernels.arguments import check, check_bits, check_k, check_length, check_rows
from tamis_kernels.reference_hnsw import codes_of, query_codes
from tamis_kernels.reference_products import inner_products


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
        self._codes = codes_of(vectors[rows])

    @property
    def size(self) -> int:
        return len(self._rows)

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        scanned: int,
        bits: NDArray[np.uint64] | None,
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        check("queries", queries, np.float32, 2)
        check_length("queries", queries, self._vectors.shape[1], axis=1)
        if scanned < 1:
            raise ValueError(f"scanned must be 1 or more, got {scanned}")
        allowed = np.ones(self.size, np.bool_)
        if bits is not None:
            check_bits(bits, -(-(int(self._rows.max(initial=-1)) + 1) // 64))
            allowed = bits[self._rows >> 6] >> (self._rows & 63).astype(np.uint64) & 1 == 1
        check_k(k)
        rows = np.full((len(queries), k), -1, np.int32)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        held = np.concatenate([[0], np.cumsum(allowed)])[self._starts]
        sizes = np.diff(held)
        for q, query in enumerate(queries):
            codes = query_codes(query)
            order = np.argsort(-(self._centroids @ codes), kind="stable")
            enough = np.searchsorted(np.cumsum(sizes[order]), scanned) + 1
            spans = [np.arange(*self._starts[each : each + 2]) for each in order[:enough]]
            at = np.concatenate([np.empty(0, np.int64), *spans])
            at = at[allowed[at]]
            nearest = np.lexsort((self._rows[at], -(self._codes[at] @ codes)))
            found = self._rows[at[nearest[: k + k // 8 + 16]]]
            products = inner_products(self._vectors[found], query[None])[:, 0]
            best = np.lexsort((found, -products))[:k]  # NaN last
            rows[q, : len(best)] = found[best]
            scores[q, : len(best)] = products[best]
        return rows, scores
