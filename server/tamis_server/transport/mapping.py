"""Messages to domain types and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import count
from typing import Any

import numpy as np

from tamis.v1 import catalog_service_pb2, item_pb2
from tamis.v1 import recommend_service_pb2 as pb
from tamis_server.bundles.editor import NewItem
from tamis_server.domain.candidates import NO_ROWS, DegradationLevel, Rows, Source
from tamis_server.domain.context import (
    Deadline,
    Depiction,
    Operator,
    Predicate,
    RequestContext,
)
from tamis_server.domain.ports import Catalogue, Item, ItemCounters
from tamis_server.domain.slate import Shortfall, Slate
from tamis_server.transport.validation import DEFAULT_PAGE_SIZE, KEPT_BYTES

Request = pb.RecommendRequest | pb.RelatedItemsRequest | pb.SearchRequest
Response = pb.RecommendResponse | pb.RelatedItemsResponse | pb.SearchResponse

_SOURCES = {
    Source.PERSONAL: (pb.CANDIDATE_SOURCE_PERSONAL, pb.REASON_CODE_MATCHES_TASTE),
    Source.RECENT: (pb.CANDIDATE_SOURCE_RECENT, pb.REASON_CODE_SIMILAR_TO_RECENT),
    Source.POPULAR: (pb.CANDIDATE_SOURCE_POPULAR, pb.REASON_CODE_POPULAR),
    Source.FRESH: (pb.CANDIDATE_SOURCE_FRESH, pb.REASON_CODE_NEW_ARRIVAL),
    Source.RELATED: (pb.CANDIDATE_SOURCE_RELATED, pb.REASON_CODE_SIMILAR_TO_ITEM),
    Source.TRENDING: (pb.CANDIDATE_SOURCE_TRENDING, pb.REASON_CODE_TRENDING),
    Source.CONTENT: (pb.CANDIDATE_SOURCE_CONTENT, pb.REASON_CODE_SIMILAR_CONTENT),
    Source.SEARCH: (pb.CANDIDATE_SOURCE_SEARCH, pb.REASON_CODE_MATCHES_SEARCH),
    Source.CO_OCCURRENCE: (pb.CANDIDATE_SOURCE_CO_OCCURRENCE, pb.REASON_CODE_OFTEN_TOGETHER),
}
_LEVELS = {
    DegradationLevel.FULL: pb.DEGRADATION_LEVEL_FULL,
    DegradationLevel.FEWER_CANDIDATES: pb.DEGRADATION_LEVEL_FEWER_CANDIDATES,
    DegradationLevel.LIGHT_RANKER: pb.DEGRADATION_LEVEL_LIGHT_RANKER,
    DegradationLevel.RETRIEVAL_ORDER: pb.DEGRADATION_LEVEL_RETRIEVAL_ORDER,
    DegradationLevel.POPULARITY: pb.DEGRADATION_LEVEL_POPULARITY,
}
_SHORTFALLS = {
    Shortfall.NONE: pb.SHORTFALL_REASON_UNSPECIFIED,
    Shortfall.NO_ELIGIBLE_ITEMS: pb.SHORTFALL_REASON_NO_ELIGIBLE_ITEMS,
    Shortfall.FEW_ELIGIBLE_ITEMS: pb.SHORTFALL_REASON_FEW_ELIGIBLE_ITEMS,
    Shortfall.ALL_SEEN: pb.SHORTFALL_REASON_ALL_SEEN,
    Shortfall.INCOMPLETE_RETRIEVAL: pb.SHORTFALL_REASON_INCOMPLETE_RETRIEVAL,
}
_OPERATORS = {"in": Operator.IN, "not_in": Operator.NOT_IN, "range": Operator.RANGE}


def to_context(
    request: Request,
    catalogue: Catalogue,
    *,
    request_id: str,
    deadline: Deadline,
    now: float,
    anchors: Rows = NO_ROWS,
    sought: Depiction | None = None,
    variant: str = "",
) -> RequestContext:
    """A validated request as the funnel wants it; excluded ids that are unknown become -1."""
    context = request.context
    excluded = request.excluded_item_ids
    return RequestContext(
        request_id=request_id,
        user_id=request.user_id,
        limit=request.page_size or DEFAULT_PAGE_SIZE,
        deadline=deadline,
        now=context.time.ToNanoseconds() / 1e9 if context.HasField("time") else now,
        session_id="" if isinstance(request, pb.RelatedItemsRequest) else request.session_id,
        surface=context.surface,
        device=context.device,
        locale=context.locale,
        region=context.region,
        variant=variant,
        predicates=tuple(_predicate(predicate) for predicate in request.predicates),
        excluded=catalogue.rows(list(excluded)) if excluded else NO_ROWS,
        anchors=anchors,
        sought=sought,
    )


def fill(
    response: Response,
    slate: Slate,
    catalogue: Catalogue,
    attributes: Sequence[str],
    *,
    trace: bool,
) -> None:
    """What a slate tells, into an answer: items with the attributes asked for, and how they came
    about. In place, since messages are copied where they are put into another."""
    response.shortfall_reason = _SHORTFALLS[slate.shortfall]
    response.degradation.level = _LEVELS[slate.level]
    for cause in slate.causes:
        level = _LEVELS[cause.level]
        response.degradation.causes.add(stage=cause.stage, reason=cause.reason, level=level)
    if trace:
        _fill_trace(response.trace, slate)
    found = slate.candidates
    # each appends an item: parsed together they cost less than ranks, sources and reasons to set
    response.MergeFromString(b"".join(map(_item_from, found.sources.tolist(), count(1))))
    columns = response.items, catalogue.item_ids(found.rows), found.scores.tolist()
    for item, item_id, score in zip(*columns, strict=True):
        item.item_id, item.score = item_id, score
    if attributes:
        entries = catalogue.items(found.rows, attributes)
        for item, entry in zip(response.items, entries, strict=True):
            _set_attributes(item.attributes, entry.attributes)


def to_new_item(message: catalog_service_pb2.NewItem, now: float) -> NewItem:
    """A valid item to be."""
    item, created = message.item, message.create_time
    return NewItem(
        item=Item(
            item_id=item.item_id,
            title=item.title,
            text=item.text,
            image=item.image,
            available=item.available or not item.HasField("available"),
            attributes={name: _value(value) for name, value in item.attributes.items()},
        ),
        vector=np.array(message.vector, np.float32) if message.vector else None,
        created_at=created.ToNanoseconds() / 1e9 if message.HasField("create_time") else now,
        picture=message.picture,
    )


def to_activity(counters: ItemCounters, position: int) -> catalog_service_pb2.ItemActivity:
    message = catalog_service_pb2.ItemActivity(
        view_count=counters.views[position],
        purchase_count=counters.purchases[position],
        trending_score=counters.trending[position],
    )
    last = float(counters.last[position])
    if not np.isnan(last):
        message.last_event_time.FromNanoseconds(int(last * 1e9))
    return message


def to_item(item: Item) -> item_pb2.Item:
    message = item_pb2.Item(
        item_id=item.item_id,
        title=item.title,
        text=item.text,
        image=item.image,
        available=item.available,
    )
    _set_attributes(message.attributes, item.attributes)
    return message


def _fill_trace(trace: pb.Trace, slate: Slate) -> None:
    for stage in slate.trace:
        message = trace.stages.add(
            stage=stage.stage,
            outcome=stage.outcome,
            candidates_in=stage.rows_in,
            candidates_out=stage.rows_out,
            counts=stage.counts,
        )
        message.duration.FromNanoseconds(int(stage.seconds * 1e9))
    trace.duration.FromNanoseconds(int(sum(stage.seconds for stage in slate.trace) * 1e9))


@lru_cache(maxsize=8192)
def _item_from(bits: int, rank: int) -> bytes:
    """A serialized response, whichever, of one item that has these sources and their reasons."""
    pairs = [_SOURCES[source] for source in Source if bits >> source & 1]
    item = pb.RecommendedItem(
        rank=rank, sources=[source for source, _ in pairs], reasons=[reason for _, reason in pairs]
    )
    return pb.RecommendResponse(items=[item]).SerializeToString()


def _predicate(predicate: pb.Predicate) -> Predicate:
    if predicate.ByteSize() > KEPT_BYTES:
        return _read_predicate(predicate)
    return _kept_predicate(predicate.SerializeToString())


@lru_cache(maxsize=1024)
def _kept_predicate(serialized: bytes) -> Predicate:
    return _read_predicate(pb.Predicate.FromString(serialized))


def _read_predicate(predicate: pb.Predicate) -> Predicate:
    condition = predicate.WhichOneof("condition")
    operator = _OPERATORS[str(condition)]
    if operator is Operator.RANGE:
        bounds = predicate.range
        low = bounds.minimum if bounds.HasField("minimum") else None
        high = bounds.maximum if bounds.HasField("maximum") else None
        return Predicate(predicate.attribute, operator, low=low, high=high)
    values = getattr(predicate, str(condition)).values
    given = tuple(getattr(value, str(value.WhichOneof("kind"))) for value in values)
    return Predicate(predicate.attribute, operator, values=given)


def _value(value: item_pb2.AttributeValue) -> Any:
    kind = str(value.WhichOneof("kind"))
    return list(value.tags.values) if kind == "tags" else getattr(value, kind)


def _set_attributes(messages: Any, attributes: Mapping[str, Any]) -> None:
    for name, value in attributes.items():
        message = messages[name]
        if isinstance(value, bool | np.bool_):
            message.boolean = bool(value)
        elif isinstance(value, str):
            message.text = value
        elif isinstance(value, list):
            message.tags.values.extend(value)
        else:
            message.number = float(value)
