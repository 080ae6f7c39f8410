"""From event logs to a data set: what users did, beside the items and events known before."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pyarrow as pa

from tamis_pipeline.dataset import (
    EVENT_TYPES,
    DatasetRejected,
    require,
    seconds,
)
from tamis_pipeline.readers.files import read_table
from tamis_server import eventlog
from tamis_server.bundles.directory import replacing

_LOGGED = {
    name: pl.Int32 if kind == pa.int32() else pl.Float64 if kind == pa.float64() else pl.String
    for name, kind in zip(eventlog.SCHEMA.names, eventlog.SCHEMA.types, strict=True)
}
# decides the order of events at the same time: the same events make the same file
_ORDER = ("timestamp", "user_id", "item_id", "event_type", "event_id")
_IDENTITY = ("user_id", "event_id")  # as the server counts: ids are unique among a user's events


@dataclass(frozen=True, slots=True)
class Ingested:
    """What ``ingest`` read and wrote. Counts are events, but for ``files``.

    events: taken from the logs; duplicates: left out, their user had that id before; outside: left
    out, before ``since`` or after ``until``; known: were in the input; unknown_items: of what was
    written, of items that its item table has not; kinds: taken from the logs, by event type;
    unfinished: journals beside the files, which a server still writes or will finish."""

    files: int
    events: int
    duplicates: int
    outside: int
    known: int
    unknown_items: int
    kinds: Mapping[str, int]
    unfinished: int


def ingest(
    logs: Sequence[Path],
    out: Path,
    source: Path | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Ingested:
    """Write the data set ``source`` with the events of ``logs`` to ``out``, all or nothing.

    Without a ``source`` the items are those that events name. ``since`` (inclusive) and ``until``
    (exclusive) bound the time of logged events; without an offset they are UTC. An event id of a
    user counts once: that of ``source`` before those of the logs, and of these the first received.
    What other files ``source`` holds are copied. Raises DatasetRejected, SegmentRejected.
    """
    if source is not None and source.resolve() in out.resolve().parents:
        raise DatasetRejected(f"{out}: lies in the input {source}")
    paths = [path for directory in logs for path in _segments(directory)]
    logged = _logged(paths)
    given = logged.height
    logged = _within(logged, since, until)
    outside = given - logged.height
    known, items = _known(source), _items(source, logged)
    fresh = logged.unique(_IDENTITY, keep="first", maintain_order=True)
    if "event_id" in known.columns:
        fresh = fresh.join(known.select(_IDENTITY).drop_nulls(), on=_IDENTITY, how="anti")
    merged = pl.concat([known, fresh], how="diagonal").sort(
        *_ORDER, nulls_last=True, maintain_order=True
    )
    if merged.is_empty():
        raise DatasetRejected(f"{', '.join(map(str, logs))}: no event to ingest")
    unknown = merged.join(items, on="item_id", how="anti").height
    kinds = fresh.group_by("event_type").len().sort("event_type")
    _write(out, source, items, merged)
    return Ingested(
        files=len(paths),
        events=fresh.height,
        duplicates=logged.height - fresh.height,
        outside=outside,
        known=known.height,
        unknown_items=unknown,
        kinds=dict(kinds.iter_rows()),
        unfinished=sum(len(list(each.glob(f"*{eventlog.JOURNAL}"))) for each in logs),
    )


def _segments(directory: Path) -> list[Path]:
    if not directory.is_dir():
        raise DatasetRejected(f"{directory}: not a directory")
    return eventlog.segments(directory)


def _logged(paths: Sequence[Path]) -> pl.DataFrame:
    """All rows, in order of arrival; that of files and rows in them does not matter."""
    frames = []
    for path in paths:
        frame = pl.from_arrow(eventlog.read_segment(path))
        assert isinstance(frame, pl.DataFrame)  # noqa: S101 for mypy: a table makes a frame
        strange = frame.filter(~pl.col("event_type").is_in(list(EVENT_TYPES)))
        if strange.height:
            raise eventlog.SegmentRejected(
                f"{path}: event type {strange['event_type'][0]!r} is not known"
            )
        frames.append(frame)
    logged = pl.concat(frames) if frames else pl.DataFrame(schema=_LOGGED)
    return logged.sort("received_at", *logged.columns)


def _within(logged: pl.DataFrame, since: datetime | None, until: datetime | None) -> pl.DataFrame:
    if since is not None:
        logged = logged.filter(pl.col("timestamp") >= _unix(since))
    if until is not None:
        logged = logged.filter(pl.col("timestamp") < _unix(until))
    return logged


def _unix(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _items(source: Path | None, logged: pl.DataFrame) -> pl.DataFrame:
    """The ids of ``source``, or those that events name."""
    table = logged if source is None else read_table(source, "items")
    require(table, "items", ("item_id",))
    return table.select(pl.col("item_id").cast(pl.String).drop_nulls().unique().sort())


def _known(source: Path | None) -> pl.DataFrame:
    """The interactions of ``source``, in the types of the log where both have a column."""
    if source is None:
        return pl.DataFrame(schema=_LOGGED)
    table = read_table(source, "interactions")
    require(table, "interactions", ("user_id", "item_id", "timestamp"))
    if "event_type" not in table.columns:
        table = table.with_columns(event_type=pl.lit("view"))
    times = [name for name in ("timestamp", "received_at") if name in table.columns]
    others = {name: kind for name, kind in _LOGGED.items() if name not in times}
    try:
        return table.with_columns(
            *(seconds(table, "interactions", name) for name in times),
            *(pl.col(name).cast(others[name]) for name in table.columns if name in others),
        )
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise DatasetRejected(f"{source / 'interactions'}: {reason}") from None


def _write(out: Path, source: Path | None, items: pl.DataFrame, events: pl.DataFrame) -> None:
    with replacing(out) as directory:
        if source is None:
            items.write_parquet(directory / "items.parquet")
        else:
            replaced = shutil.ignore_patterns("interactions.parquet", "interactions.csv")
            shutil.copytree(source, directory, ignore=replaced, dirs_exist_ok=True)
        events.write_parquet(directory / "interactions.parquet")
