"""Nearest items by hnswlib, on a thread, with the queries of many requests in one call."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tamis_kernels import dot_rows, select, top_k
from tamis_server.batching.batcher import MicroBatcher
from tamis_server.bundles.loader import Bundle
from tamis_server.domain.candidates import Rows, Scored, Vectors
from tamis_server.domain.context import Eligible


class NearestItems:
    """Inner-product neighbours among the items of a bundle, best first.

    Few eligible rows are scanned exactly (a kernel call, inline); otherwise the graph is searched
    and ineligible rows are taken out afterwards, the search being widened by what is expected to
    be lost.
    """

    def __init__(self, bundle: Bundle, *, ef_search: int, exact_below: int, max_k: int) -> None:
        self._index = bundle.index
        self._index.set_num_threads(1)
        self._index.set_ef(max(ef_search, bundle.manifest.index.ef_search))
        self._vectors = bundle.vectors
        self._size = bundle.manifest.items
        self._exact_below = exact_below
        self._max_k = max_k
        self._all_rows = np.arange(self._size, dtype=np.int32)
        self._batcher: MicroBatcher[tuple[Vectors, int], list[Scored]] = MicroBatcher(
            "ann", self._search_graph
        )

    @property
    def vectors(self) -> Vectors:
        return self._vectors

    async def search(self, queries: Vectors, k: int, eligible: Eligible | None) -> list[Scored]:
        """For each row of queries float32[q, d] at most ``k`` eligible rows with their products."""
        if eligible is None or eligible.count == self._size:
            return await self._batcher.submit((queries, k))
        if eligible.count <= self._exact_below:
            rows = self._all_rows[select(eligible.bits, self._all_rows)]
            return self._scan(queries, rows, k)
        widened = min(self._max_k, int(k * 1.2 * self._size / eligible.count) + 1)
        found = await self._batcher.submit((queries, widened))
        return [_eligible(scored, eligible, k) for scored in found]

    def neighbours(self, queries: Vectors, k: int) -> list[Scored]:
        """For each row of queries its k nearest of all items of the bundle."""
        return self._nearest(queries, min(k, self._size))

    def _search_graph(self, requests: Sequence[tuple[Vectors, int]]) -> list[list[Scored]]:
        """The micro-batcher's call: one search for all waiting requests that want the same k."""
        results: list[list[Scored]] = [[] for _ in requests]
        wanting: dict[int, list[int]] = {}
        for position, (_, k) in enumerate(requests):
            wanting.setdefault(min(k, self._size), []).append(position)
        for k, positions in wanting.items():
            found = self._nearest(np.concatenate([requests[p][0] for p in positions]), k)
            start = 0
            for position in positions:
                end = start + requests[position][0].shape[0]
                results[position] = found[start:end]
                start = end
        return results

    def _nearest(self, queries: Vectors, k: int) -> list[Scored]:
        try:
            labels, distances = self._index.knn_query(queries, k=k)
        except RuntimeError:
            # hnswlib reached fewer than k nodes (duplicates can cut a graph in parts): scan
            return self._scan(queries, self._all_rows, k)
        rows = labels.astype(np.int32)
        scores = np.float32(1.0) - distances
        return [Scored(rows[i], scores[i]) for i in range(queries.shape[0])]

    def _scan(self, queries: Vectors, rows: Rows, k: int) -> list[Scored]:
        products = dot_rows(self._vectors, rows, queries)
        found = []
        for column in range(queries.shape[0]):
            scores = np.ascontiguousarray(products[:, column])
            best = top_k(scores, rows, k)
            found.append(Scored(rows[best], scores[best]))
        return found


def _eligible(scored: Scored, eligible: Eligible, k: int) -> Scored:
    rows = np.ascontiguousarray(scored.rows)
    kept = select(eligible.bits, rows)[:k]
    return Scored(rows[kept], scored.scores[kept])
