"""A graph search or an exact scan, as the filter plan says."""

from __future__ import annotations

from tamis_kernels import HnswGraph, select
from tamis_server.adapters.embedded.filter_plan import FilterCosts, FilterPlan, Way
from tamis_server.adapters.embedded.nearest import Found, scored
from tamis_server.domain.candidates import Bits, Scored, Vectors


class GraphSearcher:
    """Where a graph search finds fewer rows than it should (a filter far from the query, a graph
    that duplicates cut), the allowed rows are scanned. ``ef_search``: the beam of a search for 100;
    ``exact_below``: scan so many allowed rows, whatever the costs say."""

    def __init__(
        self, graph: HnswGraph, dims: int, *, ef_search: int, exact_below: int | None = None
    ) -> None:
        self._graph = graph
        self._costs = FilterCosts(graph.size, dims, ef_search, exact_below)

    @property
    def size(self) -> int:
        return self._graph.size

    def search(self, queries: Vectors, k: int, bits: Bits | None, allowed: int) -> Found:
        """As Searcher.search."""
        return self.search_by(self._costs.plan(allowed, k), queries, k, bits, allowed)

    def search_by(
        self, plan: FilterPlan, queries: Vectors, k: int, bits: Bits | None, allowed: int
    ) -> Found:
        """Search as ``plan`` says."""
        if plan.way is Way.EXACT:
            return Found(self._scan(queries, k, bits), plan.way)
        inside = bits if plan.way is Way.FILTERED else None
        # one search for all that the beam holds: a beam cut short of `ef` shows
        rows, scores = self._graph.search(queries, max(k, plan.ef), plan.ef, inside, plan.widest)
        wanted = min(allowed, plan.ef if plan.way is Way.FILTERED else k)
        of, completed = [], 0
        for each in range(queries.shape[0]):
            found = scored(rows[each], scores[each])
            if plan.way is Way.POST and bits is not None:
                kept = select(bits, found.rows)
                found = Scored(found.rows[kept], found.scores[kept])
            if found.rows.shape[0] < wanted:
                completed += 1
                (found,) = self._scan(queries[each : each + 1], k, bits)
            of.append(Scored(found.rows[:k], found.scores[:k]))
        return Found(of, plan.way, completed)

    def _scan(self, queries: Vectors, k: int, bits: Bits | None) -> list[Scored]:
        rows, scores = self._graph.scan(queries, k, bits)
        return [scored(rows[each], scores[each]) for each in range(queries.shape[0])]
