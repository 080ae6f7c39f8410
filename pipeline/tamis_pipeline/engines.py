"""``--engine``: where the work of a command is done."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from tamis_pipeline.extras import module_of
from tamis_pipeline.shards import Engine, here


class EngineName(StrEnum):
    """Here, in one process, or on a Ray cluster."""

    inprocess = "inprocess"
    ray = "ray"

    def open(self, workers: int) -> Engine:
        """workers: of a cluster. Exits where the extra is missing."""
        if self is EngineName.inprocess:
            return here
        engine: Engine = module_of("cluster", "ray").OnRay(workers)
        return engine


EngineOption = Annotated[EngineName, typer.Option(help="Here, or on a Ray cluster.")]
Workers = Annotated[
    int, typer.Option(min=1, help="Shards done at a time, each on a CPU, by --engine ray.")
]
