"""The blocking client."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
from google.protobuf.message import Message

from tamis.v1 import (
    admin_service_pb2,
    admin_service_pb2_grpc,
    catalog_service_pb2,
    catalog_service_pb2_grpc,
    event_service_pb2,
    event_service_pb2_grpc,
    item_pb2,
    recommend_service_pb2,
    recommend_service_pb2_grpc,
)
from tamis_client.channels import OPTIONS
from tamis_client.errors import decode

R = TypeVar("R")


class TamisClient:
    """Calls a Tamis server at ``target`` (``host:port`` or ``dns:///name:port``).

    Every method sends one RPC over one of ``channels`` connections in turn, waits at most
    ``timeout_s``, and raises RequestFailed. Requests are the messages of ``tamis.v1``, or their
    fields as keyword arguments.
    """

    def __init__(self, target: str, *, channels: int = 1, timeout_s: float = 1.0) -> None:
        self._timeout_s = timeout_s
        self._channels = [grpc.insecure_channel(target, options=OPTIONS) for _ in range(channels)]
        self._turn = itertools.cycle(self._channels)

    def recommend(self, **fields: Any) -> recommend_service_pb2.RecommendResponse:
        """What to show to a user; ``fields`` are those of RecommendRequest."""
        stub = recommend_service_pb2_grpc.RecommendServiceStub(next(self._turn))
        return self._call(stub.Recommend, recommend_service_pb2.RecommendRequest(**fields))

    def batch_recommend(
        self, requests: Iterable[recommend_service_pb2.RecommendRequest]
    ) -> list[recommend_service_pb2.BatchRecommendResult]:
        """Answers for many users, in order; one that fails does not fail the others."""
        stub = recommend_service_pb2_grpc.RecommendServiceStub(next(self._turn))
        request = recommend_service_pb2.BatchRecommendRequest(requests=requests)
        return list((self._call(stub.BatchRecommend, request)).results)

    def related_items(self, **fields: Any) -> recommend_service_pb2.RelatedItemsResponse:
        """Items like others; ``fields`` are those of RelatedItemsRequest."""
        stub = recommend_service_pb2_grpc.RecommendServiceStub(next(self._turn))
        request = recommend_service_pb2.RelatedItemsRequest(**fields)
        return self._call(stub.RelatedItems, request)

    def record_events(
        self, events: Iterable[item_pb2.Event]
    ) -> event_service_pb2.RecordEventsResponse:
        """Store events; see ``rejected`` of the response for those refused."""
        stub = event_service_pb2_grpc.EventServiceStub(next(self._turn))
        request = event_service_pb2.RecordEventsRequest(events=events)
        return self._call(stub.RecordEvents, request)

    def get_items(
        self, item_ids: Iterable[str], attributes: Iterable[str] = ()
    ) -> catalog_service_pb2.GetItemsResponse:
        """Catalogue entries with the attributes named, or all."""
        stub = catalog_service_pb2_grpc.CatalogServiceStub(next(self._turn))
        request = catalog_service_pb2.GetItemsRequest(item_ids=item_ids, attributes=attributes)
        return self._call(stub.GetItems, request)

    def status(self) -> admin_service_pb2.GetStatusResponse:
        """What is being served, and by what."""
        stub = admin_service_pb2_grpc.AdminServiceStub(next(self._turn))
        return self._call(stub.GetStatus, admin_service_pb2.GetStatusRequest())

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

    def _call(self, method: Callable[..., R], request: Message) -> R:
        try:
            return method(request, timeout=self._timeout_s)
        except grpc.RpcError as error:
            raise decode(error) from None
