"""The project's own format (docs/own-data.md): tables, each parquet or csv."""

from __future__ import annotations

from pathlib import Path

from tamis_pipeline.dataset import Tables
from tamis_pipeline.readers.files import exists, read_table


def read(directory: Path) -> Tables:
    """items; interactions and users where they are there. Raises DatasetRejected."""
    return Tables(
        items=read_table(directory, "items"),
        interactions=read_table(directory, "interactions")
        if exists(directory, "interactions")
        else None,
        users=read_table(directory, "users") if exists(directory, "users") else None,
    )
