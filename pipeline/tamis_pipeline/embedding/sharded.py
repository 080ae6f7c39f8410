"""The engine of ``embedding.work`` that cuts it into shards, for many machines."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tamis_pipeline import shards
from tamis_pipeline.embedding.work import InProcess
from tamis_pipeline.encoders.port import open_encoder


class Sharded:
    """The encoder is opened by its name, once a worker."""

    def __init__(
        self,
        engine: shards.Engine,
        encoder: str,
        providers: list[str],
        batch: int,
        count: int,
        directory: Path,
    ) -> None:
        """batch: inputs encoded at a time; count: of shards; directory: for them, on storage that
        all workers reach."""
        self._engine = engine
        self._encoder, self._providers = encoder, providers
        self._batch, self._count, self._directory = batch, count, directory

    def __call__(self, work: pa.Table) -> Iterator[pa.Table]:
        name, providers, batch = self._encoder, self._providers, self._batch

        def make() -> Callable[[Path], pa.Table]:
            encode = InProcess(open_encoder(name, providers, threads=1), batch)
            return lambda shard: pa.concat_tables(encode(pq.read_table(shard)))

        try:
            # keys are hashes: by key, no shard is all pictures, which take the longest
            paths = shards.write_shards(work.sort_by("key"), self._directory, self._count)
            yield from self._engine(paths, make)
        finally:
            shutil.rmtree(self._directory, ignore_errors=True)
