"""What every call is promised, whatever it asks: seen through a real channel."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from dataclasses import replace

import grpc
import pytest

from support.edge import doing, edge, server_of
from support.engines import Bench
from tamis.v1 import item_pb2
from tamis.v1 import recommend_service_pb2 as pb
from tamis.v1.recommend_service_pb2_grpc import RecommendServiceStub
from tamis_client import (
    AsyncTamisClient,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    Overloaded,
    RequestFailed,
    Unavailable,
)
from tamis_server.domain import errors
from tamis_server.domain.candidates import Mask
from tamis_server.domain.context import RequestContext, UserState
from tamis_server.domain.events import Events
from tamis_server.domain.ports import UserStateStore
from tamis_server.observability.logging import JsonFormatter
from tamis_server.transport.server import CannotListen


async def nothing(ctx: RequestContext) -> None:
    return


@pytest.mark.parametrize(
    ("raised", "code", "kind"),
    [
        (errors.NotFound("ghost"), grpc.StatusCode.NOT_FOUND, NotFound),
        (errors.DeadlineExceeded("late"), grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineExceeded),
        (errors.Overloaded("ranking"), grpc.StatusCode.RESOURCE_EXHAUSTED, Overloaded),
        (errors.DependencyFailed("redis", "gone"), grpc.StatusCode.UNAVAILABLE, Unavailable),
        (errors.ContractViolation("ragged"), grpc.StatusCode.INTERNAL, RequestFailed),
        (ZeroDivisionError("oops"), grpc.StatusCode.INTERNAL, RequestFailed),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_a_failure_reaches_the_client_as_its_own_kind(
    shop: Bench, raised: Exception, code: grpc.StatusCode, kind: type[RequestFailed]
) -> None:
    async def fail(ctx: RequestContext) -> None:
        raise raised

    async with edge(shop, doing(shop, fail)) as target, AsyncTamisClient(target) as client:
        with pytest.raises(RequestFailed) as caught:
            await client.recommend(timeout_s=10.0, request_id="mine-7")
    assert type(caught.value) is kind
    assert caught.value.code is code
    assert caught.value.request_id == "mine-7"
    if isinstance(raised, errors.Overloaded):
        assert caught.value.retry_after_s == pytest.approx(raised.retry_after_s)


async def test_our_own_fault_is_logged_with_its_trace_and_not_told(
    shop: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(ctx: RequestContext) -> None:
        raise ZeroDivisionError("secret detail")

    async with edge(shop, doing(shop, fail)) as target, AsyncTamisClient(target) as client:
        with pytest.raises(RequestFailed) as caught:
            await client.recommend(timeout_s=10.0, request_id="mine-8")
    assert "mine-8" in caught.value.message
    assert "secret" not in str(caught.value)
    assert "Traceback" not in str(caught.value)
    (record,) = [record for record in caplog.records if record.exc_info]
    entry = json.loads(JsonFormatter().format(record))
    assert entry["request_id"] == "mine-8"
    assert "ZeroDivisionError: secret detail" in entry["exception"]


@pytest.mark.parametrize("letter", ["", "x\n", "漢\n"])
async def test_ten_thousand_bad_fields_are_refused_like_one(shop: Bench, letter: str) -> None:
    async with (
        edge(shop, doing(shop, nothing)) as target,
        AsyncTamisClient(target, timeout_s=10.0) as client,
    ):
        with pytest.raises(InvalidRequest) as caught:
            await client.recommend(excluded_item_ids=[letter] * 10_000)
        assert caught.value.violations[0].field == "excluded_item_ids[0]"
        named = len(caught.value.violations)
        assert caught.value.message.endswith(f"(and {10_000 - named} more)")
        with pytest.raises(InvalidRequest):
            await client.recommend(attributes=["漢" * 10_000] * 100)


async def test_a_message_too_large_is_refused_and_not_taken_for_overload(shop: Bench) -> None:
    async with edge(shop, doing(shop, nothing)) as target, AsyncTamisClient(target) as client:
        with pytest.raises(RequestFailed, match="larger than max") as caught:
            await client.recommend(user_id="x" * (16 << 20), timeout_s=10.0)
    assert type(caught.value) is RequestFailed


async def test_a_batch_entry_with_a_bug_fails_alone_and_is_logged(
    shop: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail_for_bob(ctx: RequestContext) -> None:
        if ctx.user_id == "bob":
            raise ZeroDivisionError("secret detail")

    async with (
        edge(shop, doing(shop, fail_for_bob)) as target,
        AsyncTamisClient(target, timeout_s=10.0) as client,
    ):
        requests = [pb.RecommendRequest(user_id=user_id) for user_id in ("ada", "bob", "cleo")]
        results = await client.batch_recommend(requests, request_id="mine-9")
    assert [result.WhichOneof("result") for result in results] == ["response", "error", "response"]
    assert results[1].error.code == grpc.StatusCode.INTERNAL.value[0]
    assert "secret" not in str(results[1])
    assert results[2].response.request_id == "mine-9-2"
    (record,) = [record for record in caplog.records if record.exc_info]
    assert vars(record)["request_id"] == "mine-9-1"


async def test_others_get_their_turns_while_a_batch_is_answered(shop: Bench) -> None:
    turns, answered, counting = 0, 0, asyncio.Event()

    async def count() -> None:
        nonlocal turns
        while answered < 100:
            turns += 1
            await asyncio.sleep(0)

    async def never_wait(ctx: RequestContext) -> None:
        nonlocal answered
        answered += 1
        if not counting.is_set():
            counting.set()
            tasks.append(asyncio.create_task(count()))

    tasks: list[asyncio.Task[None]] = []
    async with (
        edge(shop, doing(shop, never_wait)) as target,
        AsyncTamisClient(target, timeout_s=10.0) as client,
    ):
        await client.batch_recommend([pb.RecommendRequest()] * 100)
        await asyncio.gather(*tasks)
    assert turns > 100 / 8 - 1  # eight requests are in hand at a time


@pytest.mark.parametrize("size", [0, 1_001])
async def test_a_batch_holds_1_to_1000_requests(shop: Bench, size: int) -> None:
    async with (
        edge(shop, doing(shop, nothing)) as target,
        AsyncTamisClient(target, timeout_s=10.0) as client,
    ):
        with pytest.raises(InvalidRequest, match="1 to 1000 are allowed"):
            await client.batch_recommend([pb.RecommendRequest()] * size)


@pytest.mark.parametrize("size", [0, 10_001])
async def test_a_request_holds_1_to_10000_events(shop: Bench, size: int) -> None:
    async with (
        edge(shop, doing(shop, nothing)) as target,
        AsyncTamisClient(target, timeout_s=10.0) as client,
    ):
        with pytest.raises(InvalidRequest, match="1 to 10000 are allowed"):
            await client.record_events([item_pb2.Event()] * size)


class Counting:
    """A store that remembers how many events it was given at a time."""

    def __init__(self, store: UserStateStore) -> None:
        self._store = store
        self.sizes: list[int] = []

    async def read(self, user_id: str, now: float) -> UserState:
        return await self._store.read(user_id, now)

    async def record(self, events: Events) -> Mask:
        self.sizes.append(len(events))
        return await self._store.record(events)


async def test_many_events_are_stored_in_parts_and_counted_once(shop: Bench) -> None:
    store = Counting(shop.store)
    events = [
        item_pb2.Event(
            event_id=f"e{number % 1300}",
            user_id="ada" if number else "",
            item_id="item-1",
            kind=item_pb2.EVENT_KIND_VIEW,
        )
        for number in range(1350)
    ]
    async with (
        edge(shop, doing(shop, nothing), store) as target,
        AsyncTamisClient(target, timeout_s=10.0) as client,
    ):
        response = await client.record_events(events)
    assert [rejected.index for rejected in response.rejected] == [0]
    assert response.recorded_count == 1300
    assert response.duplicate_count == 49
    assert sum(store.sizes) == 1349
    assert max(store.sizes) <= 1000


class Remembering:
    """An event log that a test can look into."""

    def __init__(self) -> None:
        self.event_ids: list[str] = []
        self.appended = asyncio.Event()

    def append(self, events: Events) -> None:
        self.event_ids += events.event_ids
        self.appended.set()

    async def close(self) -> None:
        return


def view(event_id: str) -> item_pb2.Event:
    return item_pb2.Event(
        event_id=event_id, user_id="logged", item_id="item-1", kind=item_pb2.EVENT_KIND_VIEW
    )


async def test_accepted_events_are_logged_and_repeated_or_invalid_ones_not(shop: Bench) -> None:
    log = Remembering()
    async with (
        edge(shop, doing(shop, nothing), event_log=log) as target,
        AsyncTamisClient(target, timeout_s=10.0) as client,
    ):
        await client.record_events([view("a"), view(""), view("b")])
        await client.record_events([view("a"), view("b"), view("c")])
    assert log.event_ids == ["a", "b", "c"]


async def test_a_caller_who_hangs_up_does_not_come_between_store_and_log(shop: Bench) -> None:
    entered, gate = asyncio.Event(), asyncio.Event()

    class Slow(Counting):
        async def record(self, events: Events) -> Mask:
            recorded = await super().record(events)
            entered.set()
            await gate.wait()
            return recorded

    log = Remembering()
    async with (
        edge(shop, doing(shop, nothing), Slow(shop.store), event_log=log) as target,
        AsyncTamisClient(target, timeout_s=10.0) as client,
    ):
        call = asyncio.ensure_future(client.record_events([view("late")]))
        await entered.wait()
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call
        gate.set()
        await log.appended.wait()
    assert log.event_ids == ["late"]


async def test_a_call_without_a_deadline_gets_the_default(shop: Bench) -> None:
    left: list[float] = []

    async def look(ctx: RequestContext) -> None:
        left.append(ctx.deadline.remaining())

    async with (
        edge(shop, doing(shop, look), default_timeout_s=123.0) as target,
        grpc.aio.insecure_channel(target) as channel,
    ):
        stub = RecommendServiceStub(channel)
        await stub.Recommend(pb.RecommendRequest())
        await stub.Recommend(pb.RecommendRequest(), timeout=60.0)
    assert 60 < left[0] <= 123
    assert left[1] < 61


async def test_no_work_is_done_for_a_deadline_too_short(shop: Bench) -> None:
    asked: list[str] = []

    async def look(ctx: RequestContext) -> None:
        asked.append(ctx.user_id)

    async with (
        edge(shop, doing(shop, look), min_timeout_s=100.0) as target,
        AsyncTamisClient(target) as client,
    ):
        with pytest.raises(DeadlineExceeded, match="100000 ms needed"):
            await client.recommend(user_id="ada", timeout_s=50.0)
        await client.recommend(user_id="bob", timeout_s=150.0)
    assert asked == ["bob"]


async def test_work_ends_when_the_caller_has_gone(shop: Bench) -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def wait(ctx: RequestContext) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with (
        edge(shop, doing(shop, wait)) as target,
        AsyncTamisClient(target, timeout_s=60.0) as client,
    ):
        call = asyncio.ensure_future(client.recommend())
        await started.wait()
        call.cancel()
        await ended.wait()


async def test_a_call_that_ends_in_the_handler_is_counted_by_what_its_caller_sees(
    shop: Bench,
) -> None:
    started, codes = asyncio.Event(), asyncio.Queue[str]()

    async def wait(ctx: RequestContext) -> None:
        started.set()
        await asyncio.Event().wait()

    def observe(method: str, code: str, seconds: float) -> None:
        codes.put_nowait(code)

    async with (
        edge(shop, doing(shop, wait), observe=observe) as target,
        AsyncTamisClient(target) as client,
    ):
        with pytest.raises(DeadlineExceeded):
            await client.recommend(timeout_s=0.3)
        assert await codes.get() == "DEADLINE_EXCEEDED"
        started.clear()
        call = asyncio.ensure_future(client.recommend(timeout_s=60.0))
        await started.wait()
        call.cancel()
        assert await codes.get() == "CANCELLED"


@pytest.mark.parametrize("given", ["", "x" * 129])
async def test_a_request_without_a_usable_id_gets_one(shop: Bench, given: str) -> None:
    async with (
        edge(shop, doing(shop, nothing)) as target,
        grpc.aio.insecure_channel(target) as channel,
    ):
        call = RecommendServiceStub(channel).Recommend(
            pb.RecommendRequest(), metadata=(("x-request-id", given),)
        )
        request_id = (await call).request_id
        assert len(request_id) == 32
        assert ("x-request-id", request_id) in tuple(await call.trailing_metadata())


async def test_a_request_is_answered_by_the_bundle_it_began_with(shop: Bench) -> None:
    async def swap(ctx: RequestContext) -> None:
        bundle = replace(shop.engine.bundle, bundle_id="other")
        engines.current = replace(engines.current, bundle=bundle)

    engines = doing(shop, swap)
    async with edge(shop, engines) as target, AsyncTamisClient(target) as client:
        assert (await client.recommend(timeout_s=10.0)).bundle_id == shop.engine.bundle.bundle_id
        assert (await client.recommend(timeout_s=10.0)).bundle_id == "other"


async def test_every_call_has_a_line_in_the_access_log(
    shop: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tamis.access")
    async with (
        edge(shop, doing(shop, nothing), log_calls=True) as target,
        AsyncTamisClient(target, timeout_s=10.0) as client,
    ):
        await client.recommend(request_id="good")
        with pytest.raises(InvalidRequest):
            await client.recommend(page_size=-1, request_id="bad")
    records = [record for record in caplog.records if record.name == "tamis.access"]
    good, bad = (json.loads(JsonFormatter().format(record)) for record in records)
    assert good["level"] == "info"
    assert good["method"] == "/tamis.v1.RecommendService/Recommend"
    assert (good["status"], good["request_id"]) == ("OK", "good")
    assert (good["items"], good["degradation"]) == (0, "full")
    assert good["ms"] >= 0
    assert (bad["status"], bad["request_id"]) == ("INVALID_ARGUMENT", "bad")


async def test_an_address_in_use_is_said_by_name(shop: Bench) -> None:
    async with edge(shop, doing(shop, nothing)) as target:
        with pytest.raises(CannotListen, match=target):
            await server_of(shop, doing(shop, nothing)).start(target)
