"""The services. Each method is four moves: validate, ask, map the answer, fill the header."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from tamis.v1 import (
    admin_service_pb2,
    admin_service_pb2_grpc,
    catalog_service_pb2,
    catalog_service_pb2_grpc,
    event_service_pb2,
    event_service_pb2_grpc,
    recommend_service_pb2_grpc,
)
from tamis.v1 import (
    recommend_service_pb2 as pb,
)
from tamis_server.domain.context import Deadline, Event
from tamis_server.domain.errors import NotFound
from tamis_server.domain.ports import EventLog, UserStateStore
from tamis_server.domain.slate import Slate
from tamis_server.funnel.engine import Engine, Engines
from tamis_server.transport import mapping, validation
from tamis_server.transport.call import Call, current_call, refusal

Context = grpc.aio.ServicerContext[Any, Any]
# how much of one large request is done at a time: others' requests go in between
_BATCH_IN_FLIGHT = 8
_EVENTS_AT_ONCE = 100


class RecommendServicer(recommend_service_pb2_grpc.RecommendServiceServicer):
    def __init__(self, engines: Engines) -> None:
        self._engines = engines

    async def Recommend(
        self, request: pb.RecommendRequest, context: Context
    ) -> pb.RecommendResponse:
        call = current_call()
        response = await _recommend(self._engines.current, request, call.request_id, call.deadline)
        _note(call, response)
        return response

    async def BatchRecommend(
        self, request: pb.BatchRecommendRequest, context: Context
    ) -> pb.BatchRecommendResponse:
        call, engine = current_call(), self._engines.current
        validation.check_count("requests", request.requests, validation.MAX_BATCH)
        room = asyncio.Semaphore(_BATCH_IN_FLIGHT)

        async def one(position: int, each: pb.RecommendRequest) -> pb.BatchRecommendResult:
            request_id = f"{call.request_id}-{position}"
            async with room:
                try:
                    response = await _recommend(engine, each, request_id, call.deadline)
                except Exception as error:
                    status = refusal(error, request_id)
                    return pb.BatchRecommendResult(error=_request_error(status))
                return pb.BatchRecommendResult(response=response)

        results = await asyncio.gather(*(one(*pair) for pair in enumerate(request.requests)))
        call.notes["requests"] = len(results)
        call.notes["refused"] = sum(result.HasField("error") for result in results)
        return pb.BatchRecommendResponse(results=results)

    async def RelatedItems(
        self, request: pb.RelatedItemsRequest, context: Context
    ) -> pb.RelatedItemsResponse:
        call, engine = current_call(), self._engines.current
        validation.check_related(request, engine.catalogue.attributes)
        anchors = engine.catalogue.rows(list(request.item_ids))
        for item_id, row in zip(request.item_ids, anchors.tolist(), strict=True):
            if row < 0:
                raise NotFound(f"item_ids: {item_id!r} is not in the catalogue")
        slate = await engine.related.run(
            mapping.to_context(
                request,
                engine.catalogue,
                request_id=call.request_id,
                deadline=call.deadline,
                now=time.time(),
                anchors=anchors,
            )
        )
        response = pb.RelatedItemsResponse(
            items=mapping.to_recommended(slate, engine.catalogue, request.attributes),
            **_header(engine, slate, call.request_id, trace=request.trace),
        )
        _note(call, response)
        return response


async def _recommend(
    engine: Engine, request: pb.RecommendRequest, request_id: str, deadline: Deadline
) -> pb.RecommendResponse:
    validation.check_recommend(request, engine.catalogue.attributes)
    slate = await engine.recommend.run(
        mapping.to_context(
            request, engine.catalogue, request_id=request_id, deadline=deadline, now=time.time()
        )
    )
    return pb.RecommendResponse(
        items=mapping.to_recommended(slate, engine.catalogue, request.attributes),
        **_header(engine, slate, request_id, trace=request.trace),
    )


def _header(engine: Engine, slate: Slate, request_id: str, *, trace: bool) -> dict[str, Any]:
    return {
        "request_id": request_id,
        "bundle_id": engine.bundle.bundle_id,
        "degradation": mapping.to_degradation(slate),
        "shortfall_reason": mapping.to_shortfall(slate),
        "trace": mapping.to_trace(slate) if trace else None,
    }


def _note(call: Call, response: pb.RecommendResponse | pb.RelatedItemsResponse) -> None:
    level = pb.DegradationLevel.Name(response.degradation.level)
    call.notes["items"] = len(response.items)
    call.notes["degradation"] = level.removeprefix("DEGRADATION_LEVEL_").lower()


def _request_error(status: status_pb2.Status) -> pb.RequestError:
    found = pb.RequestError(code=status.code, message=status.message)
    for detail in status.details:
        bad = error_details_pb2.BadRequest()
        if any_pb2.Any.Unpack(detail, bad):
            for violation in bad.field_violations:
                found.violations.add(field=violation.field, description=violation.description)
    return found


class EventServicer(event_service_pb2_grpc.EventServiceServicer):
    def __init__(self, store: UserStateStore, event_log: EventLog) -> None:
        self._store = store
        self._event_log = event_log

    async def RecordEvents(
        self, request: event_service_pb2.RecordEventsRequest, context: Context
    ) -> event_service_pb2.RecordEventsResponse:
        validation.check_count("events", request.events, validation.MAX_EVENTS)
        call, now = current_call(), time.time()
        response = event_service_pb2.RecordEventsResponse()
        for start in range(0, len(request.events), _EVENTS_AT_ONCE):
            valid = []
            for index in range(start, min(start + _EVENTS_AT_ONCE, len(request.events))):
                event = request.events[index]
                problems = validation.event_problems(event, now)
                if problems:
                    response.rejected.add(index=index, event_id=event.event_id, reasons=problems)
                else:
                    valid.append(mapping.to_event(event, now))
            # a caller who hangs up must not come between the store and the log: repeated, the
            # events would be duplicates to the store and never be logged
            recorded = await asyncio.shield(self._record(valid))
            response.recorded_count += recorded
            response.duplicate_count += len(valid) - recorded
            await asyncio.sleep(0)
        call.notes["recorded"] = response.recorded_count
        call.notes["rejected"] = len(response.rejected)
        return response

    async def _record(self, events: Sequence[Event]) -> int:
        recorded = await self._store.record(events)
        # the store says how many were new, not which: a log with one event twice loses nothing
        # (ingest counts each id once), and one without it does
        if recorded:
            self._event_log.append(events)
        return recorded


class CatalogServicer(catalog_service_pb2_grpc.CatalogServiceServicer):
    def __init__(self, engines: Engines) -> None:
        self._engines = engines

    async def GetItems(
        self, request: catalog_service_pb2.GetItemsRequest, context: Context
    ) -> catalog_service_pb2.GetItemsResponse:
        catalogue = self._engines.current.catalogue
        validation.check_items(request.item_ids, request.attributes, catalogue.attributes)
        rows = catalogue.rows(list(request.item_ids))
        pairs = zip(request.item_ids, rows.tolist(), strict=True)
        items = catalogue.items(rows[rows >= 0], list(request.attributes) or None)
        return catalog_service_pb2.GetItemsResponse(
            items=[mapping.to_item(item) for item in items],
            unknown_item_ids=[item_id for item_id, row in pairs if row < 0],
        )


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """What the server says of itself, besides what it serves."""

    version: str
    uptime_s: float
    kernel_level: str
    state_store: str
    swaps: int
    last_rejection: str


class AdminServicer(admin_service_pb2_grpc.AdminServiceServicer):
    def __init__(self, engines: Engines, status: Callable[[], ServerStatus]) -> None:
        self._engines = engines
        self._status = status

    async def GetStatus(
        self, request: admin_service_pb2.GetStatusRequest, context: Context
    ) -> admin_service_pb2.GetStatusResponse:
        engine, status = self._engines.current, self._status()
        bundle = engine.bundle
        response = admin_service_pb2.GetStatusResponse(
            version=status.version,
            bundle=admin_service_pb2.BundleStatus(
                bundle_id=bundle.bundle_id,
                name=bundle.name,
                item_count=bundle.items,
                user_count=bundle.users,
                dimension=bundle.dim,
                pairing_id=bundle.pairing_id,
            ),
            attributes=[
                admin_service_pb2.AttributeStatus(name=attribute.name, kind=attribute.kind)
                for attribute in engine.catalogue.attributes.values()
            ],
            kernel_level=status.kernel_level,
            state_store=status.state_store,
            swap_count=status.swaps,
            last_rejection=status.last_rejection,
        )
        response.bundle.as_of_time.FromNanoseconds(int(bundle.as_of * 1e9))
        response.uptime.FromNanoseconds(int(status.uptime_s * 1e9))
        return response
