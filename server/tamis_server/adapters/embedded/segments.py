"""One process's part of the event log on disk: the journal it fills, and when that is closed."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from tamis_server import eventlog
from tamis_server.adapters.embedded.journal import Journal

log = logging.getLogger(__name__)


class Segments:
    """Writes batches to a journal and turns it into Parquet by size and age. For one thread.

    ``rotate_bytes``: of a journal, before compression; ``rotate_s``: from its first event;
    ``clock``: Unix seconds.
    """

    def __init__(
        self, directory: Path, *, rotate_bytes: int, rotate_s: float, clock: Callable[[], float]
    ) -> None:
        self._directory = directory
        self._rotate_bytes = rotate_bytes
        self._rotate_s = rotate_s
        self._clock = clock
        # process ids repeat, in containers most of all: many of them are number 1
        self._writer = secrets.token_hex(4)
        self._number = 0
        self._journal: Journal | None = None
        self._opened = 0.0
        self.files = 0
        self.bytes = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows; on return they are on disk. Raises OSError: then nothing was added."""
        if self._journal is None:
            self._number += 1
            self._opened = self._clock()
            name = eventlog.stem(self._opened, self._writer, self._number) + eventlog.JOURNAL
            self._journal = Journal.create(self._directory / name)
        before = self._journal.bytes
        self._journal.append(batch)
        self.bytes += self._journal.bytes - before

    @property
    def due_in(self) -> float | None:
        """Seconds until the journal is to be closed, 0 when it is; None without one."""
        if self._journal is None:
            return None
        age = self._clock() - self._opened
        # an age below zero: the clock was set back, and would be waited for
        if age < 0 or self._journal.bytes >= self._rotate_bytes:
            return 0.0
        return max(0.0, self._rotate_s - age)

    def rotate(self) -> None:
        """Make the journal a Parquet file. Raises OSError; the journal is then left to sweeps."""
        journal, self._journal = self._journal, None
        if journal is not None:
            self._seal(journal)

    def sweep(self) -> None:
        """Finish the journals that no live process holds. Raises OSError."""
        for path in sorted(self._directory.glob(f"*{eventlog.JOURNAL}")):
            journal = Journal.adopt(path)
            if journal is not None:
                log.info("finishing the journal of a process that is gone", extra={"file": path})
                self._seal(journal)

    def _seal(self, journal: Journal) -> None:
        try:
            self.files += journal.seal() is not None
        except eventlog.SegmentRejected as error:  # another version's, or not ours: it stays
            log.warning("a journal can't be read and is left as it is", extra={"why": str(error)})
        finally:
            journal.release()
