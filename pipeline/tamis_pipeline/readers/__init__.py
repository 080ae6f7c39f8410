"""A reader for each format that data sets come in; all give the same tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl

from tamis_pipeline.dataset import Dataset, DatasetRejected, Tables, assemble
from tamis_pipeline.readers import fashion, movielens, own

READERS: Mapping[str, Callable[[Path], Tables]] = {
    "own": own.read,
    "movielens-small": movielens.latest,
    "movielens-100k": movielens.hundred_thousand,
    "movielens-1m-ncf": movielens.million_ncf,
    "fashion-small": fashion.read,
}


def read_dataset(kind: str, directory: Path, *, opinions: bool = True) -> Dataset:
    """Read ``directory`` as one of ``READERS``. Raises DatasetRejected.

    opinions: whether a dislike is one; without, whatever was met counts as a view, as in published
    protocols for implicit feedback, where every rating is relevant.
    """
    tables = _tables(kind, directory)
    if not opinions and tables.interactions is not None:
        views = tables.interactions.with_columns(event_type=pl.lit("view"))
        tables = Tables(tables.items, views, tables.users, tables.held_out, tables.problems)
    return assemble(kind, tables)


def read_catalogue(kind: str, directory: Path) -> pl.DataFrame:
    """The items alone, in the form of docs/own-data.md. Raises DatasetRejected."""
    return _tables(kind, directory).items


def _tables(kind: str, directory: Path) -> Tables:
    if kind not in READERS:
        raise DatasetRejected(f"data set {kind!r}: not known; there are {', '.join(READERS)}")
    if not directory.is_dir():
        raise DatasetRejected(f"{directory}: not a directory")
    return READERS[kind](directory)
