"""The asyncio client."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
from google.protobuf.message import Message

from tamis.v1 import (
    admin_service_pb2,
    catalog_service_pb2,
    event_service_pb2,
    item_pb2,
    recommend_service_pb2,
)
from tamis_client.channels import OPTIONS, AsyncStubs, changes_of
from tamis_client.connections import Connections
from tamis_client.errors import decode
from tamis_client.streams import AsyncStreams, availability_sum, events_sum, time_left

R = TypeVar("R")


class AsyncTamisClient:
    """Calls a Tamis server at ``target`` (``host:port`` or ``dns:///name:port``).

    Every method sends one RPC over one of ``channels`` connections in turn, waits at most
    ``timeout_s`` (its own, or the client's), and raises RequestFailed or one of its subclasses.
    ``request_id`` names the request in the server's log and in the answer; "" has the server
    choose one.
    """

    def __init__(self, target: str, *, channels: int = 1, timeout_s: float = 1.0) -> None:
        self._timeout_s = timeout_s
        self._connections = Connections(
            lambda: AsyncStubs(grpc.aio.insecure_channel(target, options=OPTIONS)), channels
        )

    async def recommend(
        self, *, timeout_s: float | None = None, request_id: str = "", **fields: Any
    ) -> recommend_service_pb2.RecommendResponse:
        """What to show to a user; ``fields`` are those of RecommendRequest."""
        request = recommend_service_pb2.RecommendRequest(**fields)
        return await self._call(lambda on: on.recommend.Recommend, request, timeout_s, request_id)

    async def batch_recommend(
        self,
        requests: Iterable[recommend_service_pb2.RecommendRequest],
        *,
        timeout_s: float | None = None,
        request_id: str = "",
    ) -> list[recommend_service_pb2.BatchRecommendResult]:
        """Answers for many users, in order; one that fails does not fail the others."""
        request = recommend_service_pb2.BatchRecommendRequest(requests=requests)
        response = await self._call(
            lambda on: on.recommend.BatchRecommend, request, timeout_s, request_id
        )
        return list(response.results)

    async def related_items(
        self, *, timeout_s: float | None = None, request_id: str = "", **fields: Any
    ) -> recommend_service_pb2.RelatedItemsResponse:
        """Items like others; ``fields`` are those of RelatedItemsRequest."""
        request = recommend_service_pb2.RelatedItemsRequest(**fields)
        return await self._call(
            lambda on: on.recommend.RelatedItems, request, timeout_s, request_id
        )

    async def search(
        self, *, timeout_s: float | None = None, request_id: str = "", **fields: Any
    ) -> recommend_service_pb2.SearchResponse:
        """Items that look or read like words or a picture; ``fields``: those of SearchRequest."""
        request = recommend_service_pb2.SearchRequest(**fields)
        return await self._call(lambda on: on.recommend.Search, request, timeout_s, request_id)

    async def record_events(
        self,
        events: Iterable[item_pb2.Event],
        *,
        timeout_s: float | None = None,
        request_id: str = "",
    ) -> event_service_pb2.RecordEventsResponse:
        """Store events; see ``rejected`` of the response for those refused."""
        request = event_service_pb2.RecordEventsRequest(events=events)
        return await self._call(lambda on: on.events.RecordEvents, request, timeout_s, request_id)

    async def get_items(
        self,
        item_ids: Iterable[str],
        attributes: Iterable[str] = (),
        *,
        activity: bool = False,
        timeout_s: float | None = None,
        request_id: str = "",
    ) -> catalog_service_pb2.GetItemsResponse:
        """Catalogue entries with the attributes named, or all, and what users do with them."""
        request = catalog_service_pb2.GetItemsRequest(
            item_ids=item_ids, attributes=attributes, activity=activity
        )
        return await self._call(lambda on: on.catalog.GetItems, request, timeout_s, request_id)

    async def stream_events(
        self,
        batches: AsyncIterable[Iterable[item_pb2.Event]],
        *,
        timeout_s: float | None = None,
        request_id: str = "",
    ) -> event_service_pb2.StreamEventsResponse:
        """Store events as they come; without ``timeout_s`` for as long as they come.

        They are sent as one stream of a few seconds after another. A stream that fails is not sent
        again: the caller may send its events, which count once by their ids.
        """
        requests = (
            event_service_pb2.StreamEventsRequest(events=events) async for events in batches
        )
        return events_sum(
            await self._streams(lambda on: on.events.StreamEvents, requests, timeout_s, request_id)
        )

    async def set_availability(
        self,
        available: Mapping[str, bool],
        *,
        timeout_s: float | None = None,
        request_id: str = "",
    ) -> catalog_service_pb2.SetAvailabilityResponse:
        """Say of items, by id, whether they may be recommended."""
        request = catalog_service_pb2.SetAvailabilityRequest(changes=changes_of(available))
        return await self._call(
            lambda on: on.catalog.SetAvailability, request, timeout_s, request_id
        )

    async def stream_availability(
        self,
        batches: AsyncIterable[Mapping[str, bool]],
        *,
        timeout_s: float | None = None,
        request_id: str = "",
    ) -> catalog_service_pb2.StreamAvailabilityResponse:
        """The same as changes come, sent as events are by ``stream_events``."""
        requests = (
            catalog_service_pb2.StreamAvailabilityRequest(changes=changes_of(available))
            async for available in batches
        )
        return availability_sum(
            await self._streams(
                lambda on: on.catalog.StreamAvailability, requests, timeout_s, request_id
            )
        )

    async def upsert_items(
        self,
        items: Iterable[catalog_service_pb2.NewItem],
        *,
        timeout_s: float | None = None,
        request_id: str = "",
    ) -> catalog_service_pb2.UpsertItemsResponse:
        """Add items, or change them as a whole."""
        request = catalog_service_pb2.UpsertItemsRequest(items=items)
        return await self._call(lambda on: on.catalog.UpsertItems, request, timeout_s, request_id)

    async def delete_items(
        self,
        item_ids: Iterable[str],
        *,
        timeout_s: float | None = None,
        request_id: str = "",
    ) -> catalog_service_pb2.DeleteItemsResponse:
        """Take items out."""
        request = catalog_service_pb2.DeleteItemsRequest(item_ids=item_ids)
        return await self._call(lambda on: on.catalog.DeleteItems, request, timeout_s, request_id)

    async def status(
        self, *, timeout_s: float | None = None, request_id: str = ""
    ) -> admin_service_pb2.GetStatusResponse:
        """What is being served, and by what."""
        request = admin_service_pb2.GetStatusRequest()
        return await self._call(lambda on: on.admin.GetStatus, request, timeout_s, request_id)

    async def close(self) -> None:
        for stubs in self._connections.channels():
            await stubs.channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _call(
        self,
        method: Callable[[AsyncStubs], grpc.aio.UnaryUnaryMultiCallable[Any, R]],
        request: Message,
        timeout_s: float | None,
        request_id: str,
    ) -> R:
        timeout = self._timeout_s if timeout_s is None else timeout_s
        return await self._send(method, request, timeout, request_id)

    async def _streams(
        self,
        method: Callable[[AsyncStubs], grpc.aio.StreamUnaryMultiCallable[Any, R]],
        requests: AsyncIterable[Message],
        timeout_s: float | None,
        request_id: str,
    ) -> list[R]:
        answers: list[R] = []
        streams, left = AsyncStreams(requests), time_left(timeout_s)
        try:
            while not streams.over:
                answers.append(await self._send(method, streams.next(), left(), request_id))
        finally:
            await streams.close()
        return answers

    async def _send(
        self,
        method: Callable[
            [AsyncStubs],
            grpc.aio.UnaryUnaryMultiCallable[Any, R] | grpc.aio.StreamUnaryMultiCallable[Any, R],
        ],
        request: Any,
        timeout_s: float | None,
        request_id: str,
    ) -> R:
        metadata = (("x-request-id", request_id),) if request_id else None
        connection = self._connections.take()
        trailers: Any = ()
        try:
            call = method(connection.channel)(request, timeout=timeout_s, metadata=metadata)
            response = await call
            if self._connections.several:
                trailers = await call.trailing_metadata()
            return response
        except grpc.aio.AioRpcError as error:
            raise decode(error) from None
        finally:
            for stubs in self._connections.give(connection, trailers):
                await stubs.channel.close()
