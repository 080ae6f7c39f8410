"""What comes for as long as it comes, sent as one short stream after another.

A server lets go of every connection by age, and of all of them when it stops. A stream then has
``server.drain_s`` (10 s by default) left; one that goes on is cut, and nobody can say what of it
was taken. Streams that end by themselves before that are not cut.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from contextlib import suppress
from queue import Empty, Queue
from time import monotonic
from typing import Final, Generic, TypeVar

from tamis.v1.catalog_service_pb2 import StreamAvailabilityResponse
from tamis.v1.event_service_pb2 import StreamEventsResponse

T = TypeVar("T")
STREAM_S = 5.0  # less than server.drain_s
_MAX_REJECTED = 1_000  # that one answer holds


class _End:
    """Nothing more comes."""


_END: Final = _End()


class Streams(Generic[T]):
    """Deals out ``items``, in their order, to streams. A thread reads them: a stream must end in
    time even if nothing comes."""

    def __init__(self, items: Iterable[T]) -> None:
        self.over = False
        self._items = items
        self._error: Exception | None = None
        self._closed = False
        self._read: Queue[T | _End] = Queue(maxsize=1)
        threading.Thread(target=self._reading, name="tamis stream", daemon=True).start()

    def next(self) -> Iterator[T]:
        """What goes on the next stream; ``over`` once the last item has gone."""
        ends = monotonic() + STREAM_S
        while (left := ends - monotonic()) > 0:
            try:
                item = self._read.get(timeout=left)
            except Empty:
                return
            if isinstance(item, _End):
                self.over = True
                return
            yield item

    def close(self) -> None:
        """Read no more. Raises what reading ``items`` has raised."""
        self._closed = True
        with suppress(Empty):
            self._read.get_nowait()  # the thread may wait to put another
        if self._error is not None:
            raise self._error

    def _reading(self) -> None:
        try:
            for item in self._items:
                self._read.put(item)
                if self._closed:
                    return
        except Exception as error:
            self._error = error
        self._read.put(_END)


class AsyncStreams(Generic[T]):
    """The same by asyncio."""

    def __init__(self, items: AsyncIterable[T]) -> None:
        self.over = False
        self._items = aiter(items)
        self._error: Exception | None = None
        self._reading: asyncio.Task[T | _End] | None = None

    async def next(self) -> AsyncIterator[T]:
        """What goes on the next stream; ``over`` once the last item has gone."""
        ends = monotonic() + STREAM_S
        while (left := ends - monotonic()) > 0:
            if self._reading is None:
                self._reading = asyncio.create_task(self._read())
            done, _ = await asyncio.wait((self._reading,), timeout=left)
            if not done:
                return
            item, self._reading = self._reading.result(), None
            if isinstance(item, _End):
                self.over = True
                return
            yield item

    async def close(self) -> None:
        """Read no more. Raises what reading ``items`` has raised."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait((self._reading,))
        if self._error is not None:
            raise self._error

    async def _read(self) -> T | _End:
        try:
            return await anext(self._items, _END)
        except Exception as error:
            self._error = error
            return _END


def time_left(timeout_s: float | None) -> Callable[[], float | None]:
    """Tells what is left of it from now on; None for ever."""
    if timeout_s is None:
        return lambda: None
    ends = monotonic() + timeout_s
    return lambda: max(0.0, ends - monotonic())


def events_sum(answers: Iterable[StreamEventsResponse]) -> StreamEventsResponse:
    """What became of the events of streams, as if they had been one."""
    total = StreamEventsResponse()
    for answer in answers:
        before = total.recorded_count + total.duplicate_count + total.rejected_count
        for rejected in answer.rejected[: _MAX_REJECTED - len(total.rejected)]:
            total.rejected.add(
                index=before + rejected.index, event_id=rejected.event_id, reasons=rejected.reasons
            )
        total.recorded_count += answer.recorded_count
        total.duplicate_count += answer.duplicate_count
        total.rejected_count += answer.rejected_count
    return total


def availability_sum(answers: Iterable[StreamAvailabilityResponse]) -> StreamAvailabilityResponse:
    """The same of changes of availability."""
    return StreamAvailabilityResponse(changed_count=sum(each.changed_count for each in answers))
