"""The Python client, blocking and asyncio, against a real server."""

from __future__ import annotations

import asyncio

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from support.edge import Held, doing, edge
from support.engines import AS_OF, Bench
from tamis.v1 import item_pb2
from tamis.v1 import recommend_service_pb2 as pb
from tamis_client import AsyncTamisClient, DeadlineExceeded, NotFound, TamisClient, Unavailable
from tamis_server.domain import errors
from tamis_server.domain.context import RequestContext

AT = pb.Context(time=Timestamp(seconds=int(AS_OF)))  # the answer depends on the time of day
ASKED = pb.RecommendRequest(user_id="user-1", page_size=3, context=AT)


async def test_the_blocking_client_does_what_the_asyncio_one_does(shop: Bench) -> None:
    event = item_pb2.Event(
        event_id="e1", user_id="zoe", item_id="item-1", kind=item_pb2.EVENT_KIND_LIKE
    )

    def ask(target: str) -> list[object]:
        with TamisClient(target, channels=2, timeout_s=10.0) as client:
            one = client.recommend(user_id="user-1", page_size=3, context=AT, request_id="r")
            many = client.batch_recommend([ASKED])
            related = client.related_items(item_ids=["item-5"], page_size=3, context=AT)
            recorded = client.record_events([event])
            items = client.get_items(["item-1"], ["price"])
            status = client.status()
            with pytest.raises(NotFound, match="'ghost' is not in the catalogue"):
                client.related_items(item_ids=["ghost"])
        assert recorded.recorded_count + recorded.duplicate_count == 1
        answers = [one.items, many[0].response.items, related.items, items, status.bundle]
        return [str(answer) for answer in answers]

    async with (
        edge(shop, Held(shop.engine)) as target,
        AsyncTamisClient(target, channels=2, timeout_s=10.0) as client,
    ):
        blocking = await asyncio.to_thread(ask, target)
        one = await client.recommend(user_id="user-1", page_size=3, context=AT, request_id="r")
        many = await client.batch_recommend([ASKED])
        related = await client.related_items(item_ids=["item-5"], page_size=3, context=AT)
        recorded = await client.record_events([event])
        items = await client.get_items(["item-1"], ["price"])
        status = await client.status()
    assert (recorded.recorded_count, recorded.duplicate_count) == (0, 1)
    answers = [one.items, many[0].response.items, related.items, items, status.bundle]
    assert blocking == [str(answer) for answer in answers]


async def test_an_unavailable_dependency_is_tried_again(shop: Bench) -> None:
    tries: list[str] = []

    async def fail_once(ctx: RequestContext) -> None:
        tries.append(ctx.request_id)
        if len(tries) == 1:
            raise errors.DependencyFailed("redis", "connection reset")

    async with (
        edge(shop, doing(shop, fail_once)) as target,
        AsyncTamisClient(target, timeout_s=10.0) as client,
    ):
        await client.recommend(request_id="mine")
    assert tries == ["mine", "mine"]


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    async with AsyncTamisClient("127.0.0.1:1", timeout_s=30.0) as client:
        with pytest.raises(Unavailable) as caught:
            await client.status()
    assert caught.value.request_id == ""


async def test_the_deadline_of_a_call_is_shorter_than_the_clients_if_it_says_so(
    shop: Bench,
) -> None:
    async def wait(ctx: RequestContext) -> None:
        await asyncio.Event().wait()

    async with (
        edge(shop, doing(shop, wait)) as target,
        AsyncTamisClient(target, timeout_s=300.0) as client,
    ):
        with pytest.raises(DeadlineExceeded):
            await client.recommend(timeout_s=0.05)


@pytest.mark.parametrize("kind", [AsyncTamisClient, TamisClient])
def test_a_client_without_channels_is_refused(
    kind: type[AsyncTamisClient | TamisClient],
) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        kind("127.0.0.1:1", channels=0)
