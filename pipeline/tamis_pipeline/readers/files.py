"""Files as tables; one that can't be read is refused by its name, and its line where it has one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from tamis_pipeline.dataset import DatasetRejected, require
from tamis_pipeline.readers.columns import checked, converted


def exists(directory: Path, name: str) -> bool:
    """Whether ``read_table`` has something to read."""
    return any((directory / f"{name}{suffix}").is_file() for suffix in (".parquet", ".csv"))


def read_table(directory: Path, name: str) -> pl.DataFrame:
    """``name``.parquet or ``name``.csv, as it is. Raises DatasetRejected, for a column of the wrong
    type with its row."""
    parquet, csv = directory / f"{name}.parquet", directory / f"{name}.csv"
    try:
        if parquet.is_file():
            return checked(pl.read_parquet(parquet), parquet)
        if csv.is_file():
            ids = ("user_id", "item_id", "title", "text", "image")
            overrides = dict.fromkeys(ids, pl.String)
            # all rows decide a column's type: one that comes late is to be found, not to fail
            frame = pl.read_csv(csv, infer_schema_length=None, schema_overrides=overrides)
            return checked(frame, csv)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DatasetRejected(f"{directory / name}: {str(error).splitlines()[0]}") from None
    raise DatasetRejected(f"{directory}: neither {parquet.name} nor {csv.name} is there")


def read_csv(path: Path, columns: Mapping[str, type[pl.DataType]]) -> pl.DataFrame:
    """A csv file with a header that has ``columns`` (see ``columns.converted``); others are text.
    Raises DatasetRejected."""
    try:
        frame = pl.read_csv(path, infer_schema=False)
    except FileNotFoundError:
        raise DatasetRejected(f"{path}: not found") from None
    except pl.exceptions.PolarsError as error:
        raise DatasetRejected(f"{path}: {str(error).splitlines()[0]}") from None
    require(frame, path.name, tuple(columns))
    return converted(frame, path, columns)


def read_separated(
    path: Path, separator: str, columns: Mapping[str, type[pl.DataType]]
) -> pl.DataFrame:
    """A Latin-1 file without a header, of ``columns`` in their order (see ``columns.converted``).
    Raises DatasetRejected."""
    rows = [line.split(separator) for line in read_lines(path, "latin-1")]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(columns):
            raise DatasetRejected(
                f"{path}, line {number}: {len(row)} fields between {separator!r}, not "
                f"{len(columns)}: {', '.join(columns)}"
            )
    texts = pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String), orient="row")
    return converted(texts, path, columns)


def read_lines(path: Path, encoding: str = "utf-8") -> list[str]:
    """The lines of a text file, without empty ones at its end. Raises DatasetRejected."""
    try:
        return path.read_text(encoding).rstrip("\n").split("\n")
    except OSError as error:
        raise DatasetRejected(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DatasetRejected(f"{path}: {error}") from None
