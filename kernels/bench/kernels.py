"""Times each kernel at every level; see README.md beside it for what each figure answers.

Usage: python kernels/bench/kernels.py [--json]. Every call gets other inputs than the one before,
since repeating one trains the branch predictor; the median is reported, in microseconds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy as np

import tamis_kernels as kernels

ITEMS, CANDIDATES, INPUTS, ROUNDS = 100_000, 500, 64, 5
Call = Callable[[int], object]


def floats(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32)


def calls() -> dict[str, Call]:
    """One call by name, taking the number of its input; models are built at the active level."""
    rng = np.random.default_rng(1)
    rows = [rng.choice(ITEMS, CANDIDATES, replace=False).astype(np.int32) for _ in range(INPUTS)]
    scores = floats(rng, INPUTS, CANDIDATES)
    keys = rng.integers(0, 2**64, (INPUTS, CANDIDATES), dtype=np.uint64)
    blocks = np.zeros((INPUTS, 128, 8), dtype=np.uint32)
    for some_blocks, some_keys in zip(blocks, keys, strict=True):
        kernels.bloom_insert(some_blocks, some_keys[::2].copy())
    generations = [[blocks[i - j] for j in range(4)] for i in range(INPUTS)]
    bits = rng.integers(0, 2**64, ITEMS // 64 + 1, dtype=np.uint64)
    tenth = np.packbits(rng.random(len(bits) * 64) < 0.1).view(np.uint64)
    vectors = floats(rng, ITEMS, 64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = floats(rng, INPUTS, 1, 64)
    lists = [
        [rng.choice(1000, 200, replace=False).astype(np.int32) for _ in range(4)]
        for _ in range(INPUTS)
    ]
    list_scores = [list(floats(rng, 4, 200)) for _ in range(INPUTS)]
    text = rng.integers(0, 256, (INPUTS, CANDIDATES * 12), dtype=np.uint8)
    offsets = np.arange(CANDIDATES + 1, dtype=np.int64) * 12
    deepfm = kernels.DeepFM(
        floats(rng, ITEMS, 256),
        floats(rng, ITEMS, 16),
        floats(rng, ITEMS),
        floats(rng, 4, 256),
        floats(rng, 4),
        floats(rng, 256, 128) / 16,
        floats(rng, 128),
        floats(rng, 128, 64) / 12,
        floats(rng, 64),
        floats(rng, 2, 64) / 8,
        floats(rng, 2),
        floats(rng, 2),
    )
    hidden, factors = floats(rng, INPUTS, 256), floats(rng, INPUTS, 16)
    tower = kernels.QueryTower(
        floats(rng, ITEMS, 64).astype(np.float16),
        floats(rng, 64, 2),
        floats(rng, 9, 2),
        floats(rng, 50, 2),
        floats(rng, 9),
        np.ones(9, np.bool_),
        floats(rng, 33, 64),
        floats(rng, 64, 64) / 8,
        floats(rng, 128, 64) / 11,
        floats(rng, 128, 64) / 11,
        floats(rng, 64),
        floats(rng, 64, 64) / 8,
        floats(rng, 64),
    )
    side = kernels.DeepFMSide(
        floats(rng, 500, 16),
        floats(rng, 500),
        floats(rng, 64),
        floats(rng, 256, 256),
        hidden[0],
        12,
    )
    slots = rng.integers(0, 500, (INPUTS, 1, 12)).astype(np.int32)
    index = kernels.KeyIndex(rng.integers(0, 2**64, ITEMS, dtype=np.uint64))
    kinds, clock = np.ones(30, np.uint8), np.array([3, 27], np.int32)
    cross = floats(rng, INPUTS, CANDIDATES, 4)
    near = rng.integers(0, ITEMS, (ITEMS, 100)).astype(np.int32)
    weights = floats(rng, ITEMS, 100)
    taken = rng.integers(0, ITEMS, (INPUTS, 30)).astype(np.int32)
    return {
        "xxh64": lambda i: kernels.xxh64(text[i], offsets),
        "bloom_insert": lambda i: kernels.bloom_insert(blocks[i], keys[i]),
        "bloom_absent": lambda i: kernels.bloom_absent(generations[i], keys[i]),
        "select": lambda i: kernels.select(bits, rows[i]),
        "top_k": lambda i: kernels.top_k(scores[i], rows[i], 20),
        "top_k_all": lambda i: kernels.top_k(scores[i], rows[i], CANDIDATES),
        "best_scaled": lambda i: kernels.best_scaled(scores[i], rows[i], 100),
        "fuse_ranks": lambda i: kernels.fuse_ranks(lists[i], [1.0] * 4, range(4), 60),
        "best_of": lambda i: kernels.best_of(lists[i][:3], list_scores[i][:3], rows[i][:3].copy()),
        "affinities": lambda i: kernels.affinities(near, weights, taken[i], rows[i]),
        "affine_rows": lambda i: kernels.affine_rows(near, weights, taken[i]),
        "cross_features": lambda i: kernels.cross_features(
            vectors, rows[i], queries[i][0], taken[i], 20, near, weights, None
        ),
        "query_tower": lambda i: tower.encode(taken[i], kinds, clock),
        "deepfm_side": lambda i: side.parts(slots[i], queries[i]),
        "key_index": lambda i: index.find(keys[i]),
        "dot_rows": lambda i: kernels.dot_rows(vectors, rows[i], queries[i]),
        "scan": lambda i: kernels.scan(vectors, tenth, queries[i], 100),
        "mmr": lambda i: kernels.mmr(vectors, rows[i], scores[i], 20, 0.7),
        "dpp": lambda i: kernels.dpp(vectors, rows[i], scores[i], 20, 0.7),
        "deepfm": lambda i: deepfm.score(hidden[i], factors[i], 0.0, rows[i], cross[i]),
    }


def median_us(call: Call) -> float:
    for i in range(4):
        call(i)
    times = []
    for i in list(range(INPUTS)) * ROUNDS:
        start = time.perf_counter_ns()
        call(i)
        times.append(time.perf_counter_ns() - start)
    return statistics.median(times) / 1000


def measured() -> dict[str, dict[str, float]]:
    """Microseconds by kernel and level."""
    table: dict[str, dict[str, float]] = {}
    for level in kernels.available_levels():
        with kernels.with_level(level):
            for name, call in calls().items():
                table.setdefault(name, {})[level] = round(median_us(call), 2)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    arguments = parser.parse_args()
    table = measured()
    if arguments.json:
        print(json.dumps(table, indent=2))
        return
    levels = kernels.available_levels()
    print("us".ljust(14) + "".join(level.rjust(12) for level in levels))
    for name, row in table.items():
        print(name.ljust(14) + "".join(f"{row[level]:12.2f}" for level in levels))


if __name__ == "__main__":
    main()
