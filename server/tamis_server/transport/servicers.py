"""The services. Each method is four moves: validate, ask, map the answer, fill the header."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, MutableSequence, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import numpy as np
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from tamis.v1 import (
    admin_service_pb2,
    admin_service_pb2_grpc,
    catalog_service_pb2,
    catalog_service_pb2_grpc,
    event_service_pb2,
    event_service_pb2_grpc,
    item_pb2,
    recommend_service_pb2_grpc,
)
from tamis.v1 import (
    recommend_service_pb2 as pb,
)
from tamis_server.bundles.editor import CatalogueEditor
from tamis_server.bundles.live import LiveStatus
from tamis_server.domain.candidates import Mask
from tamis_server.domain.context import Deadline, Depiction
from tamis_server.domain.errors import NotFound
from tamis_server.domain.events import Events
from tamis_server.domain.ports import EventLog, ItemActivity, UserStateStore
from tamis_server.domain.slate import Slate
from tamis_server.funnel.engine import Engine, Engines
from tamis_server.transport import mapping, validation
from tamis_server.transport.call import Call, current_call, refusal
from tamis_server.transport.event_columns import EventColumns

Context = grpc.aio.ServicerContext[Any, Any]
# how much of one large request is done at a time: others' requests go in between
_BATCH_IN_FLIGHT = 8
_CHECKED_AT_ONCE = 250
_RECORDED_AT_ONCE = 1_000


class RecommendServicer(recommend_service_pb2_grpc.RecommendServiceServicer):
    def __init__(self, engines: Engines) -> None:
        self._engines = engines

    async def Recommend(
        self, request: pb.RecommendRequest, context: Context
    ) -> pb.RecommendResponse:
        call, response = current_call(), pb.RecommendResponse()
        slate = await recommend(
            self._engines.current, request, call.request_id, call.deadline, response
        )
        _note(call, slate)
        return response

    async def BatchRecommend(
        self, request: pb.BatchRecommendRequest, context: Context
    ) -> pb.BatchRecommendResponse:
        call, engine = current_call(), self._engines.current
        validation.check_count("requests", request.requests, validation.MAX_BATCH)
        room = asyncio.Semaphore(_BATCH_IN_FLIGHT)
        response = pb.BatchRecommendResponse()

        async def one(each: pb.RecommendRequest, result: pb.BatchRecommendResult, at: int) -> None:
            request_id = f"{call.request_id}-{at}"
            async with room:
                await asyncio.sleep(0)  # most funnels never wait, and would not let others in
                try:
                    await recommend(engine, each, request_id, call.deadline, result.response)
                except Exception as error:
                    result.error.CopyFrom(_request_error(refusal(error, request_id)))

        await asyncio.gather(
            *(one(each, response.results.add(), at) for at, each in enumerate(request.requests))
        )
        call.notes["requests"] = len(response.results)
        call.notes["refused"] = sum(result.HasField("error") for result in response.results)
        return response

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
            request_id=call.request_id, bundle_id=engine.bundle.bundle_id
        )
        mapping.fill(response, slate, engine.catalogue, request.attributes, trace=request.trace)
        _note(call, slate)
        return response

    async def Search(self, request: pb.SearchRequest, context: Context) -> pb.SearchResponse:
        call, engine = current_call(), self._engines.current
        validation.check_search(request, engine.catalogue.attributes)
        slate = await engine.search.run(
            mapping.to_context(
                request,
                engine.catalogue,
                request_id=call.request_id,
                deadline=call.deadline,
                now=time.time(),
                sought=Depiction(request.text, request.image),
            )
        )
        response = pb.SearchResponse(request_id=call.request_id, bundle_id=engine.bundle.bundle_id)
        mapping.fill(response, slate, engine.catalogue, request.attributes, trace=request.trace)
        _note(call, slate)
        return response


async def recommend(
    engine: Engine,
    request: pb.RecommendRequest,
    request_id: str,
    deadline: Deadline,
    response: pb.RecommendResponse,
) -> Slate:
    """One request from checks to the answer, which fills ``response``, an empty one: it may be part
    of another message, where it would be copied to. Raises InvalidRequest, and what the funnel
    raises."""
    validation.check_recommend(request, engine.catalogue.attributes)
    slate = await engine.recommend.run(
        mapping.to_context(
            request,
            engine.catalogue,
            request_id=request_id,
            deadline=deadline,
            now=time.time(),
            variant=engine.variant_of(request.user_id),
        )
    )
    response.request_id = request_id
    response.bundle_id = engine.bundle.bundle_id
    response.variant = slate.variant
    mapping.fill(response, slate, engine.catalogue, request.attributes, trace=request.trace)
    return slate


def _note(call: Call, slate: Slate) -> None:
    call.notes["items"] = len(slate.candidates)
    call.notes["degradation"] = slate.level.name.lower()
    if slate.variant:
        call.notes["variant"] = slate.variant


def _request_error(status: status_pb2.Status) -> pb.RequestError:
    found = pb.RequestError(code=status.code, message=status.message)
    for detail in status.details:
        bad = error_details_pb2.BadRequest()
        if any_pb2.Any.Unpack(detail, bad):
            for violation in bad.field_violations:
                found.violations.add(field=violation.field, description=violation.description)
    return found


class EventServicer(event_service_pb2_grpc.EventServiceServicer):
    def __init__(
        self,
        engines: Engines,
        store: UserStateStore,
        event_log: EventLog,
        *,
        refuse_unknown: bool,
    ) -> None:
        self._engines = engines
        self._store = store
        self._event_log = event_log
        self._refuse_unknown = refuse_unknown

    async def RecordEvents(
        self, request: event_service_pb2.RecordEventsRequest, context: Context
    ) -> event_service_pb2.RecordEventsResponse:
        validation.check_count("events", request.events, validation.MAX_EVENTS)
        response = event_service_pb2.RecordEventsResponse()
        recorded, valid = await self._record(request.events, 0, response.rejected)
        response.recorded_count = recorded
        response.duplicate_count = valid - recorded
        _note_events(response.recorded_count, len(response.rejected))
        return response

    async def StreamEvents(
        self,
        request_iterator: AsyncIterator[event_service_pb2.StreamEventsRequest],
        context: Context,
    ) -> event_service_pb2.StreamEventsResponse:
        response, received = event_service_pb2.StreamEventsResponse(), 0
        async for request in request_iterator:
            validation.check_most("events", request.events, validation.MAX_EVENTS)
            rejected: list[event_service_pb2.RejectedEvent] = []
            recorded, valid = await self._record(request.events, received, rejected)
            received += len(request.events)
            response.recorded_count += recorded
            response.duplicate_count += valid - recorded
            response.rejected_count += len(rejected)
            room = validation.MAX_REJECTED - len(response.rejected)
            response.rejected.extend(rejected[:room])
            _note_events(response.recorded_count, response.rejected_count)  # it may be cut
        return response

    async def _record(
        self,
        messages: Sequence[item_pb2.Event],
        offset: int,
        rejected: MutableSequence[event_service_pb2.RejectedEvent],
    ) -> tuple[int, int]:
        """Record the valid ones: how many were new, and how many were valid."""
        if not messages:
            return 0, 0
        now, valid = time.time(), []
        for start in range(0, len(messages), _CHECKED_AT_ONCE):
            if start:
                await asyncio.sleep(0)
            some = messages[start : start + _CHECKED_AT_ONCE]
            valid.append(self._checked(some, now, offset + start, rejected))
        events, new = Events.joined(valid), 0
        for start in range(0, len(events), _RECORDED_AT_ONCE):
            # a caller who hangs up must not come between the store and the log: repeated, the
            # events would be duplicates to the store and never be logged
            part = events.part(start, start + _RECORDED_AT_ONCE)
            recording = asyncio.ensure_future(self._store.record(part))
            recording.add_done_callback(partial(self._log, part))
            new += int((await asyncio.shield(recording)).sum())
        return new, len(events)

    def _checked(
        self,
        messages: Sequence[item_pb2.Event],
        now: float,
        offset: int,
        rejected: MutableSequence[event_service_pb2.RejectedEvent],
    ) -> Events:
        """The valid ones of them."""
        columns = EventColumns(messages)
        known = self._engines.current.catalogue.rows(columns.item_ids) >= 0
        problems = validation.events_problems(columns, now)
        if self._refuse_unknown:
            for at in np.flatnonzero(~known).tolist():
                said = f"item_id {messages[at].item_id[:64]!r} is not in the catalogue"
                problems.setdefault(at, []).append(said)
        for at in sorted(problems):
            rejected.append(
                event_service_pb2.RejectedEvent(
                    index=offset + at, event_id=messages[at].event_id, reasons=problems[at]
                )
            )
        if problems:
            valid = [at for at in range(len(messages)) if at not in problems]
            columns, known = EventColumns([messages[at] for at in valid]), known[valid]
        return columns.events(now, known)

    def _log(self, events: Events, recording: asyncio.Future[Mask]) -> None:
        if not recording.cancelled() and recording.exception() is None:
            self._event_log.append(events.where(recording.result()))


def _note_events(recorded: int, rejected: int) -> None:
    notes = current_call().notes
    notes["recorded"], notes["rejected"] = recorded, rejected


class CatalogServicer(catalog_service_pb2_grpc.CatalogServiceServicer):
    def __init__(self, engines: Engines, activity: ItemActivity, editor: CatalogueEditor) -> None:
        self._engines = engines
        self._activity = activity
        self._editor = editor

    async def GetItems(
        self, request: catalog_service_pb2.GetItemsRequest, context: Context
    ) -> catalog_service_pb2.GetItemsResponse:
        catalogue = self._engines.current.catalogue
        validation.check_items(request.item_ids, request.attributes, catalogue.attributes)
        rows = catalogue.rows(list(request.item_ids))
        pairs = zip(request.item_ids, rows.tolist(), strict=True)
        items = catalogue.items(rows[rows >= 0], list(request.attributes) or None)
        response = catalog_service_pb2.GetItemsResponse(
            items=[mapping.to_item(item) for item in items],
            unknown_item_ids=[item_id for item_id, row in pairs if row < 0],
        )
        if request.activity:
            keys = catalogue.keys(rows[rows >= 0])
            counters = await self._activity.counters(keys, time.time())
            for position, item in enumerate(items):
                response.activity[item.item_id].CopyFrom(mapping.to_activity(counters, position))
        return response

    async def SetAvailability(
        self, request: catalog_service_pb2.SetAvailabilityRequest, context: Context
    ) -> catalog_service_pb2.SetAvailabilityResponse:
        validation.check_count("changes", request.changes, validation.MAX_CHANGES)
        await self._set_availability(request.changes)
        return catalog_service_pb2.SetAvailabilityResponse(changed_count=len(request.changes))

    async def StreamAvailability(
        self,
        request_iterator: AsyncIterator[catalog_service_pb2.StreamAvailabilityRequest],
        context: Context,
    ) -> catalog_service_pb2.StreamAvailabilityResponse:
        changed = 0
        async for request in request_iterator:
            validation.check_most("changes", request.changes, validation.MAX_CHANGES)
            if request.changes:
                await self._set_availability(request.changes)
                changed += len(request.changes)
                current_call().notes["changed"] = changed  # it may be cut
        return catalog_service_pb2.StreamAvailabilityResponse(changed_count=changed)

    async def UpsertItems(
        self, request: catalog_service_pb2.UpsertItemsRequest, context: Context
    ) -> catalog_service_pb2.UpsertItemsResponse:
        engine = self._engines.current
        validation.check_new_items(request.items, engine.catalogue.attributes, engine.bundle.dim)
        now = time.time()
        await self._editor.upsert([mapping.to_new_item(item, now) for item in request.items])
        return catalog_service_pb2.UpsertItemsResponse(upserted_count=len(request.items))

    async def DeleteItems(
        self, request: catalog_service_pb2.DeleteItemsRequest, context: Context
    ) -> catalog_service_pb2.DeleteItemsResponse:
        validation.check_items(request.item_ids, (), {})
        deleted = await self._editor.delete(list(dict.fromkeys(request.item_ids)))
        return catalog_service_pb2.DeleteItemsResponse(deleted_count=deleted)

    async def _set_availability(self, changes: Sequence[catalog_service_pb2.Availability]) -> None:
        validation.check_changes([change.item_id for change in changes])
        await self._editor.set_availability(
            [(change.item_id, change.available) for change in changes]
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
    live: LiveStatus
    rebuild_at: int


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
            live_catalogue=admin_service_pb2.LiveCatalogueStatus(
                item_count=len(engine.live),
                capacity=engine.live.capacity,
                deleted_count=status.live.deletions,
                availability_count=status.live.availabilities,
                rebuild_due=len(engine.live) >= status.rebuild_at,
            ),
        )
        if status.live.age_s is not None:
            response.live_catalogue.age.FromNanoseconds(int(status.live.age_s * 1e9))
        response.bundle.as_of_time.FromNanoseconds(int(bundle.as_of * 1e9))
        response.uptime.FromNanoseconds(int(status.uptime_s * 1e9))
        return response
