"""Interactions and items of any origin, in one form; what can't be read is counted, not hidden."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

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
class HeldOut:
    """A published test part: users int32[n], the item of each, items int32[n], and the items that
    it is to be told from, negatives int32[n, m] (rows)."""

    users: Int32
    items: Int32
    negatives: Int32


@dataclass(frozen=True, slots=True)
class Dataset:
    """items: as in a bundle's items.parquet; user_ids: by number; problems: how many rows of the
    source were dropped, or mended, and why; profiles: user_id and attributes, one row for each of
    user_ids, null where nothing is known; held_out: where the data set comes with its own; noted:
    what is used although something is missing, and how often."""

    name: str
    items: pa.Table
    attributes: tuple[Attribute, ...]
    user_ids: tuple[str, ...]
    interactions: Interactions
    problems: Mapping[str, int]
    profiles: pa.Table | None = None
    profile_attributes: tuple[Attribute, ...] = ()
    held_out: HeldOut | None = None
    noted: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tables:
    """What a reader finds, as it stands in the source: items (docs/own-data.md), interactions,
    users (user_id and attributes) and a test part (user_id, item_id, negatives list of item_id)."""

    items: pl.DataFrame
    interactions: pl.DataFrame | None = None
    users: pl.DataFrame | None = None
    held_out: pl.DataFrame | None = None
    problems: Mapping[str, int] = field(default_factory=dict)


def assemble(name: str, tables: Tables) -> Dataset:
    """Check and number all tables; what does not fit is dropped and counted in ``problems``."""
    if tables.interactions is None:
        raise DatasetRejected(
            f"{name}: is a catalogue without interactions; tamis pipeline simulate makes some"
        )
    counts = dict(tables.problems)
    items = _clean_items(tables.items, counts)
    table, attributes = _item_table(items)
    row_of = items.select("item_id", row=pl.int_range(pl.len(), dtype=pl.Int32))
    events = _clean_interactions(tables.interactions, row_of, counts)
    if events.is_empty():
        raise DatasetRejected(f"interactions: none is usable; dropped: {counts}")
    # numbered by name, not by first appearance: a user's number does not depend on file order
    users = events.select(pl.col("user_id").unique().sort())
    number_of = users.with_columns(user=pl.int_range(pl.len(), dtype=pl.Int32))
    events = events.join(number_of, on="user_id").sort("timestamp", "user", "row", "kind")
    profiles, profile_attributes = _profiles(tables.users, users, counts)
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
        profiles,
        profile_attributes,
        None if tables.held_out is None else _held_out(tables.held_out, number_of, row_of),
        _noted(table, tables.interactions, events),
    )


def _noted(items: pa.Table, given: pl.DataFrame, events: pl.DataFrame) -> dict[str, int]:
    table = pl.DataFrame(items.select(["title", "text", "image"]))
    each = events.group_by("user").len()
    times = given.select(seconds(given, "interactions", "timestamp")).to_series()
    counts = {
        "items without title and text (known by attributes and picture)": table.select(
            ((pl.col("title") == "") & (pl.col("text") == "")).sum()
        ).item(),
        "items without a picture (known by attributes and text)": table["image"].null_count(),
        "users of one interaction (nothing to learn a taste from)": int((each["len"] == 1).sum()),
        "interactions earlier than the one before (sorted)": int((times.diff() < 0).sum()),
    }
    return {what: count for what, count in counts.items() if count}


def _profiles(
    profiles: pl.DataFrame | None, users: pl.DataFrame, counts: dict[str, int]
) -> tuple[pa.Table | None, tuple[Attribute, ...]]:
    if profiles is None:
        return None, ()
    require(profiles, "users", ("user_id",))
    profiles = profiles.with_columns(pl.col("user_id").cast(pl.String))
    unique = profiles.unique("user_id", keep="first", maintain_order=True)
    counts["users with the id of another (the first is kept)"] = len(profiles) - len(unique)
    return _attribute_table(users.join(unique, on="user_id", how="left", maintain_order="left"))


def _attribute_table(frame: pl.DataFrame) -> tuple[pa.Table, tuple[Attribute, ...]]:
    """The first column as it is, and the rest as attributes."""
    found = [(name, *_attribute(frame[name])) for name in frame.columns[1:]]
    table = frame.select(pl.col(frame.columns[0]), *(column for *_, column in found))
    plain = table.to_arrow(compat_level=pl.CompatLevel.oldest())
    attributes = tuple(Attribute(name=name, kind=kind) for name, kind, _ in found)
    return plain.cast(_plain(plain.schema)), attributes


def _held_out(pairs: pl.DataFrame, number_of: pl.DataFrame, row_of: pl.DataFrame) -> HeldOut:
    rows = dict(row_of.iter_rows())
    numbers = dict(number_of.iter_rows())
    try:
        return HeldOut(
            np.array([numbers[user] for user in pairs["user_id"]], np.int32),
            np.array([rows[item] for item in pairs["item_id"]], np.int32),
            np.array([[rows[item] for item in own] for own in pairs["negatives"]], np.int32),
        )
    except KeyError as unknown:
        raise DatasetRejected(f"held-out pairs: {unknown} is not in the other tables") from None


def _clean_items(items: pl.DataFrame, counts: dict[str, int]) -> pl.DataFrame:
    require(items, "items", ("item_id",))
    items = items.with_columns(pl.col("item_id").cast(pl.String))
    known = items.filter(pl.col("item_id").fill_null("") != "")
    counts["items without an id"] = len(items) - len(known)
    unique = known.unique("item_id", keep="first", maintain_order=True)
    counts["items with the id of another (the first is kept)"] = len(known) - len(unique)
    if unique.is_empty():
        raise DatasetRejected("items: there is none")
    return _finite(unique, counts)


def _finite(items: pl.DataFrame, counts: dict[str, int]) -> pl.DataFrame:
    """NaN and infinities of attributes as what they are to any model: missing."""
    for name, kind in items.schema.items():
        if kind.is_float() and name not in OWN_COLUMNS:
            strange = items[name].is_not_null() & ~items[name].is_finite().fill_null(True)
            reason = f"items whose {name} is no finite number (taken as missing)"
            counts[reason] = int(strange.sum())
            items = items.with_columns(pl.when(~strange).then(pl.col(name)).alias(name))
    return items


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
    if kind.is_numeric() or kind == pl.Null:
        return column.cast(pl.Float64)
    if kind == pl.String:
        column, kind = iso_time(column), pl.Datetime("us")
    if isinstance(kind, pl.Datetime | pl.Date):
        return column.cast(pl.Datetime("us")).dt.epoch("us").cast(pl.Float64) / 1e6
    raise DatasetRejected(
        f"{table}: column {name} is {kind}; a time is a number (Unix seconds), a timestamp "
        "or ISO text"
    )


def iso_time(column: pl.Expr) -> pl.Expr:
    """Datetime of ISO 8601 text, each value in its own form; null where it is none."""
    text = column.str.strip_chars().str.replace("[Tt]", " ").str.replace("[zZ]$", "+00:00")
    days = text.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us"))
    clocks = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M")

    def moment(form: str) -> pl.Expr:
        return text.str.to_datetime(form, time_unit="us", strict=False)

    return pl.coalesce(
        *(moment(f"{clock}%#z") for clock in clocks),
        *(moment(clock).dt.replace_time_zone("UTC") for clock in clocks),
        days.dt.replace_time_zone("UTC"),
    )


def require(frame: pl.DataFrame, table: str, columns: tuple[str, ...]) -> None:
    """Raises DatasetRejected where a column is missing."""
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise DatasetRejected(f"{table}: no column {', '.join(missing)}; there are {frame.columns}")
