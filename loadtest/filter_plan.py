"""Recall and time of each way to search a graph under a filter, of the way that the plan chooses,
and of inverted lists over the same items (``bundles.lists``).

Usage: python loadtest/filter_plan.py [--items 100000] [--queries 200]. Clustered 64-d vectors as
in the load tests' bundles; recall@100 against brute force, median microseconds a query, one thread.
Filters allow a share of the rows: at random; by cluster, whole clusters being allowed ("cluster");
or those clusters alone that lie furthest from each query ("far"), the worst case there is.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from bundles import DIMS, bundle, lists
from numpy.typing import NDArray

import tamis_kernels
from tamis_kernels import HnswGraph, IvfIndex, bloom_absent, bloom_insert, select
from tamis_server.adapters.embedded.filter_plan import FilterCosts, FilterPlan
from tamis_server.adapters.embedded.hnsw import GraphSearcher
from tamis_server.adapters.embedded.ivf import ListSearcher
from tamis_server.bundles.loader import load
from tamis_server.bundles.manifest import IvfSpec
from tamis_server.settings import RetrievalSettings

K, EF = 100, RetrievalSettings().ef_search
SHARES = (1.0, 0.9995, 0.99, 0.9, 0.5, 0.1, 0.01, 0.001)
CLUSTERS = 500
WAYS = ("exact", "filtered", "post", "chosen", "lists")

Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Measured:
    """One way at one selectivity."""

    filter: str
    share: float
    way: str
    taken: str  # what was done
    recall: float
    us: float
    completed: float  # share of the queries that an exact scan had to complete


@dataclass(frozen=True, slots=True)
class Question:
    """query float32[1, d]; bits as kernels take them, how many they allow, the rows wanted."""

    query: Float32
    bits: NDArray[np.uint64] | None
    allowed: int
    wanted: frozenset[int]


class Bench:
    """Queries over a bundle's items, and filters of several kinds."""

    def __init__(self, items: int, queries: int, seed: int = 1) -> None:
        loaded = load(bundle(items))
        inverted = load(lists(items))
        assert isinstance(loaded.index, HnswGraph)
        assert isinstance(inverted.index, IvfIndex)
        assert isinstance(inverted.manifest.index, IvfSpec)
        self.searcher = GraphSearcher(loaded.index, DIMS, ef_search=EF)
        spec = inverted.manifest.index
        self.lists = ListSearcher(
            inverted.index, inverted.vectors, scanned=spec.scanned, reach=spec.reach
        )
        self.vectors = loaded.vectors
        self.costs = FilterCosts(items, DIMS, EF)
        rng = np.random.default_rng(seed)
        # queries as a two-tower's: near items, on none of them
        near = self.vectors[rng.choice(items, queries, replace=False)]
        noise = rng.normal(size=near.shape) / np.sqrt(DIMS)
        self.queries = _unit((near + 0.5 * noise).astype(np.float32))
        centres = self.vectors[rng.choice(items, CLUSTERS, replace=False)]
        self.cluster = np.argmax(self.vectors @ centres.T, axis=1)
        self._centres = centres
        self._rng = rng

    def masks(self, kind: str, share: float) -> Iterator[Mask]:
        """For each query the allowed rows."""
        size = len(self.vectors)
        if share == 1.0:
            yield from (np.ones(size, np.bool_) for _ in self.queries)
        elif kind == "random":
            yield from (self._rng.random(size) < share for _ in self.queries)
        elif kind == "cluster":
            for _ in self.queries:
                yield self._clusters(self._rng.permutation(CLUSTERS), share)
        else:
            for query in self.queries:
                yield self._clusters(np.argsort(self._centres @ query), share)

    def _clusters(self, order: NDArray[np.intp], share: float) -> Mask:
        """The first clusters in ``order`` that hold the share of rows between them."""
        held = np.cumsum(np.bincount(self.cluster, minlength=CLUSTERS)[order])
        count = int(np.searchsorted(held, share * len(self.vectors))) + 1
        allowed = np.zeros(CLUSTERS, np.bool_)
        allowed[order[:count]] = True
        mask: Mask = allowed[self.cluster]
        return mask

    def plan(self, way: str, allowed: int) -> FilterPlan:
        if way == "chosen":
            return self.costs.plan(allowed, K)
        plans: dict[str, Callable[[], FilterPlan]] = {
            "exact": lambda: self.costs.exact(allowed),
            "filtered": lambda: self.costs.filtered(allowed, K),
            "post": lambda: self.costs.post(allowed, K),
        }
        return plans[way]()

    def questions(self, kind: str, share: float) -> list[Question]:
        """Each query with a filter of its own and what it should find."""
        asked = []
        for query, mask in zip(self.queries, self.masks(kind, share), strict=True):
            allowed = int(mask.sum())
            if allowed == 0:
                continue
            best = min(K, allowed)
            products = np.where(mask, self.vectors @ query, -np.inf)
            wanted = frozenset(np.argpartition(-products, best - 1)[:best].tolist())
            bits = None if allowed == len(mask) else _bits(mask)
            asked.append(Question(query[None, :], bits, allowed, wanted))
        return asked

    def measure(self, kind: str, share: float, ways: Sequence[str] = WAYS) -> list[Measured]:
        """Each way over all queries: none finds the caches warmed by itself or another."""
        asked = self.questions(kind, share)
        return [self._measure(kind, share, way, asked) for way in ways]

    def _measure(self, kind: str, share: float, way: str, asked: list[Question]) -> Measured:
        recalls, times, completed, taken = [], [], 0, ""
        for question in asked:
            asking = question.query, K, question.bits, question.allowed
            start = time.perf_counter()
            if way == "lists":
                found = self.lists.search(*asking)
            else:
                found = self.searcher.search_by(self.plan(way, question.allowed), *asking)
            times.append((time.perf_counter() - start) * 1e6)
            hits = question.wanted & set(found.of[0].rows.tolist())
            recalls.append(len(hits) / len(question.wanted))
            completed += found.completed
            taken = str(found.way)
        recall, us = statistics.mean(recalls), statistics.median(times)
        return Measured(kind, share, way, taken, recall, us, completed / len(asked))

    def crossover(self) -> int:
        """Allowed rows from which on the filter inside the graph is the faster way, as measured."""
        low, high = 0.02, 0.98
        for _ in range(5):
            share = (low + high) / 2
            us = {
                each.way: each.us for each in self.measure("random", share, ("exact", "filtered"))
            }
            low, high = (share, high) if us["exact"] < us["filtered"] else (low, share)
        return round((low + high) / 2 * len(self.vectors))


