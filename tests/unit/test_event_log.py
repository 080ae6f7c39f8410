"""The event log: every event in a finished file, whatever the disk and the processes do."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.events import Event, columns
from tamis_server import eventlog
from tamis_server.adapters.embedded import journal
from tamis_server.adapters.embedded.event_log import (
    CLOSED,
    FULL,
    INVALID,
    REFUSED,
    EventLogUnusable,
    ParquetEventLog,
)
from tamis_server.adapters.embedded.journal import Journal
from tamis_server.adapters.embedded.segments import Segments
from tamis_server.domain.context import EventKind
from tamis_server.domain.events import Events
from tamis_server.eventlog import Received, SegmentRejected

START = 1_770_000_000.0
MIB = 1 << 20


@dataclass
class Clock:
    now: float = START

    def __call__(self) -> float:
        return self.now


def event(number: int, **fields: object) -> Event:
    values = {"user_id": "u", "item_id": f"item-{number}", "kind": EventKind.CLICK, "time": 1.5}
    return Event(f"event-{number}", **{**values, **fields})  # type: ignore[arg-type]


def events(*numbers: int) -> Events:
    return columns(*map(event, numbers))


def batch(*numbers: int) -> object:
    return eventlog.to_batch([Received(events(*numbers), START)])


def open_log(directory: Path, **options: object) -> ParquetEventLog:
    values = {"rotate_bytes": MIB, "rotate_s": 60.0, "flush_s": 0.001, "max_pending": 100_000}
    return ParquetEventLog(directory, **{**values, **options})  # type: ignore[arg-type]


def open_segments(directory: Path, clock: Clock, *, rotate_bytes: int = MIB) -> Segments:
    return Segments(directory, rotate_bytes=rotate_bytes, rotate_s=60.0, clock=clock)


def logged(directory: Path) -> list[str]:
    found: list[str] = []
    for path in eventlog.segments(directory):
        found += eventlog.read_segment(path).column("event_id").to_pylist()
    return sorted(found, key=lambda event_id: int(event_id.removeprefix("event-")))


def ids(numbers: Sequence[int]) -> list[str]:
    return [f"event-{number}" for number in numbers]


def suffixes(directory: Path) -> set[str]:
    return {path.suffix for path in directory.iterdir()}


async def test_a_clean_stop_loses_nothing_and_leaves_parquet_only(tmp_path: Path) -> None:
    log = open_log(tmp_path / "new" / "log")
    log.start()
    for number in range(0, 30_000, 100):
        log.append(events(*range(number, number + 100)))
    await log.close()
    assert logged(tmp_path / "new" / "log") == ids(range(30_000))
    assert suffixes(tmp_path / "new" / "log") == {".parquet"}
    counters = log.counters
    assert (counters.written, counters.pending, counters.dropped) == (30_000, 0, {})
    assert counters.files == len(eventlog.segments(tmp_path / "new" / "log"))
    assert counters.bytes > 30_000
    assert counters.last_error == ""


async def test_a_row_is_what_the_pipeline_takes_in(tmp_path: Path) -> None:
    log = open_log(tmp_path, clock=Clock())
    log.start()
    log.append(columns(Event("e", "u", "i", EventKind.ADD_TO_CART, 2.25, "s", "r", 3)))
    await log.close()
    (path,) = eventlog.segments(tmp_path)
    assert path.name.startswith("events-20260202T024000Z-")
    assert eventlog.read_segment(path).to_pylist() == [
        {
            "user_id": "u",
            "item_id": "i",
            "timestamp": 2.25,
            "event_type": "add_to_cart",
            "event_id": "e",
            "session_id": "s",
            "request_id": "r",
            "position": 3,
            "received_at": START,
        }
    ]


async def test_a_log_without_events_writes_no_file(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    log.start()
    await log.close()
    assert suffixes(tmp_path) == set()


async def test_events_after_the_end_are_counted(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    log.start()
    await log.close()
    log.append(events(1))
    assert log.counters.dropped == {CLOSED: 1}


async def test_what_there_is_no_room_for_is_counted_and_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = open_log(tmp_path, max_pending=5)
    log.append(events(*range(8)))  # not started: nothing makes room
    log.append(events(8, 9))
    assert log.counters.dropped == {FULL: 5}
    assert log.counters.pending == 5
    assert len(caplog.records) == 1
    log.start()
    await log.close()
    assert logged(tmp_path) == ids(range(5))


async def test_events_that_do_not_fit_the_format_stop_nothing(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    log.append(columns(event(1, session_id="\ud800")))
    log.start()
    await log.close()
    assert log.counters.dropped == {INVALID: 1}


def test_a_directory_that_can_not_be_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EventLogUnusable, match=r"event log .*file"):
        open_log(tmp_path / "file").start()


def test_a_journal_is_closed_by_its_age(tmp_path: Path) -> None:
    clock = Clock()
    segments = open_segments(tmp_path, clock)
    assert segments.due_in is None
    segments.write(batch(1))
    clock.now += 59
    assert segments.due_in == 1
    assert not eventlog.segments(tmp_path)
    clock.now += 1
    assert segments.due_in == 0
    segments.rotate()
    assert logged(tmp_path) == ids([1])
    assert segments.due_in is None


def test_a_clock_that_was_set_back_does_not_hold_a_journal_open(tmp_path: Path) -> None:
    clock = Clock()
    segments = open_segments(tmp_path, clock)
    segments.write(batch(1))
    clock.now -= 3600
    assert segments.due_in == 0


def test_a_journal_is_closed_by_its_size(tmp_path: Path) -> None:
    segments = open_segments(tmp_path, Clock(), rotate_bytes=20_000)
    segments.write(batch(1))
    assert segments.due_in == 60
    segments.write(batch(*range(2, 500)))
    assert segments.due_in == 0
    segments.rotate()
    segments.write(batch(500))
    segments.rotate()
    assert len(eventlog.segments(tmp_path)) == segments.files == 2
    assert logged(tmp_path) == ids(range(1, 501))


WRITER = """
import os, sys
from pathlib import Path
sys.path.insert(0, os.environ["TESTS"])
from unit.test_event_log import Clock, batch, open_segments
segments = open_segments(Path(sys.argv[1]), Clock())
segments.write(batch(1, 2))
segments.write(batch(3))
print("written", flush=True)
sys.stdin.read()
"""


class Writer:
    """A process that has written events 1 to 3 and holds its journal open."""

    def __init__(self, directory: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(directory)],
            env={**os.environ, "TESTS": str(Path(__file__).parents[1])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"written\n"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


async def test_what_a_killed_process_wrote_is_found_at_the_next_start(tmp_path: Path) -> None:
    Writer(tmp_path).kill()
    assert suffixes(tmp_path) == {".journal"}
    log = open_log(tmp_path)
    log.start()
    await log.close()
    assert logged(tmp_path) == ids([1, 2, 3])
    assert suffixes(tmp_path) == {".parquet"}


async def test_processes_share_a_directory_and_take_nothing_from_the_living(
    tmp_path: Path,
) -> None:
    writer = Writer(tmp_path)
    try:
        log = open_log(tmp_path)
        log.start()
        log.append(events(4))
        await log.close()
        assert logged(tmp_path) == ids([4])
        assert suffixes(tmp_path) == {".journal", ".parquet"}
    finally:
        writer.kill()
    open_segments(tmp_path, Clock()).sweep()
    assert logged(tmp_path) == ids([1, 2, 3, 4])


@pytest.mark.parametrize("torn", [b"\xff", b"\xff\xff\xff\xff\x00\x01\x00\x00abc", b"\0" * 64])
def test_of_a_torn_journal_all_whole_batches_are_kept(tmp_path: Path, torn: bytes) -> None:
    Writer(tmp_path).kill()
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes() + torn)
    open_segments(tmp_path, Clock()).sweep()
    assert logged(tmp_path) == ids([1, 2, 3])


def test_half_a_last_batch_is_left_out_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Writer(tmp_path).kill()
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-20])
    open_segments(tmp_path, Clock()).sweep()
    assert logged(tmp_path) == ids([1, 2])
    assert any("torn" in record.message for record in caplog.records)


def test_a_journal_without_events_is_removed(tmp_path: Path) -> None:
    path = tmp_path / (eventlog.stem(START, "abc", 1) + ".journal")
    path.write_bytes(b"\xff\xff")
    open_segments(tmp_path, Clock()).sweep()
    assert not list(tmp_path.iterdir())


def test_a_journal_that_is_no_journal_is_left_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / (eventlog.stem(START, "abc", 1) + ".journal")
    path.write_bytes(b"somebody's notes " * 1000)
    open_segments(tmp_path, Clock()).sweep()
    assert path.exists()
    assert "can't be read" in caplog.text


def test_a_crash_between_the_parquet_file_and_the_end_of_its_journal_doubles_nothing(
    tmp_path: Path,
) -> None:
    segments = open_segments(tmp_path, Clock())
    segments.write(batch(1))
    (path,) = tmp_path.iterdir()
    kept = path.read_bytes()
    segments.rotate()
    path.write_bytes(kept)
    open_segments(tmp_path, Clock()).sweep()
    assert logged(tmp_path) == ids([1])
    assert suffixes(tmp_path) == {".parquet"}


def test_a_journal_that_another_has_finished_is_not_adopted(tmp_path: Path) -> None:
    segments = open_segments(tmp_path, Clock())
    segments.write(batch(1))
    (path,) = tmp_path.iterdir()
    assert Journal.adopt(path) is None
    segments.rotate()
    assert Journal.adopt(path) is None


class Disk:
    """A disk with ``room`` for so many bytes, below all that journals write."""

    def __init__(self, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room = room
        self.refused = threading.Event()
        self._pwrite = os.pwrite
        monkeypatch.setattr(journal.os, "pwrite", self.pwrite)

    def pwrite(self, descriptor: int, data: memoryview, offset: int) -> int:
        if not self.room:
            self.refused.set()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        count = self._pwrite(descriptor, data[: self.room], offset)
        self.room -= count
        return count


async def test_on_a_full_disk_events_wait_and_are_written_once_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disk = Disk(1_500, monkeypatch)  # the header, and half a batch
    log = open_log(tmp_path)
    log.start()
    log.append(events(*range(100)))
    assert disk.refused.wait(30)
    log.append(events(*range(100, 200)))
    disk.room = 1 << 30
    await log.close()
    assert logged(tmp_path) == ids(range(200))
    counters = log.counters
    assert (counters.written, counters.dropped, counters.last_error) == (200, {}, "")
    assert sum(record.levelno == logging.ERROR for record in caplog.records) == 1


async def test_what_a_full_disk_never_took_is_counted_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Disk(0, monkeypatch)
    log = open_log(tmp_path, max_pending=10)
    log.start()
    log.append(events(*range(15)))
    await log.close()
    counters = log.counters
    assert counters.dropped == {FULL: 5, REFUSED: 10}
    assert "No space left" in counters.last_error
    assert suffixes(tmp_path) == set()


def test_a_journal_whose_parquet_file_found_no_room_is_finished_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    segments = open_segments(tmp_path, Clock())
    segments.write(batch(1))
    with monkeypatch.context() as patched:
        patched.setattr(journal.pq, "write_table", full)
        with pytest.raises(OSError, match="No space left"):
            segments.rotate()
    assert suffixes(tmp_path) == {".journal"}
    segments.write(batch(2))
    segments.rotate()
    segments.sweep()
    assert logged(tmp_path) == ids([1, 2])


def test_a_foreign_or_corrupt_file_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "sales.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(SegmentRejected, match=r"sales\.parquet: not a file of an event log"):
        eventlog.segments(tmp_path)
    path = path.rename(tmp_path / (eventlog.stem(START, "abc", 1) + ".parquet"))
    with pytest.raises(SegmentRejected, match=path.name):
        eventlog.read_segment(path)
