"""Many machines: work is a Ray Data job over Parquet shards (extra ``ray``).

Shards, and the pictures and encoder that work names, are on storage that all machines reach.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import ray
import ray.data

from tamis_pipeline.embedding.work import encode, write_shards
from tamis_pipeline.encoders.port import open_encoder

Batch = Callable[[pa.Table], pa.Table]


def on_ray(
    shards: list[Path], make: Callable[[], Batch], batch: int, workers: int
) -> Iterator[pa.Table]:
    """What ``make()`` gives, made once a worker, of every ``batch`` rows of ``shards``.

    Results come in any order, each as soon as it is there. Any function of batches will do: it is
    what batch scoring takes, too. Connects to the cluster of $RAY_ADDRESS, or starts one here.
    """

    class Worker:
        def __init__(self) -> None:
            self._map = make()

        def __call__(self, table: pa.Table) -> pa.Table:
            return self._map(table)

    if not shards:
        return
    ray.init(ignore_reinit_error=True, log_to_driver=False, include_dashboard=False)
    mapped = ray.data.read_parquet([str(path) for path in shards]).map_batches(
        Worker,
        batch_size=batch,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=workers),
    )
    yield from mapped.iter_batches(batch_size=None, batch_format="pyarrow")


class OnRay:
    """An engine of ``embedding.work``: the encoder is opened by its name on every worker."""

    def __init__(
        self, encoder: str, providers: list[str], batch: int, shards: int, directory: Path
    ) -> None:
        """shards: also how many workers there are; directory: for them, on shared storage."""
        self._encoder, self._providers = encoder, providers
        self._batch, self._shards, self._directory = batch, shards, directory

    def __call__(self, work: pa.Table) -> Iterator[pa.Table]:
        name, providers = self._encoder, self._providers

        def make() -> Batch:
            encoder = open_encoder(name, providers, threads=1)
            return lambda table: encode(encoder, table)

        try:
            # keys are hashes: by key, no shard is all pictures, which take the longest
            paths = write_shards(work.sort_by("key"), self._directory, self._shards)
            yield from on_ray(paths, make, self._batch, self._shards)
        finally:
            shutil.rmtree(self._directory, ignore_errors=True)