def filter_us(queries: int = 200, candidates: int = 500) -> float:
    """Median us to filter 500 candidates by 4 Bloom filters of 4 KiB and by eligibility bits."""
    rng = np.random.default_rng(1)
    keys = rng.integers(0, 2**64, (queries, candidates), dtype=np.uint64)
    filters = [np.zeros((128, 8), np.uint32) for _ in range(4)]
    for blocks in filters:
        bloom_insert(blocks, rng.integers(0, 2**64, 1000, dtype=np.uint64))
    bits = rng.integers(0, 2**64, 100_000 // 64 + 1, dtype=np.uint64)
    rows = rng.integers(0, 100_000, (queries, candidates)).astype(np.int32)
    times = []
    for some_rows, some_keys in zip(rows, keys, strict=True):
        start = time.perf_counter()
        kept = select(bits, some_rows)
        some_rows[kept[bloom_absent(filters, some_keys[kept])]]
        times.append((time.perf_counter() - start) * 1e6)
    return statistics.median(times)


def measured(items: int, queries: int) -> tuple[list[Measured], int, int]:
    """Every row of the table, the crossover as measured and as planned."""
    bench = Bench(items, queries)
    rows = []
    for share in SHARES:
        kinds = ("random",) if share > 0.999 else ("random", "cluster", "far")
        for kind in kinds:
            rows += bench.measure(kind, share)
    return rows, bench.crossover(), bench.costs.crossover(K)


def figures(items: int = 100_000, queries: int = 100) -> list[tuple[str, float, str]]:
    """Name, value and unit for the benchmark's report; recalls are the worst over the filters."""
    rows, crossover, planned = measured(items, queries)
    found: list[tuple[str, float, str]] = []
    for share in SHARES:
        chosen = [row for row in rows if row.share == share and row.way == "chosen"]
        name = f"{share * 100:g}pct".replace(".", "_")
        recall = min(row.recall for row in chosen)
        found.append((f"filter_plan_recall_{name}", recall, "recall@100, worst filter"))
        found.append((f"filter_plan_us_{name}", chosen[0].us, "us/query, random filter"))
        listed = [row for row in rows if row.share == share and row.way == "lists"]
        recall = min(row.recall for row in listed)
        found.append((f"filter_lists_recall_{name}", recall, "recall@100, worst filter"))
        found.append((f"filter_lists_us_{name}", listed[0].us, "us/query, random filter"))
    found.append(("filter_plan_crossover_allowed", crossover, f"rows; the plan's is {planned}"))
    found.append(("filter_500_us", filter_us(), "us; 4 Bloom filters and eligibility"))
    return found


def _unit(vectors: Float32) -> Float32:
    unit: Float32 = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def _bits(mask: Mask) -> NDArray[np.uint64]:
    padded = np.pad(mask, (0, -len(mask) % 64))
    return np.packbits(padded, bitorder="little").view(np.uint64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=200)
    options = parser.parse_args()
    rows, crossover, planned = measured(options.items, options.queries)
    print(f"{options.items} items x {DIMS}-d, {options.queries} queries, k {K}, ef {EF}, "
          f"kernels {tamis_kernels.level()}; recall@{K} and us, * completed by a scan")  # fmt: skip
    print("| allowed | filter | " + " | ".join(WAYS) + " |")
    print("|---|---|" + "---|" * len(WAYS))
    for start in range(0, len(rows), len(WAYS)):
        cells = []
        for row in rows[start : start + len(WAYS)]:
            star = f" *{row.completed:.0%}" if row.completed else ""
            way = f" {row.taken}" if row.way in ("chosen", "lists") else ""
            cells.append(f"{row.recall:.3f}, {row.us:.0f}{star}{way}")
        row = rows[start]
        print(f"| {row.share * 100:g} % | {row.filter} | " + " | ".join(cells) + " |")
    print(f"\nexact and filtered cost the same at {crossover} allowed rows; the plan changes at "
          f"{planned}\nfiltering 500 candidates: {filter_us():.1f} us")  # fmt: skip


if __name__ == "__main__":
    main()
