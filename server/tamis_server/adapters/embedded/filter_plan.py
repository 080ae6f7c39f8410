"""Which way to search under a filter: the cheapest that keeps recall, by expected cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

# Medians on one core of an AMD EPYC with AVX-512, 100,000 x 64-d, other work beside it
# (docs/performance.md; `python loadtest/filter_plan.py` measures both). Their ratio decides where
# the exact scan ends; it is much the same at every level, since both wait for memory.
_SCAN_NS, _SCAN_NS_A_FLOAT = 2.0, 0.1
_BEAM_NS, _BEAM_NS_A_FLOAT = 250.0, 2.0  # a row of the beam: its links, about 13 new rows

# `ef_search` is the beam for so many results. Recall goes with the beam's ratio to k, so fewer take
# a shorter one. More take no longer one than they must: it finds their first 100 as well.
_RESULTS = 100
_LEAST_EF = 50

# The k nearest allowed rows are the k / selectivity nearest of all: further out, where a beam of
# the same proportion finds fewer.
_FILTERED_EF = 1.4

# Filtering afterwards is cheaper only in that no bit is asked for in the search, and safe only if
# the beam can spare every row that is not allowed; as a share of the beam:
_SPARED = 0.25


class Way(StrEnum):
    """How the nearest allowed rows are found."""

    GRAPH = "graph"  # no filter
    EXACT = "exact"  # every allowed row is scored
    FILTERED = "filtered"  # the filter inside the graph search
    POST = "post"  # the graph search widened, then the filter
    LISTS = "lists"  # inverted lists, each row that is near enough asked whether it is allowed


@dataclass(frozen=True, slots=True)
class FilterPlan:
    """What to do for one query.

    ``ef`` and ``widest`` are those of ``HnswGraph.search``; 0 where nothing is searched.
    """

    way: Way
    ef: int
    widest: int
    expected_us: float


@dataclass(frozen=True, slots=True)
class FilterCosts:
    """What the ways cost over ``size`` rows of ``dims`` floats, and so which one to take.

    ``ef_search`` is the beam of an unfiltered search for 100. ``exact_below`` overrides the
    comparison of costs: at most so many allowed rows are scanned, more are not.
    """

    size: int
    dims: int
    ef_search: int
    exact_below: int | None = None

    def exact_us(self, allowed: int) -> float:
        """Microseconds to score ``allowed`` rows for one query."""
        return allowed * (_SCAN_NS + self.dims * _SCAN_NS_A_FLOAT) / 1000

    def beam_us(self, length: float) -> float:
        """Microseconds of a graph search whose beam gets ``length`` rows long."""
        return length * (_BEAM_NS + self.dims * _BEAM_NS_A_FLOAT) / 1000

    def plan(self, allowed: int, k: int) -> FilterPlan:
        """The plan for the k nearest of ``allowed`` rows."""
        exact = self.exact(allowed)
        if self.exact_below is not None:
            if allowed <= self.exact_below:
                return exact
            return self._in_graph(allowed, k)
        if allowed <= k:
            return exact
        graph = self._in_graph(allowed, k)
        return graph if graph.expected_us < exact.expected_us else exact

    def exact(self, allowed: int) -> FilterPlan:
        return FilterPlan(Way.EXACT, 0, 0, self.exact_us(allowed))

    def unfiltered(self, k: int) -> FilterPlan:
        ef = self._ef(k)
        return FilterPlan(Way.GRAPH, ef, ef, self.beam_us(ef))

    def filtered(self, allowed: int, k: int) -> FilterPlan:
        """No longer a beam than costs what the exact scan does, which takes over where it ends:
        the two together are at most twice the cheaper one, however the filter lies."""
        ef = min(math.ceil(self._ef(k) * _FILTERED_EF), max(allowed, 1))
        expected = ef * self.size / max(allowed, 1)
        affordable = expected * self.exact_us(allowed) / max(self.beam_us(expected), 1e-9)
        widest = min(self.size, max(ef, math.ceil(affordable)))
        return FilterPlan(Way.FILTERED, ef, widest, self.beam_us(min(expected, widest)))

    def post(self, allowed: int, k: int) -> FilterPlan:
        """Wider by all that the filter can take away, or if that is much, by what it should."""
        ef, lost = self._ef(k), self.size - allowed
        if lost > ef * _SPARED:
            lost = math.ceil(ef * lost / max(allowed, 1))
        beam = min(self.size, ef + lost)
        return FilterPlan(Way.POST, beam, beam, self.beam_us(beam))

    def crossover(self, k: int) -> int:
        """The least number of allowed rows that is not scanned exactly."""
        low, high = 0, self.size
        while low < high:
            middle = (low + high) // 2
            if self.plan(middle, k).way is Way.EXACT:
                low = middle + 1
            else:
                high = middle
        return low

    def _in_graph(self, allowed: int, k: int) -> FilterPlan:
        if allowed >= self.size:
            return self.unfiltered(k)
        if self.size - allowed <= self._ef(k) * _SPARED:
            return self.post(allowed, k)
        return self.filtered(allowed, k)

    def _ef(self, k: int) -> int:
        scaled = math.ceil(self.ef_search * min(1.0, k / _RESULTS))
        return min(self.size, max(k, _LEAST_EF, scaled))
