"""The files of the event log: what the server writes and the pipeline ingests.

A log is a directory of segments, each a Parquet file with one row an event. A segment that is
still being written is a journal beside them: an Arrow IPC stream, readable up to its last whole
batch whatever became of its writer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tamis_server.domain.context import EventKind
from tamis_server.domain.errors import FailureCategory, TamisError
from tamis_server.domain.events import Events

VERSION = 1
SEGMENT = ".parquet"
JOURNAL = ".journal"
PARTIAL = ".partial"

_VERSION_KEY = b"tamis.event_log.version"
_NAME = re.compile(r"events-\d{8}T\d{6}Z-[0-9a-f]+-\d{6}")

# the first four are the pipeline's interactions table (docs/own-data.md), under its names
SCHEMA = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("timestamp", pa.float64(), nullable=False),  # Unix seconds
        pa.field("event_type", pa.string(), nullable=False),  # an EventKind's name, lower case
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("session_id", pa.string(), nullable=False),  # "": not known
        pa.field("request_id", pa.string(), nullable=False),  # "": no answer led to it
        pa.field("position", pa.int32(), nullable=False),  # from 1; 0: not known
        pa.field("received_at", pa.float64(), nullable=False),  # Unix seconds, the server's clock
    ],
    metadata={_VERSION_KEY: str(VERSION).encode()},
)

_KINDS = np.array([kind.name.lower() for kind in EventKind], object)


class SegmentRejected(TamisError):
    """A file that is no readable part of an event log: names it and says why."""

    category = FailureCategory.CLIENT


@dataclass(frozen=True, slots=True)
class Received:
    """Events, and when the server got them (Unix seconds)."""

    events: Events
    at: float

    def __len__(self) -> int:
        return len(self.events)


def stem(now: float, writer: str, number: int) -> str:
    """The name of a segment, without suffix: when it was begun, by whom, and its number there."""
    return f"events-{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}-{writer}-{number:06}"


def to_batch(received: Sequence[Received]) -> pa.RecordBatch:
    """Rows of ``SCHEMA``, of one batch or more. Raises ValueError or TypeError for what does not
    fit."""
    events = Events.joined([each.events for each in received])
    columns = (
        events.user_ids,
        events.item_ids,
        events.times,
        _KINDS[events.kinds],
        events.event_ids,
        events.session_ids,
        events.request_ids,
        events.positions,
        np.repeat([each.at for each in received], [len(each) for each in received]),
    )
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def check_schema(path: Path, schema: pa.Schema) -> None:
    """Raises SegmentRejected where ``schema``, found in ``path``, is not that of this version."""
    version = (schema.metadata or {}).get(_VERSION_KEY)
    if version is None:
        raise SegmentRejected(f"{path}: not a file of an event log")
    if version != str(VERSION).encode():
        raise SegmentRejected(
            f"{path}: version {version.decode(errors='replace')} of the event log; "
            f"this program reads version {VERSION}"
        )
    if not schema.equals(SCHEMA):
        raise SegmentRejected(f"{path}: its columns are not those of version {VERSION}")


def segments(directory: Path) -> list[Path]:
    """The finished segments, by name. Journals and files being written are none.

    Raises SegmentRejected for a Parquet file that goes by another name.
    """
    found = sorted(directory.glob(f"*{SEGMENT}"))
    for path in found:
        if not _NAME.fullmatch(path.stem):
            raise SegmentRejected(
                f"{path}: not a file of an event log; those are named events-<time>-<writer>-"
                f"<number>{SEGMENT}"
            )
    return found


def read_segment(path: Path) -> pa.Table:
    """A finished segment, whole, as a table of ``SCHEMA``. Raises SegmentRejected."""
    try:
        with pq.ParquetFile(path) as file:
            check_schema(path, file.schema_arrow)
            return file.read()
    except (OSError, pa.ArrowException) as error:
        raise SegmentRejected(f"{path}: {str(error).splitlines()[0]}") from None
