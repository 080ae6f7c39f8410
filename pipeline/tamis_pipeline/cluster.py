"""Many machines: the engine that does shards as a Ray Data job (extra ``ray``).

Shards, and what else the work names, are on storage that all machines reach. The cluster is that of
$RAY_ADDRESS, or one that is started here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import ray
import ray.data

from tamis_pipeline.shards import Make
from tamis_server.domain.errors import DependencyFailed


class OnRay:
    """An engine of ``shards``; workers: how many shards are done at a time, at most. Raises
    DependencyFailed where the cluster can't be reached, or asks for another token."""

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def __call__(self, shards: Sequence[Path], make: Make) -> Iterator[pa.Table]:
        class Worker:
            def __init__(self) -> None:
                self._work = make()

            def __call__(self, named: pa.Table) -> Iterator[pa.Table]:
                for path in named["shard"].to_pylist():
                    yield self._work(Path(path))

        if not shards:
            return
        try:
            ray.init(ignore_reinit_error=True, log_to_driver=False)
        except ConnectionError as error:
            raise DependencyFailed("Ray", str(error)) from None
        # names travel, and workers read: tasks that read would wait for CPUs that workers hold
        named = ray.data.from_items(
            [{"shard": str(path.absolute())} for path in shards], override_num_blocks=len(shards)
        )
        done = named.map_batches(
            Worker,
            batch_size=1,
            batch_format="pyarrow",
            # one is enough to go on: on fewer CPUs than workers the rest would never start
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=self._workers),
        )
        yield from done.iter_batches(batch_size=None, batch_format="pyarrow")
