"""Both indices beside hnswlib at equal recall@200, one thread, other queries each time.

Usage: python kernels/bench/nearest.py [--items 200000] [--dims 64] [--unclustered]. M 16,
ef_construction 200; hnswlib's index is made once, into .cache/bench (minutes), and the lists, as
many as the pipeline makes, each time. For each of hnswlib's beams ours is made so long, and so
many rows of the lists are scanned, that they find as much. All take turns query by query, each
with another query, since what one has just read is in the cache for the next; shown are medians
of the thread's CPU time and of the ratio within a turn. hnswlib is pip's build, for the very
machine.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import hnswlib
import numpy as np
from numpy.typing import NDArray

import tamis_kernels
from tamis_kernels import HnswGraph, IvfIndex
from tamis_pipeline.indexing import inverted_lists, lists_for
from tamis_server.bundles.manifest import IvfSpec

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "bench"
K, QUERIES, TURNS = 200, 1000, 300
Float32 = NDArray[np.float32]


def drawn(items: int, dims: int, clustered: bool) -> tuple[Float32, Float32]:
    """Unit vectors and queries of the same kind; about a hundred items to a cluster."""
    rng = np.random.default_rng(1)
    centres = np.zeros((1, dims), np.float32)
    if clustered:
        centres = rng.normal(size=(1 + items // 100, dims)).astype(np.float32)

    def draw(count: int) -> Float32:
        around = centres[rng.integers(0, len(centres), count)] if clustered else centres
        found = around + rng.normal(size=(count, dims)).astype(np.float32)
        unit: Float32 = found / np.linalg.norm(found, axis=1, keepdims=True)
        return unit

    return draw(items), draw(QUERIES)


def index_of(path: Path, vectors: Float32) -> hnswlib.Index:
    index = hnswlib.Index(space="ip", dim=vectors.shape[1])
    if path.exists():
        index.load_index(str(path))
        return index
    path.parent.mkdir(parents=True, exist_ok=True)
    index.init_index(len(vectors), M=16, ef_construction=200, random_seed=1)
    index.add_items(vectors, np.arange(len(vectors)))
    partial = path.with_suffix(".partial")
    index.save_index(str(partial))
    partial.rename(path)
    return index


@dataclass(frozen=True, slots=True)
class Measured:
    """At one recall: us a query, and times as fast as hnswlib, by what was measured."""

    ef: int
    recall: float
    us: dict[str, float]
    ratio: dict[str, float]


def measured(
    items: int, dims: int, clustered: bool, beams: tuple[int, ...] = (200, 300, 400)
) -> Iterator[Measured]:
    """For each of hnswlib's beams."""
    kind = "clustered" if clustered else "unclustered"
    vectors, queries = drawn(items, dims, clustered)
    path = CACHE / f"graph-{items}-{dims}-{kind}.hnsw"
    index = index_of(path, vectors)
    wanted = [np.argpartition(-(vectors @ query), K)[:K] for query in queries]
    spec = IvfSpec(kind="ivf", lists=lists_for(items), scanned=1)
    lists = inverted_lists(vectors, spec, 1)

    def recall(rows: NDArray[np.integer]) -> float:
        pairs = zip(rows, wanted, strict=True)
        return statistics.mean(len(np.intersect1d(*pair)) / K for pair in pairs)

    graphs, inverted = {}, {}
    for level in tamis_kernels.available_levels()[1:]:
        with tamis_kernels.with_level(level):
            graphs[level] = HnswGraph(path, vectors)
            inverted[level] = IvfIndex(lists.centroids, lists.starts, lists.rows, vectors)
    best = tamis_kernels.available_levels()[-1]  # all levels find the same
    graph, some = graphs[best], inverted[best]
    for ef in beams:
        index.set_ef(ef)
        theirs = recall(index.knn_query(queries, k=K, num_threads=1)[0])
        own = _least(lambda n: recall(graph.search(queries, K, n)[0]), ef, items, theirs)
        scanned = _least(lambda n: recall(some.search(queries, K, n)[0]), 4 * K, items, theirs)
        index.set_num_threads(1)
        calls: dict[str, Callable[[Float32], object]] = {
            "hnswlib": lambda query: index.knn_query(query, k=K, num_threads=1)
        }
        for level, one in graphs.items():
            calls[f"graph {level}"] = _search(one, own)
        for level, other in inverted.items():
            calls[f"lists {level}"] = _search(other, scanned)
        times: dict[str, list[int]] = {name: [] for name in calls}
        for turn in range(TURNS):
            for place, (name, call) in enumerate(calls.items()):
                at = (turn + place * QUERIES // len(calls)) % QUERIES
                start = time.thread_time_ns()
                call(queries[at : at + 1])
                times[name].append(time.thread_time_ns() - start)
        yield Measured(
            ef,
            theirs,
            {name: statistics.median(spent) / 1000 for name, spent in times.items()},
            {
                name: statistics.median(
                    one / other for one, other in zip(times["hnswlib"], spent, strict=True)
                )
                for name, spent in times.items()
            },
        )


def _search(index: HnswGraph | IvfIndex, effort: int) -> Callable[[Float32], object]:
    return lambda query: index.search(query, K, effort)


def _least(recall: Callable[[int], float], effort: int, most: int, wanted: float) -> int:
    """The effort that reaches the recall, give or take 4 %."""
    while recall(effort) < wanted and effort < most:
        effort = effort * 26 // 25 + 1
    return effort


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--dims", type=int, default=64)
    parser.add_argument("--unclustered", action="store_true")
    options = parser.parse_args()
    kind = "unclustered" if options.unclustered else "clustered"
    print(f"{options.items} x {options.dims}-d {kind}, k {K}: us, and times as fast as hnswlib")
    for row in measured(options.items, options.dims, not options.unclustered):
        cells = [f"{name} {row.us[name]:.0f} us {row.ratio[name]:.2f}x" for name in row.us]
        print(f"ef {row.ef}, recall {row.recall:.4f}: " + ", ".join(cells), flush=True)


if __name__ == "__main__":
    main()
