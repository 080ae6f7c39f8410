"""Streams from the caller: what is counted, what is cut, and what is said of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

import grpc
import pytest

from support.edge import Held, edge
from support.engines import Bench
from tamis.v1.event_service_pb2 import StreamEventsRequest, StreamEventsResponse
from tamis.v1.event_service_pb2_grpc import EventServiceStub
from tamis.v1.item_pb2 import EVENT_KIND_VIEW, Event
from tamis_client import AsyncTamisClient, InvalidRequest, TamisClient, Unavailable, streams
from tamis_server.domain.candidates import Mask
from tamis_server.domain.context import UserState
from tamis_server.domain.events import Events
from tamis_server.domain.ports import UserStateStore


def view(event_id: str) -> Event:
    return Event(event_id=event_id, user_id="bob", item_id="item-1", kind=EVENT_KIND_VIEW)


class Ended:
    """The calls that have ended: their codes, and a turn to wait for the next."""

    def __init__(self) -> None:
        self.codes: list[str] = []
        self.loop = asyncio.get_running_loop()
        self._more = asyncio.Event()

    def observe(self, method: str, code: str, seconds: float) -> None:
        self.codes.append(code)
        self._more.set()

    async def reach(self, count: int) -> None:
        while len(self.codes) < count:
            self._more.clear()
            await self._more.wait()


class Watched:
    """A store that tells when it has recorded."""

    def __init__(self, store: UserStateStore) -> None:
        self._store = store
        self.event_ids: list[str] = []
        self.recorded = asyncio.Event()

    async def read(self, user_id: str, now: float) -> UserState:
        return await self._store.read(user_id, now)

    async def record(self, events: Events) -> Mask:
        recorded = await self._store.record(events)
        self.event_ids += events.event_ids
        self.recorded.set()
        return recorded


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "STREAM_S", 0.05)


@pytest.mark.usefixtures("short")
async def test_what_comes_for_long_goes_by_several_streams_and_is_counted_as_one(
    shop: Bench,
) -> None:
    ended = Ended()

    async def batches() -> AsyncIterator[list[Event]]:
        yield [view("long-0"), view("")]
        await ended.reach(1)
        yield [view("long-0"), view("long-1")]
        await ended.reach(2)
        yield [view("long-2"), view("")]

    async with (
        edge(shop, Held(shop.engine), observe=ended.observe) as target,
        AsyncTamisClient(target) as client,
    ):
        answer = await client.stream_events(batches())
    assert len(ended.codes) >= 3
    assert {*ended.codes} == {"OK"}
    assert (answer.recorded_count, answer.duplicate_count, answer.rejected_count) == (3, 1, 2)
    assert [rejected.index for rejected in answer.rejected] == [1, 5]


@pytest.mark.usefixtures("short")
async def test_the_blocking_client_ends_streams_too_while_nothing_comes(shop: Bench) -> None:
    ended = Ended()

    def batches() -> Iterator[list[Event]]:
        for count in range(1, 4):
            yield [view(f"blocking-{count}")]
            asyncio.run_coroutine_threadsafe(ended.reach(count), ended.loop).result()

    def ask(target: str) -> int:
        with TamisClient(target) as client:
            return client.stream_events(batches()).recorded_count

    async with edge(shop, Held(shop.engine), observe=ended.observe) as target:
        assert await asyncio.to_thread(ask, target) == 3
    assert len(ended.codes) >= 3
    assert {*ended.codes} == {"OK"}


async def test_a_stream_that_is_cut_fails_and_is_not_sent_again(shop: Bench) -> None:
    ended, store = Ended(), Watched(shop.store)

    async def batches() -> AsyncIterator[list[Event]]:
        for number in range(3):
            store.recorded.clear()
            yield [view(f"cut-{number}")]
            await store.recorded.wait()
        await asyncio.Event().wait()

    ages = {"max_connection_age_s": 0.5, "drain_s": 0.1}
    async with (
        edge(shop, Held(shop.engine), store, observe=ended.observe, **ages) as target,
        AsyncTamisClient(target) as client,
    ):
        with pytest.raises(Unavailable, match="max connection age"):
            await client.stream_events(batches())
        await ended.reach(1)
    assert store.event_ids == ["cut-0", "cut-1", "cut-2"]
    assert ended.codes == ["CANCELLED"]


async def test_a_stream_that_its_caller_gives_up_is_not_logged_as_answered(shop: Bench) -> None:
    ended, store = Ended(), Watched(shop.store)

    async def requests() -> AsyncIterator[StreamEventsRequest]:
        yield StreamEventsRequest(events=[view("given-up")])
        await asyncio.Event().wait()

    async with (
        edge(shop, Held(shop.engine), store, observe=ended.observe) as target,
        grpc.aio.insecure_channel(target) as channel,
    ):
        for count in range(1, 51):
            store.recorded.clear()
            call = EventServiceStub(channel).StreamEvents(requests())
            await store.recorded.wait()
            call.cancel()
            await ended.reach(count)
    assert {*ended.codes} == {"CANCELLED"}


async def test_a_refused_batch_ends_the_call_while_others_would_come(shop: Bench) -> None:
    released = threading.Event()

    def batches() -> Iterator[list[Event]]:
        yield [view("x")] * 10_001
        released.wait()

    def ask(target: str) -> None:
        with TamisClient(target) as client:
            client.stream_events(batches())

    async with edge(shop, Held(shop.engine)) as target:
        with pytest.raises(InvalidRequest, match="0 to 10000 are allowed"):
            await asyncio.to_thread(ask, target)
    released.set()


@pytest.mark.parametrize("blocking", [False, True])
async def test_an_error_of_the_callers_own_comes_back_to_it(shop: Bench, blocking: bool) -> None:
    store = Watched(shop.store)

    def batches() -> Iterator[list[Event]]:
        yield [view("before")]
        raise LookupError("no more of mine")

    async def later() -> AsyncIterator[list[Event]]:
        for batch in batches():
            yield batch

    def ask(target: str) -> StreamEventsResponse:
        with TamisClient(target) as client:
            return client.stream_events(batches())

    async with (
        edge(shop, Held(shop.engine), store) as target,
        AsyncTamisClient(target) as client,
    ):
        with pytest.raises(LookupError, match="no more of mine"):
            await (asyncio.to_thread(ask, target) if blocking else client.stream_events(later()))
    assert store.event_ids == ["before"]
