"""Work cut into Parquet files: each is done in one go, here or on any machine that reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

Make = Callable[[], Callable[[Path], pa.Table]]


class Engine(Protocol):
    """What ``make()`` gives, made once a worker, of every shard; results come in any order, each as
    soon as it is there."""

    def __call__(self, shards: Sequence[Path], make: Make) -> Iterator[pa.Table]: ...


def here(shards: Sequence[Path], make: Make) -> Iterator[pa.Table]:
    """The engine that needs nothing: one after the other, in this process."""
    work = make()
    for shard in shards:
        yield work(shard)


def write_shards(table: pa.Table, directory: Path, shards: int) -> list[Path]:
    """``table`` in at most ``shards`` Parquet files of about equal size, in a new directory."""
    directory.mkdir(parents=True)
    size = max(1, -(-table.num_rows // shards))
    paths: list[Path] = []
    for start in range(0, table.num_rows, size):
        paths.append(directory / f"{len(paths):05d}.parquet")
        pq.write_table(table.slice(start, size), paths[-1])
    return paths
