"""The event log: accepted events on their way to Parquet files, off the request path."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tamis_server import eventlog
from tamis_server.adapters.embedded.segments import Segments
from tamis_server.domain.errors import FailureCategory, TamisError
from tamis_server.domain.events import Events
from tamis_server.eventlog import Received

log = logging.getLogger(__name__)

_BATCH = 10_000  # events written at a time, and as many more as were taken over together
_RETRY_S = 1.0  # after the disk refused

FULL, CLOSED, REFUSED, INVALID = "queue full", "closed", "disk refused", "invalid"


class EventLogUnusable(TamisError):
    """The directory can't be written to: names it and says why."""

    category = FailureCategory.CLIENT


@dataclass(frozen=True, slots=True)
class EventLogCounters:
    """written: events on disk; pending: accepted and not there yet; dropped: events by reason;
    files: Parquet files finished; bytes: written to journals; last_error: "" while all is well."""

    written: int
    pending: int
    dropped: Mapping[str, int]
    files: int
    bytes: int
    last_error: str


class NoEventLog:
    """Where no directory is set, events are not logged."""

    def start(self) -> None:
        return

    def append(self, events: Events) -> None:
        return

    async def close(self) -> None:
        return

    @property
    def counters(self) -> EventLogCounters:
        return EventLogCounters(0, 0, {}, 0, 0, "")


class ParquetEventLog:
    """An EventLog in ``directory``, which other processes may share; one thread writes it.

    ``rotate_bytes``, ``rotate_s``: when a segment is closed; ``flush_s``: how long events gather
    before they are written and synced, which is what kill -9 can cost; ``max_pending``: events
    in memory, beyond which they are dropped; ``clock``: Unix seconds.
    """

    def __init__(
        self,
        directory: Path,
        *,
        rotate_bytes: int,
        rotate_s: float,
        flush_s: float,
        max_pending: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._directory = directory
        self._flush_s = flush_s
        self._max_pending = max_pending
        self._clock = clock
        self._segments = Segments(
            directory, rotate_bytes=rotate_bytes, rotate_s=rotate_s, clock=clock
        )
        self._changed = threading.Condition()  # guards all that follows
        self._queue: list[Received] = []
        self._queued = 0  # events in it
        self._held = 0  # taken from the queue by the thread, not written yet
        self._closing = False
        self._overflowing = False
        self._written = 0
        self._dropped: Counter[str] = Counter()
        self._last_error = ""
        self._thread = threading.Thread(target=self._run, name="event-log", daemon=True)

    def start(self) -> None:
        """Begin to write, with what dead processes left. Raises EventLogUnusable."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EventLogUnusable(f"event log {self._directory}: {error.strerror}") from None
        if not os.access(self._directory, os.R_OK | os.W_OK | os.X_OK):
            raise EventLogUnusable(f"event log {self._directory}: may not be written to")
        self._thread.start()

    def append(self, events: Events) -> None:
        """Take events over; what there is no room for is dropped and counted."""
        now = self._clock()
        with self._changed:
            if self._closing:
                self._dropped[CLOSED] += len(events)
                return
            room = max(0, self._max_pending - self._held - self._queued)
            before = self._queued
            taken = events.part(0, room)
            if len(taken):
                self._queue.append(Received(taken, now))
                self._queued += len(taken)
            dropped = len(events) - len(taken)
            starts_burst = dropped > 0 and not self._overflowing
            if dropped > 0:
                self._dropped[FULL] += dropped
                self._overflowing = True
            if not before or self._crowded():
                self._changed.notify()
        if starts_burst:
            log.error(
                "the event log does not keep up and drops events",
                extra={"pending": self._max_pending, "last_error": self._last_error},
            )

    async def close(self) -> None:
        """Write what is pending and finish the open file. Later events are dropped."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)

    @property
    def counters(self) -> EventLogCounters:
        with self._changed:
            return EventLogCounters(
                written=self._written,
                pending=self._held + self._queued,
                dropped=dict(self._dropped),
                files=self._segments.files,
                bytes=self._segments.bytes,
                last_error=self._last_error,
            )

    def _crowded(self) -> bool:
        return self._held + self._queued >= self._max_pending // 2

    def _run(self) -> None:
        held: list[Received] = []
        try:
            self._attempt(self._segments.sweep)
            closing = False
            while not closing:
                closing = self._take(held)
                self._attempt(lambda: self._write(held))
                if closing or self._segments.due_in == 0:
                    self._attempt(self._segments.rotate)
                    self._attempt(self._segments.sweep)
        except Exception:
            log.exception("the event log has stopped")
        finally:
            self._end()

    def _take(self, held: list[Received]) -> bool:
        """Wait for something to do and move the queue to ``held``; True when it is the last."""
        with self._changed:
            if held:
                self._changed.wait_for(lambda: self._closing, _RETRY_S)
            else:
                self._changed.wait_for(lambda: self._queue or self._closing, self._segments.due_in)
                if self._queue:
                    self._changed.wait_for(lambda: self._closing or self._crowded(), self._flush_s)
            held += self._queue
            self._held += self._queued
            self._queue, self._queued = [], 0
            return self._closing

    def _write(self, held: list[Received]) -> None:
        """Write ``held`` and take off it what is written. Raises OSError."""
        while held:
            batch, size, invalid = [held[0]], len(held[0]), 0
            while size < _BATCH and len(batch) < len(held):
                batch.append(held[len(batch)])
                size += len(batch[-1])
            try:
                rows = eventlog.to_batch(batch)
            except (ValueError, TypeError):
                log.exception("events that can't be written are dropped")
                invalid = size
            else:
                self._segments.write(rows)
            del held[: len(batch)]
            with self._changed:
                self._held -= size
                self._written += size - invalid
                if invalid:
                    self._dropped[INVALID] += invalid
                self._last_error = ""
                if self._overflowing and not self._crowded():
                    self._overflowing = False

    def _attempt(self, step: Callable[[], None]) -> None:
        """Do ``step``; a disk that refuses is logged when it begins, and tried again later."""
        try:
            step()
        except OSError as error:
            if not self._last_error:
                log.error("the event log can't write", extra={"why": str(error)})
            self._last_error = str(error)

    def _end(self) -> None:
        with self._changed:
            self._closing = True
            lost = self._held + self._queued
            self._held, self._queued, self._queue = 0, 0, []
            if lost:
                self._dropped[REFUSED] += lost
        if lost:
            log.error("the event log ends with events unwritten", extra={"lost": lost})
