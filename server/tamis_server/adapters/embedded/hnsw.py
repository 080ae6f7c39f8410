"""Nearest items: a graph search or an exact scan, as the filter plan says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from types import MappingProxyType

import numpy as np

from tamis_kernels import HnswGraph, select
from tamis_server.adapters.embedded.filter_plan import FilterCosts, FilterPlan, Way
from tamis_server.domain.candidates import Bits, Rows, Scored, Scores, Vectors
from tamis_server.domain.context import Eligible


@dataclass(slots=True)
class Tally:
    """What one way of searching has done: queries, those that a scan had to complete, seconds."""

    queries: int = 0
    completed: int = 0
    seconds: float = 0.0


class NearestItems:
    """Inner-product neighbours among the rows of a graph, best first.

    graph: over vectors float32[rows, d], from row 0 on; present: a bit for each row of the graph
    that has a vector worth finding, uint64[ceil(size / 64)], None where all have.

    Recall does not depend on the filter: where a graph search finds fewer rows than it should (a
    filter far from the query, a graph that duplicates cut), the allowed rows are scanned.
    """

    def __init__(
        self,
        graph: HnswGraph,
        vectors: Vectors,
        *,
        ef_search: int,
        exact_below: int | None = None,
        present: Bits | None = None,
    ) -> None:
        self._graph = graph
        self._vectors = vectors
        self._size = graph.size
        self._present = present
        self._costs = FilterCosts(self._size, vectors.shape[1], ef_search, exact_below)
        self._tallies = {way: Tally() for way in Way}

    @property
    def vectors(self) -> Vectors:
        return self._vectors

    @property
    def size(self) -> int:
        """How many rows, from 0 on, are searched."""
        return self._size

    @property
    def tallies(self) -> Mapping[Way, Tally]:
        """What each way of searching has done so far."""
        return MappingProxyType(self._tallies)

    def search(self, queries: Vectors, k: int, eligible: Eligible | None) -> list[Scored]:
        """For each row of queries float32[q, d] at most ``k`` eligible rows with their products.

        Bits of rows from ``size`` on are passed over.
        """
        bits, allowed = self._allowed(eligible)
        plan = self._costs.plan(allowed, k)
        start = perf_counter()
        found, completed = self.search_by(plan, queries, k, bits, allowed)
        tally = self._tallies[plan.way]
        tally.queries += queries.shape[0]
        tally.completed += completed
        tally.seconds += perf_counter() - start
        return found

    def _allowed(self, eligible: Eligible | None) -> tuple[Bits | None, int]:
        """Bits of the rows that may be found, None for all, and how many they are."""
        if self._present is not None:
            bits = self._present
            if eligible is not None:
                bits = bits & eligible.bits[: bits.shape[0]]
            return bits, int(np.bitwise_count(bits).sum())
        if eligible is None:
            return None, self._size
        # a count may include rows beyond ours
        within = eligible.count < self._size
        allowed = eligible.count if within else _count(eligible.bits, self._size)
        return (eligible.bits if allowed < self._size else None), allowed

    def neighbours(self, queries: Vectors, k: int) -> list[Scored]:
        """For each row of queries its k nearest of all rows, now."""
        plan = self._costs.plan(self._size, k)
        return self.search_by(plan, queries, min(k, self._size), None, self._size)[0]

    def search_by(
        self, plan: FilterPlan, queries: Vectors, k: int, bits: Bits | None, allowed: int
    ) -> tuple[list[Scored], int]:
        """Search as ``plan`` says, now; also says how many queries a scan had to complete."""
        if plan.way is Way.EXACT:
            return self._scan(queries, k, bits), 0
        inside = bits if plan.way is Way.FILTERED else None
        # one search for all that the beam holds: a beam cut short of `ef` shows
        rows, scores = self._graph.search(queries, max(k, plan.ef), plan.ef, inside, plan.widest)
        wanted = min(allowed, plan.ef if plan.way is Way.FILTERED else k)
        found, completed = [], 0
        for each in range(queries.shape[0]):
            scored = _present(rows[each], scores[each])
            if plan.way is Way.POST and bits is not None:
                kept = select(bits, scored.rows)
                scored = Scored(scored.rows[kept], scored.scores[kept])
            if scored.rows.shape[0] < wanted:
                completed += 1
                (scored,) = self._scan(queries[each : each + 1], k, bits)
            found.append(Scored(scored.rows[:k], scored.scores[:k]))
        return found, completed

    def _scan(self, queries: Vectors, k: int, bits: Bits | None) -> list[Scored]:
        rows, scores = self._graph.scan(queries, k, bits)
        return [_present(rows[each], scores[each]) for each in range(queries.shape[0])]


def _count(bits: Bits, size: int) -> int:
    """How many of the first ``size`` bits are set."""
    whole, rest = divmod(size, 64)
    last = int(bits[whole]) & ((1 << rest) - 1) if rest else 0
    return int(np.bitwise_count(bits[:whole]).sum()) + last.bit_count()


def _present(rows: Rows, scores: Scores) -> Scored:
    """Without the -1 that fill up a row of results."""
    count = int(np.count_nonzero(rows >= 0))
    return Scored(rows[:count], scores[:count])
