"""A segment of the event log while it grows: appended, synced, and at last made Parquet.

An Arrow IPC stream is its schema's message and then one message a batch, so that appending is a
write at a known offset: one that failed half-way is written over by the next. The writer holds a
lock (flock) on the file; a journal without one is a dead process's, and anybody may finish it.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from tamis_server import eventlog

log = logging.getLogger(__name__)

_HEADER = eventlog.SCHEMA.serialize().to_pybytes()


class Journal:
    """An open segment, locked. Every method but ``release`` may raise OSError and be repeated."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.bytes = 0  # of whole batches, with the header
        self._descriptor = descriptor

    @classmethod
    def create(cls, path: Path) -> Self:
        """A new one at ``path``, which must not exist. Raises OSError."""
        journal = cls._locked(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        if journal is None:  # somebody took it for abandoned, before the lock: it is gone
            raise FileExistsError(f"{path} was taken by another process")
        try:
            journal._extend(_HEADER)
            _sync_directory(path.parent)
        except OSError:
            with contextlib.suppress(OSError):
                path.unlink()
            journal.release()
            raise
        return journal

    @classmethod
    def adopt(cls, path: Path) -> Self | None:
        """One that a dead process left; None where its writer lives, or it is gone."""
        try:
            return cls._locked(path, os.O_RDWR)
        except FileNotFoundError:
            return None

    @classmethod
    def _locked(cls, path: Path, flags: int) -> Self | None:
        descriptor = os.open(path, flags | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # whoever held it before may have finished and removed it since it was opened
            if os.fstat(descriptor).st_nlink:
                return cls(path, descriptor)
        except BlockingIOError:
            pass
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def append(self, batch: pa.RecordBatch) -> None:
        """Write rows of ``eventlog.SCHEMA``; on return they survive a crash of the machine."""
        self._extend(batch.serialize().to_pybytes())

    def seal(self) -> Path | None:
        """Make it a Parquet file and remove it; None where it holds no event.

        A reader sees the whole file or none: it is written under another name, synced, renamed.
        Raises SegmentRejected for a journal of another version.
        """
        found = self._read()
        segment = None
        if found is not None and found.num_rows:
            segment = self.path.with_suffix(eventlog.SEGMENT)
            partial = segment.with_name(segment.name + eventlog.PARTIAL)
            try:
                with partial.open("wb") as file:
                    pq.write_table(found, file, compression="zstd")
                    file.flush()
                    os.fsync(file.fileno())
                partial.rename(segment)
            except OSError:
                with contextlib.suppress(OSError):  # on a full disk its room is needed
                    partial.unlink()
                raise
            _sync_directory(segment.parent)
        self.path.unlink()
        return segment

    def release(self) -> None:
        """Unlock: what was not sealed is anybody's to finish."""
        os.close(self._descriptor)

    def _extend(self, message: bytes) -> None:
        view, end = memoryview(message), self.bytes
        try:
            while view:
                count = os.pwrite(self._descriptor, view, end)
                view, end = view[count:], end + count
            os.fsync(self._descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self.bytes)
            raise
        self.bytes = end

    def _read(self) -> pa.Table | None:
        """All whole batches. The bytes are read first: a disk's error is no torn end."""
        data = self.path.read_bytes()
        if len(data) < len(_HEADER):  # its writer died before the first event
            return None
        source = pa.BufferReader(data)
        try:
            reader = pa.ipc.open_stream(source)
        except (pa.ArrowException, OSError) as error:
            raise eventlog.SegmentRejected(f"{self.path}: {error}") from None
        eventlog.check_schema(self.path, reader.schema)
        batches, whole = [], source.tell()
        try:
            while True:
                batch = reader.read_next_batch()
                batch.validate(full=True)
                batches.append(batch)
                whole = source.tell()
        except StopIteration:
            pass
        except (pa.ArrowException, OSError):
            pass
        if whole < len(data):
            log.warning(
                "the end of a journal was torn and is left out",
                extra={"file": str(self.path), "lost_bytes": len(data) - whole},
            )
        return pa.Table.from_batches(batches, schema=eventlog.SCHEMA)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
