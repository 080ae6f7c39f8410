"""Interactions and items of any origin, in one form; what can't be read is counted, not hidden."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from tamis_server.bundles.manifest import Attribute
from tamis_server.domain.context import EventKind
from tamis_server.domain.errors import FailureCategory, TamisError

Int32 = npt.NDArray[np.int32]
Float64 = npt.NDArray[np.float64]
UInt8 = npt.NDArray[np.uint8]

OWN_COLUMNS = ("item_id", "title", "text", "image", "available", "created_at")
EVENT_TYPES = {kind.name.lower(): int(kind) for kind in EventKind if kind}


class DatasetRejected(TamisError):
    """A data set that can't be read: names the file and what is wrong with it."""

    category = FailureCategory.CLIENT


@dataclass(frozen=True, slots=True)
class Interactions:
    """Columns of equal length, by time: users int32, items int32 (rows), times float64 (Unix
    seconds), kinds uint8 (EventKind)."""

    users: Int32
    items: Int32
    times: Float64
    kinds: UInt8

    def __len__(self) -> int:
        return int(self.users.shape[0])

    def take(self, which: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> Interactions:
        return Interactions(
            self.users[which], self.items[which], self.times[which], self.kinds[which]
        )


@dataclass(frozen=True, slots=True)
class Dataset:
    """items: as in a bundle's items.parquet; user_ids: by number; problems: how many rows of the
    source were dropped, or mended, and why."""

    name: str
    items: pa.Table
    attributes: tuple[Attribute, ...]
    user_ids: tuple[str, ...]
    interactions: Interactions
    problems: Mapping[str, int]


def read_dataset(kind: str, directory: Path) -> Dataset:
    """Read ``directory`` as one of ``READERS``. Raises DatasetRejected."""
    if kind not in READERS:
        raise DatasetRejected(f"data set {kind!r}: not known; there are {', '.join(READERS)}")
    if not directory.is_dir():
        raise DatasetRejected(f"{directory}: not a directory")
    return READERS[kind](directory)


def _read_own(directory: Path) -> Dataset:
    """The documented format (docs/own-data.md): items and interactions, each parquet or csv."""
    items, interactions = read_table(directory, "items"), read_table(directory, "interactions")
    return assemble("own", items, interactions, {})


def _read_movielens(directory: Path) -> Dataset:
    """MovieLens with csv files (Harper, Konstan, TiiS 2015). Stars become events: 4 and more a
    like, 3 and 3.5 a view, less a dislike. Tags are left out: many were given after the ratings
    that they would help to predict."""
    movies = _csv(directory / "movies.csv", ("movieId", "title", "genres"))
    ratings = _csv(directory / "ratings.csv", ("userId", "movieId", "rating", "timestamp"))
    year = pl.col("title").str.extract(r"\((\d{4})\)\s*$").cast(pl.Int32)
    genres = pl.col("genres").str.split("|").list.filter(pl.element() != "(no genres listed)")
    posters = {path.stem for path in (directory / "posters").glob("*.jpg")}
    movie_id = pl.col("movieId").cast(pl.String)
    items = movies.select(
        item_id=movie_id,
        title=pl.col("title").str.strip_chars(),
        text=genres.list.join(", "),
        image=pl.when(movie_id.is_in(sorted(posters))).then("posters/" + movie_id + ".jpg"),
        created_at=pl.date(year, 1, 1).cast(pl.Datetime("us")).dt.epoch("s").cast(pl.Float64),
        genre=genres.list.first(),
        decade=(year // 10 * 10).cast(pl.String) + "s",
        genres=genres,
        year=year.cast(pl.Float64),
    )
    stars = pl.col("rating")
    events = ratings.select(
        user_id=pl.col("userId").cast(pl.String),
        item_id=movie_id,
        timestamp=pl.col("timestamp"),
        event_type=pl.when(stars >= 4)
        .then(pl.lit("like"))
        .when(stars >= 3)
        .then(pl.lit("view"))
        .otherwise(pl.lit("dislike")),
    )
    return assemble("movielens", items, events, {})


READERS: Mapping[str, Callable[[Path], Dataset]] = {
    "own": _read_own,
    "movielens-small": _read_movielens,
}


def assemble(
    name: str, items: pl.DataFrame, interactions: pl.DataFrame, problems: Mapping[str, int]
) -> Dataset:
    """Check and number both tables; what does not fit is dropped and counted in ``problems``."""
    counts = dict(problems)
    items = _clean_items(items, counts)
    table, attributes = _item_table(items)
    row_of = items.select("item_id", row=pl.int_range(pl.len(), dtype=pl.Int32))
    events = _clean_interactions(interactions, row_of, counts)
    if events.is_empty():
        raise DatasetRejected(f"interactions: none is usable; dropped: {counts}")
    # numbered by name, not by first appearance: a user's number does not depend on file order
    users = events.select(pl.col("user_id").unique().sort())
    events = events.join(
        users.with_columns(user=pl.int_range(pl.len(), dtype=pl.Int32)), on="user_id"
    ).sort("timestamp", "user", "row", "kind")
    return Dataset(
        name,
        table,
        attributes,
        tuple(users["user_id"].to_list()),
        Interactions(
            events["user"].to_numpy().astype(np.int32),
            events["row"].to_numpy().astype(np.int32),
            events["timestamp"].to_numpy().astype(np.float64),
            events["kind"].to_numpy().astype(np.uint8),
        ),
        {reason: count for reason, count in counts.items() if count},
    )


def _clean_items(items: pl.DataFrame, counts: dict[str, int]) -> pl.DataFrame:
    require(items, "items", ("item_id",))
    items = items.with_columns(pl.col("item_id").cast(pl.String))
    known = items.filter(pl.col("item_id").fill_null("") != "")
    counts["items without an id"] = len(items) - len(known)
    unique = known.unique("item_id", keep="first", maintain_order=True)
    counts["items with the id of another (the first is kept)"] = len(known) - len(unique)
    if unique.is_empty():
        raise DatasetRejected("items: there is none")
    return unique


def _clean_interactions(
    events: pl.DataFrame, row_of: pl.DataFrame, counts: dict[str, int]
) -> pl.DataFrame:
    require(events, "interactions", ("user_id", "item_id", "timestamp"))
    if "event_type" not in events.columns:
        events = events.with_columns(event_type=pl.lit("view"))
    events = events.select(
        pl.col("user_id", "item_id", "event_type").cast(pl.String),
        seconds(events, "interactions", "timestamp"),
    )

    def keep(frame: pl.DataFrame, condition: pl.Expr, reason: str) -> pl.DataFrame:
        kept = frame.filter(condition)
        counts[f"interactions {reason}"] = len(frame) - len(kept)
        return kept

    events = keep(events, pl.col("user_id").fill_null("") != "", "without a user")
    events = keep(events, pl.col("timestamp").is_finite(), "without a time")
    kinds = pl.col("event_type").replace_strict(EVENT_TYPES, default=0, return_dtype=pl.UInt8)
    events = events.with_columns(kind=kinds)
    events = keep(events, pl.col("kind") > 0, "of an unknown type")
    events = events.join(row_of, on="item_id", how="left")
    events = keep(events, pl.col("row").is_not_null(), "with an unknown item")
    unique = events.unique(("user_id", "row", "timestamp", "kind"))
    counts["interactions given twice"] = len(events) - len(unique)
    return unique


def _item_table(items: pl.DataFrame) -> tuple[pa.Table, tuple[Attribute, ...]]:
    def text(name: str) -> pl.Expr:
        return pl.col(name).cast(pl.String) if name in items.columns else pl.lit(None, pl.String)

    own = items.select(
        pl.col("item_id"),
        title=text("title").fill_null(""),
        text=text("text").fill_null(""),
        image=text("image"),
        available=pl.col("available").cast(pl.Boolean).fill_null(True)
        if "available" in items.columns
        else pl.lit(True),
        created_at=seconds(items, "items", "created_at")
        if "created_at" in items.columns
        else pl.lit(None, pl.Float64),
    )
    attributes, columns = [], []
    for name in items.columns:
        if name not in OWN_COLUMNS:
            kind, column = _attribute(items[name])
            attributes.append(Attribute(name=name, kind=kind))
            columns.append(column)
    table = own.with_columns(columns).to_arrow(compat_level=pl.CompatLevel.oldest())
    return table.cast(_plain(table.schema)), tuple(attributes)


def _attribute(column: pl.Series) -> tuple[str, pl.Series]:
    if column.dtype == pl.Boolean:
        return "boolean", column
    if column.dtype.is_numeric():
        return "number", column.cast(pl.Float64)
    if column.dtype == pl.List(pl.String):
        return "tags", column.list.drop_nulls()
    if column.dtype in {pl.String, pl.Categorical}:
        strings = column.cast(pl.String)
        if strings.str.contains("|", literal=True).any():
            return "tags", strings.str.split("|")
        return "category", strings
    raise DatasetRejected(
        f"items: column {column.name} is {column.dtype}; an attribute is text (category), "
        "a list of texts (tags), a number or a boolean"
    )


def _plain(schema: pa.Schema) -> pa.Schema:
    """large_string and large_list, which Polars prefers, as the bundle format's plain ones."""

    def plain(kind: pa.DataType) -> pa.DataType:
        if pa.types.is_large_string(kind):
            return pa.string()
        if pa.types.is_large_list(kind):
            return pa.list_(pa.string())
        return kind

    return pa.schema([pa.field(field.name, plain(field.type)) for field in schema])


def seconds(frame: pl.DataFrame, table: str, name: str) -> pl.Expr:
    """Unix seconds from numbers, times, or ISO 8601 text (UTC where no offset is given).

    Raises DatasetRejected for other types.
    """
    column, kind = pl.col(name), frame.schema[name]
    if kind.is_numeric():
        return column.cast(pl.Float64)
    if kind == pl.String:
        column, kind = column.str.to_datetime(time_zone="UTC", strict=False), pl.Datetime("us")
    if isinstance(kind, pl.Datetime | pl.Date):
        return column.cast(pl.Datetime("us")).dt.epoch("us").cast(pl.Float64) / 1e6
    raise DatasetRejected(
        f"{table}: column {name} is {kind}; a time is a number (Unix seconds), a timestamp "
        "or ISO text"
    )


def read_table(directory: Path, name: str) -> pl.DataFrame:
    """``name``.parquet or ``name``.csv, as it is. Raises DatasetRejected."""
    parquet, csv = directory / f"{name}.parquet", directory / f"{name}.csv"
    try:
        if parquet.is_file():
            return pl.read_parquet(parquet)
        if csv.is_file():
            ids = ("user_id", "item_id", "title", "text", "image")
            overrides = dict.fromkeys(ids, pl.String)
            return pl.read_csv(csv, infer_schema_length=10_000, schema_overrides=overrides)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DatasetRejected(f"{directory / name}: {str(error).splitlines()[0]}") from None
    raise DatasetRejected(f"{directory}: neither {parquet.name} nor {csv.name} is there")


def _csv(path: Path, columns: tuple[str, ...]) -> pl.DataFrame:
    try:
        frame = pl.read_csv(path, infer_schema_length=10_000)
    except FileNotFoundError:
        raise DatasetRejected(f"{path}: not found") from None
    except pl.exceptions.PolarsError as error:
        raise DatasetRejected(f"{path}: {str(error).splitlines()[0]}") from None
    require(frame, path.name, columns)
    return frame


def require(frame: pl.DataFrame, table: str, columns: tuple[str, ...]) -> None:
    """Raises DatasetRejected where a column is missing."""
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise DatasetRejected(f"{table}: no column {', '.join(missing)}; there are {frame.columns}")
