"""The blocking client."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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
from tamis_client.channels import OPTIONS, Stubs, changes_of, in_turn
from tamis_client.errors import decode

R = TypeVar("R")


class TamisClient:
    """Calls a Tamis server at ``target`` (``host:port`` or ``dns:///name:port``).

    Every method sends one RPC over one of ``channels`` connections in turn, waits at most
    ``timeout_s`` (its own, or the client's), and raises RequestFailed or one of its subclasses.
    ``request_id`` names the request in the server's log and in the answer; "" has the server
    choose one.
    """

    def __init__(self, target: str, *, channels: int = 1, timeout_s: float = 1.0) -> None:
        self._timeout_s = timeout_s
        self._channels = [grpc.insecure_channel(target, options=OPTIONS) for _ in range(channels)]
        self._turn = in_turn([Stubs(channel) for channel in self._channels])

    def recommend(
        self, *, timeout_s: float | None = None, request_id: str = "", **fields: Any
    ) -> recommend_service_pb2.RecommendResponse:
        """What to show to a user; ``fields`` are those of RecommendRequest."""
        request = recommend_service_pb2.RecommendRequest(**fields)
        stub = next(self._turn).recommend
        return self._call(stub.Recommend, request, timeout_s, request_id)

    def batch_recommend(
        self,
        requests: Iterable[recommend_service_pb2.RecommendRequest],
        *,
        timeout_s: float | None = None,
        request_id: str = "",
    ) -> list[recommend_service_pb2.BatchRecommendResult]:
        """Answers for many users, in order; one that fails does not fail the others."""
        request = recommend_service_pb2.BatchRecommendRequest(requests=requests)
        stub = next(self._turn).recommend
        response = self._call(stub.BatchRecommend, request, timeout_s, request_id)
        return list(response.results)

    def related_items(
        self, *, timeout_s: float | None = None, request_id: str = "", **fields: Any
    ) -> recommend_service_pb2.RelatedItemsResponse:
        """Items like others; ``fields`` are those of RelatedItemsRequest."""
        request = recommend_service_pb2.RelatedItemsRequest(**fields)
        stub = next(self._turn).recommend
        return self._call(stub.RelatedItems, request, timeout_s, request_id)

    def search(
        self, *, timeout_s: float | None = None, request_id: str = "", **fields: Any
    ) -> recommend_service_pb2.SearchResponse:
        """Items that look or read like words or a picture; ``fields``: those of SearchRequest."""
        request = recommend_service_pb2.SearchRequest(**fields)
        stub = next(self._turn).recommend
        return self._call(stub.Search, request, timeout_s, request_id)

    def record_events(
        self,
        events: Iterable[item_pb2.Event],
        *,
        timeout_s: float | None = None,
        request_id: str = "",
    ) -> event_service_pb2.RecordEventsResponse:
        """Store events; see ``rejected`` of the response for those refused."""
        request = event_service_pb2.RecordEventsRequest(events=events)
        stub = next(self._turn).events
        return self._call(stub.RecordEvents, request, timeout_s, request_id)

    def get_items(
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
        stub = next(self._turn).catalog
        return self._call(stub.GetItems, request, timeout_s, request_id)

    def stream_events(
        self,
        batches: Iterable[Iterable[item_pb2.Event]],
        *,
        timeout_s: float | None = None,
        request_id: str = "",
    ) -> event_service_pb2.StreamEventsResponse:
        """Store events as they come; without ``timeout_s`` for as long as they come."""
        requests = (event_service_pb2.StreamEventsRequest(events=events) for events in batches)
        stub = next(self._turn).events
        return self._stream(stub.StreamEvents, requests, timeout_s, request_id)

    def set_availability(
        self,
        available: Mapping[str, bool],
        *,
        timeout_s: float | None = None,
        request_id: str = "",
    ) -> catalog_service_pb2.SetAvailabilityResponse:
        """Say of items, by id, whether they may be recommended."""
        request = catalog_service_pb2.SetAvailabilityRequest(changes=changes_of(available))
        stub = next(self._turn).catalog
        return self._call(stub.SetAvailability, request, timeout_s, request_id)

    def stream_availability(
        self,
        batches: Iterable[Mapping[str, bool]],
        *,
        timeout_s: float | None = None,
        request_id: str = "",
    ) -> catalog_service_pb2.StreamAvailabilityResponse:
        """The same as changes come; without ``timeout_s`` for as long as they come."""
        requests = (
            catalog_service_pb2.StreamAvailabilityRequest(changes=changes_of(available))
            for available in batches
        )
        stub = next(self._turn).catalog
        return self._stream(stub.StreamAvailability, requests, timeout_s, request_id)

    def upsert_items(
        self,
        items: Iterable[catalog_service_pb2.NewItem],
        *,
        timeout_s: float | None = None,
        request_id: str = "",
    ) -> catalog_service_pb2.UpsertItemsResponse:
        """Add items, or change them as a whole."""
        request = catalog_service_pb2.UpsertItemsRequest(items=items)
        stub = next(self._turn).catalog
        return self._call(stub.UpsertItems, request, timeout_s, request_id)

    def delete_items(
        self,
        item_ids: Iterable[str],
        *,
        timeout_s: float | None = None,
        request_id: str = "",
    ) -> catalog_service_pb2.DeleteItemsResponse:
        """Take items out."""
        request = catalog_service_pb2.DeleteItemsRequest(item_ids=item_ids)
        stub = next(self._turn).catalog
        return self._call(stub.DeleteItems, request, timeout_s, request_id)

    def status(
        self, *, timeout_s: float | None = None, request_id: str = ""
    ) -> admin_service_pb2.GetStatusResponse:
        """What is being served, and by what."""
        request = admin_service_pb2.GetStatusRequest()
        stub = next(self._turn).admin
        return self._call(stub.GetStatus, request, timeout_s, request_id)

    def close(self) -> None:
        for channel in self._channels:
            channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _call(
        self,
        method: Callable[..., R],
        request: Message,
        timeout_s: float | None,
        request_id: str,
    ) -> R:
        timeout = self._timeout_s if timeout_s is None else timeout_s
        return self._send(method, request, timeout, request_id)

    def _stream(
        self,
        method: Callable[..., R],
        requests: Iterable[Message],
        timeout_s: float | None,
        request_id: str,
    ) -> R:
        return self._send(method, requests, timeout_s, request_id)

    def _send(
        self,
        method: Callable[..., R],
        request: Message | Iterable[Message],
        timeout_s: float | None,
        request_id: str,
    ) -> R:
        metadata = (("x-request-id", request_id),) if request_id else None
        try:
            return method(request, timeout=timeout_s, metadata=metadata)
        except grpc.RpcError as error:
            raise decode(error) from None
