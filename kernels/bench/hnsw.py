"""The graph searcher beside hnswlib at equal recall@200, one thread, other queries each time.

Usage: python kernels/bench/hnsw.py [--items 200000] [--dims 64] [--unclustered]. M 16,
ef_construction 200; the index is made once, into .cache/bench (minutes). For each of hnswlib's
beams ours is made so long that it finds as much. All take turns query by query, each with another
query, since what one has just read is in the cache for the next; shown are medians of the thread's
CPU time and of the ratio within a turn. hnswlib is pip's build, for the very machine.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import hnswlib
import numpy as np
from numpy.typing import NDArray

import tamis_kernels
from tamis_kernels import HnswGraph

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--dims", type=int, default=64)
    parser.add_argument("--unclustered", action="store_true")
    options = parser.parse_args()
    kind = "unclustered" if options.unclustered else "clustered"
    vectors, queries = drawn(options.items, options.dims, not options.unclustered)
    path = CACHE / f"graph-{options.items}-{options.dims}-{kind}.hnsw"
    index = index_of(path, vectors)
    wanted = [np.argpartition(-(vectors @ query), K)[:K] for query in queries]

    def recall(rows: NDArray[np.integer]) -> float:
        pairs = zip(rows, wanted, strict=True)
        return statistics.mean(len(np.intersect1d(*pair)) / K for pair in pairs)

    graphs = {}
    for level in tamis_kernels.available_levels()[1:]:
        with tamis_kernels.with_level(level):
            graphs[level] = HnswGraph(path, vectors)
    print(f"{options.items} x {options.dims}-d {kind}, k {K}: us, and times as fast as hnswlib")
    for ef in (200, 300, 400):
        index.set_ef(ef)
        theirs = recall(index.knn_query(queries, k=K, num_threads=1)[0])
        own = ef
        while recall(next(iter(graphs.values())).search(queries, K, own)[0]) < theirs:
            own = own * 51 // 50 + 1
        index.set_num_threads(1)
        calls: dict[str, Callable[[Float32], object]] = {
            "hnswlib": lambda query: index.knn_query(query, k=K, num_threads=1),
            **{
                level: lambda query, graph=graph, own=own: graph.search(query, K, own)
                for level, graph in graphs.items()
            },
        }
        times: dict[str, list[int]] = {name: [] for name in calls}
        for turn in range(TURNS):
            for place, (name, call) in enumerate(calls.items()):
                at = (turn + place * QUERIES // len(calls)) % QUERIES
                start = time.thread_time_ns()
                call(queries[at : at + 1])
                times[name].append(time.thread_time_ns() - start)
        cells = [
            f"{name} {statistics.median(spent) / 1000:.0f} us "
            f"{statistics.median(a / b for a, b in zip(times['hnswlib'], spent, strict=True)):.2f}x"
            for name, spent in times.items()
        ]
        print(f"ef {ef} (ours {own}), recall {theirs:.4f}: " + ", ".join(cells), flush=True)


if __name__ == "__main__":
    main()
