"""A search in inverted lists, or a scan of the allowed rows where they are few."""

from __future__ import annotations

import math

from tamis_kernels import IvfIndex, scan
from tamis_server.adapters.embedded.filter_plan import Way
from tamis_server.adapters.embedded.nearest import Found, scored
from tamis_server.domain.candidates import Bits, Rows, Scored, Scores, Vectors

_RESULTS = 100  # what `scanned` is meant for
_LEAST = 4  # rows looked at for each that is asked for
# ns on one core of an AMD EPYC with AVX-512 (`python loadtest/filter_plan.py` times both ways).
# Exact scores wait for memory, codes lie one behind the other.
_EXACT_NS, _EXACT_NS_A_FLOAT = 5.0, 0.3
_CODES_NS_A_FLOAT = 0.04
# A reach ends searches among few allowed rows sooner: a tenth allowed takes five times as long as
# all, a fiftieth eleven times, at 100,000 items as at a million (replayed; script not kept).
_WITHIN_REACH = 2 / 3


class ListSearcher:
    """The index looks on until it has seen enough allowed rows, so nothing is found too few of.

    vectors: float32[rows, d], those of the index first; scanned, reach: as the manifest has them;
    exact_below: scan so many allowed rows exactly, whatever the costs say.
    """

    def __init__(
        self,
        index: IvfIndex,
        vectors: Vectors,
        *,
        scanned: int,
        reach: float | None = None,
        exact_below: int | None = None,
    ) -> None:
        self._index = index
        self._vectors = vectors[: index.size]
        self._scanned = scanned
        self._reach = math.inf if reach is None else reach
        self._exact_below = exact_below

    @property
    def size(self) -> int:
        return self._index.size

    def search(self, queries: Vectors, k: int, bits: Bits | None, allowed: int) -> Found:
        """As Searcher.search."""
        # fewer are found with less; more take no more than they must, as with a graph
        wanted = math.ceil(self._scanned * math.sqrt(min(1.0, k / _RESULTS)))
        scanned = min(allowed, max(wanted, _LEAST * k))
        if self._is_exact(allowed, scanned):
            return Found(_each(*scan(self._vectors, bits, queries, k)), Way.EXACT)
        rows, scores = self._index.search(queries, k, max(scanned, 1), bits, self._reach)
        return Found(_each(rows, scores), Way.LISTS)

    def _is_exact(self, allowed: int, scanned: int) -> bool:
        if self._exact_below is not None:
            return allowed <= self._exact_below
        dims: int = self._vectors.shape[1]
        share = max(allowed, 1) / self.size  # of what is passed by
        passed = scanned / (share if math.isinf(self._reach) else share**_WITHIN_REACH)
        return allowed * (_EXACT_NS + dims * _EXACT_NS_A_FLOAT) < passed * dims * _CODES_NS_A_FLOAT


def _each(rows: Rows, scores: Scores) -> list[Scored]:
    return [scored(rows[query], scores[query]) for query in range(rows.shape[0])]
