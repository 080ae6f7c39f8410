"""What a request may hold. Everything wrong with it is found at once, each by its field."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

from google.protobuf.timestamp_pb2 import Timestamp

from tamis.v1 import catalog_service_pb2, item_pb2
from tamis.v1 import recommend_service_pb2 as pb
from tamis_server.domain.errors import FieldViolation, InvalidRequest
from tamis_server.domain.ports import AttributeType
from tamis_server.transport.event_columns import EventColumns

DEFAULT_PAGE_SIZE = 20
MAX_PAGE_SIZE = 500
MAX_ID_BYTES = 256
MAX_EXCLUDED = 10_000
MAX_PREDICATES = 32
MAX_VALUES = 1_000
MAX_BATCH = 1_000
MAX_ANCHORS = 10
MAX_EVENTS = 10_000
MAX_REJECTED = 1_000  # said back of a stream; the others are counted
MAX_ITEMS = 1_000
MAX_CHANGES = 10_000
MAX_TEXT_BYTES = 65_536
MAX_QUERY_BYTES = 4_096
MAX_PICTURE_BYTES = 8 << 20
MAX_ATTRIBUTES = 100
EARLIEST_EVENT = 946_684_800  # 2000-01-01
MAX_AHEAD_S = 86_400

KEPT_BYTES = 512  # of a predicate, up to which what is made of it is kept
_LAST_SECOND = 253_402_300_799  # of the year 9999, where Timestamp ends
_LEAST_NORM = 1e-12
_MAX_ECHO = 64  # characters of what the caller wrote that are said back
_EVENT_KINDS = frozenset(item_pb2.EventKind.values()) - {item_pb2.EVENT_KIND_UNSPECIFIED}
_LAST_KIND = max(_EVENT_KINDS)
_KIND_OF_VALUE = {"category": "text", "tags": "text", "number": "number", "boolean": "boolean"}
Request = pb.RecommendRequest | pb.RelatedItemsRequest | pb.SearchRequest


class Violations:
    """Collects what is wrong."""

    def __init__(self) -> None:
        self.found: list[FieldViolation] = []

    def add(self, field: str, description: str) -> None:
        self.found.append(FieldViolation(field, description))

    def identifier(self, field: str, value: str, *, required: bool) -> None:
        if _is_plain(value) or not (value or required):
            return
        size = len(value.encode())
        if not value:
            self.add(field, "is empty, must be given")
        elif size > MAX_ID_BYTES:
            self.add(field, f"has {size} bytes, at most {MAX_ID_BYTES} are allowed")
        elif not value.isprintable():
            self.add(field, "has characters that are not printable, none are allowed")

    def identifiers(self, field: str, values: Sequence[str], most: int, *, least: int = 0) -> None:
        self.count(field, values, most, least=least)
        for position, value in enumerate(values[:most]):
            if not _is_plain(value):
                self.identifier(f"{field}[{position}]", value, required=True)

    def count(self, field: str, values: Sequence[object], most: int, *, least: int = 0) -> None:
        if not least <= len(values) <= most:
            self.add(field, f"has {len(values)} entries, {least} to {most} are allowed")

    def raise_if_any(self) -> None:
        if self.found:
            raise InvalidRequest(self.found)


def check_recommend(request: pb.RecommendRequest, known: Mapping[str, AttributeType]) -> None:
    """Raises InvalidRequest."""
    violations = Violations()
    violations.identifier("session_id", request.session_id, required=False)
    _check_common(violations, request, known)
    violations.raise_if_any()


def check_related(request: pb.RelatedItemsRequest, known: Mapping[str, AttributeType]) -> None:
    """Raises InvalidRequest."""
    violations = Violations()
    violations.identifiers("item_ids", request.item_ids, MAX_ANCHORS, least=1)
    _check_common(violations, request, known)
    violations.raise_if_any()


def check_search(request: pb.SearchRequest, known: Mapping[str, AttributeType]) -> None:
    """Raises InvalidRequest."""
    violations = Violations()
    size = len(request.text.encode())
    if size > MAX_QUERY_BYTES:
        violations.add("text", f"has {size} bytes, at most {MAX_QUERY_BYTES} are allowed")
    if not request.image and not request.text.strip():
        violations.add("text", "is empty and so is image, one of them must be given")
    _check_picture(violations, "image", request.image)
    violations.identifier("session_id", request.session_id, required=False)
    _check_common(violations, request, known)
    violations.raise_if_any()


def check_count(field: str, values: Sequence[object], most: int) -> None:
    """Raises InvalidRequest unless there are 1 to ``most`` values."""
    violations = Violations()
    violations.count(field, values, most, least=1)
    violations.raise_if_any()


def check_most(field: str, values: Sequence[object], most: int) -> None:
    """Raises InvalidRequest if there are more than ``most`` values."""
    violations = Violations()
    violations.count(field, values, most)
    violations.raise_if_any()


def check_items(
    item_ids: Sequence[str], attributes: Sequence[str], known: Mapping[str, AttributeType]
) -> None:
    """Raises InvalidRequest."""
    violations = Violations()
    violations.identifiers("item_ids", item_ids, MAX_ITEMS, least=1)
    _check_attributes(violations, attributes, known)
    violations.raise_if_any()


def check_changes(item_ids: Sequence[str]) -> None:
    """Raises InvalidRequest."""
    violations = Violations()
    for position, item_id in enumerate(item_ids):
        violations.identifier(f"changes[{position}].item_id", item_id, required=True)
    violations.raise_if_any()


def check_new_items(
    items: Sequence[catalog_service_pb2.NewItem], known: Mapping[str, AttributeType], dim: int
) -> None:
    """Raises InvalidRequest. dim: of the vector space they are placed in."""
    violations = Violations()
    violations.count("items", items, MAX_ITEMS, least=1)
    first: dict[str, int] = {}
    for position, new in enumerate(items[:MAX_ITEMS]):
        field, item = f"items[{position}]", new.item
        violations.identifier(f"{field}.item.item_id", item.item_id, required=True)
        if first.setdefault(item.item_id, position) != position:
            violations.add(f"{field}.item.item_id", f"is items[{first[item.item_id]}]'s too")
        for name in ("title", "text", "image"):
            size = len(getattr(item, name).encode())
            if size > MAX_TEXT_BYTES:
                violations.add(
                    f"{field}.item.{name}",
                    f"has {size} bytes, at most {MAX_TEXT_BYTES} are allowed",
                )
        for name, value in item.attributes.items():
            _check_attribute(
                violations, f"{field}.item.attributes[{name[:_MAX_ECHO]}]", name, value, known
            )
        if new.vector:
            _check_vector(violations, f"{field}.vector", new.vector, dim)
        _check_picture(violations, f"{field}.picture", new.picture)
        if new.HasField("create_time"):
            _check_time(violations, f"{field}.create_time", new.create_time)
    violations.raise_if_any()


def events_problems(events: EventColumns, now: float) -> dict[int, list[str]]:
    """What is wrong with each event, by its place; those with which nothing is are left out.

    Most often nothing is with any, which is seen at once; else they are looked at one by one.
    """
    if _are_plain(events, now):
        return {}
    found = ((at, event_problems(each, now)) for at, each in enumerate(events.messages))
    return {at: problems for at, problems in found if problems}


def event_problems(event: item_pb2.Event, now: float) -> list[str]:
    """What is wrong with one event; empty when nothing is."""
    violations = Violations()
    violations.identifier("event_id", event.event_id, required=True)
    violations.identifier("user_id", event.user_id, required=True)
    violations.identifier("item_id", event.item_id, required=True)
    violations.identifier("session_id", event.session_id, required=False)
    violations.identifier("request_id", event.request_id, required=False)
    if event.kind not in _EVENT_KINDS:
        names = ", ".join(item_pb2.EventKind.keys()[1:])
        violations.add("kind", f"is {event.kind}, allowed are {names}")
    if event.position < 0:
        violations.add("position", f"is {event.position}, must not be negative")
    if event.HasField("time"):
        _check_time(violations, "time", event.time)
        if event.time.seconds < EARLIEST_EVENT:
            violations.add("time", "is before 2000")
        elif event.time.seconds > now + MAX_AHEAD_S:
            violations.add("time", "is more than a day in the future")
    return [f"{violation.field} {violation.description}" for violation in violations.found]


def _check_common(
    violations: Violations, request: Request, known: Mapping[str, AttributeType]
) -> None:
    violations.identifier("user_id", request.user_id, required=False)
    if not 0 <= request.page_size <= MAX_PAGE_SIZE:
        violations.add(
            "page_size",
            f"is {request.page_size}, allowed are 1 to {MAX_PAGE_SIZE}, "
            f"or 0 for {DEFAULT_PAGE_SIZE}",
        )
    if request.HasField("context"):
        _check_context(violations, request.context)
    violations.identifiers("excluded_item_ids", request.excluded_item_ids, MAX_EXCLUDED)
    violations.count("predicates", request.predicates, MAX_PREDICATES)
    for position, predicate in enumerate(request.predicates[:MAX_PREDICATES]):
        if not _is_good(predicate, known):
            _check_predicate(violations, f"predicates[{position}]", predicate, known)
    _check_attributes(violations, request.attributes, known)


def _check_context(violations: Violations, context: pb.Context) -> None:
    for name in ("surface", "device", "locale", "region"):
        violations.identifier(f"context.{name}", getattr(context, name), required=False)
    if context.HasField("time"):
        _check_time(violations, "context.time", context.time)


def _check_attributes(
    violations: Violations, names: Sequence[str], known: Mapping[str, AttributeType]
) -> None:
    violations.count("attributes", names, MAX_ATTRIBUTES)
    for position, name in enumerate(names[:MAX_ATTRIBUTES]):
        if name not in known:
            violations.add(f"attributes[{position}]", _unknown(name, known))


def _check_attribute(
    violations: Violations,
    field: str,
    name: str,
    value: item_pb2.AttributeValue,
    known: Mapping[str, AttributeType],
) -> None:
    attribute = known.get(name)
    if attribute is None:
        violations.add(field, _unknown(name, known))
        return
    wanted = "tags" if attribute.kind == "tags" else _KIND_OF_VALUE[attribute.kind]
    given = value.WhichOneof("kind")
    if given != wanted:
        violations.add(field, f"is {given or 'missing'}, {name} ({attribute.kind}) takes {wanted}")
    elif given == "number" and not math.isfinite(value.number):
        violations.add(field, "is not finite, a number must be given")


def _check_vector(violations: Violations, field: str, vector: Sequence[float], dim: int) -> None:
    if len(vector) != dim:
        violations.add(field, f"has {len(vector)} numbers, the bundle's vectors have {dim}")
    elif not all(map(math.isfinite, vector)):
        violations.add(field, "has a number that is not finite")
    elif math.hypot(*vector) < _LEAST_NORM:
        violations.add(field, "is zero, a direction must be given")


def _is_good(predicate: pb.Predicate, known: Mapping[str, AttributeType]) -> bool:
    """Whether it is known that nothing is wrong with it: most are asked for again and again."""
    attribute = known.get(predicate.attribute)
    if attribute is None or predicate.ByteSize() > KEPT_BYTES:
        return False
    return _is_serialized_good(predicate.SerializeToString(), attribute)


@lru_cache(maxsize=1024)
def _is_serialized_good(serialized: bytes, attribute: AttributeType) -> bool:
    violations = Violations()
    predicate = pb.Predicate.FromString(serialized)
    _check_predicate(violations, "", predicate, {attribute.name: attribute})
    return not violations.found


def _check_predicate(
    violations: Violations, field: str, predicate: pb.Predicate, known: Mapping[str, AttributeType]
) -> None:
    attribute = known.get(predicate.attribute)
    if attribute is None:
        violations.add(f"{field}.attribute", _unknown(predicate.attribute, known))
        return
    condition = predicate.WhichOneof("condition")
    if condition is None:
        violations.add(field, "has no condition, one of in, not_in, range must be given")
    elif condition == "range":
        _check_range(violations, f"{field}.range", predicate.range, attribute)
    else:
        values = getattr(predicate, condition).values
        violations.count(f"{field}.{condition}.values", values, MAX_VALUES)
        wanted = _KIND_OF_VALUE[attribute.kind]
        for position, value in enumerate(values[:MAX_VALUES]):
            given = value.WhichOneof("kind")
            if given != wanted:
                violations.add(
                    f"{field}.{condition}.values[{position}]",
                    f"is {given or 'missing'}, {attribute.name} ({attribute.kind}) takes {wanted}",
                )
            elif given == "number" and math.isnan(value.number):
                violations.add(
                    f"{field}.{condition}.values[{position}]", "is NaN, a number must be given"
                )


def _check_range(
    violations: Violations, field: str, bounds: pb.Range, attribute: AttributeType
) -> None:
    if attribute.kind != "number":
        violations.add(field, f"is for numbers, {attribute.name} is of kind {attribute.kind}")
    if math.isnan(bounds.minimum) or math.isnan(bounds.maximum):
        violations.add(field, "has a bound that is not a number")
    both = bounds.HasField("minimum") and bounds.HasField("maximum")
    if both and bounds.minimum > bounds.maximum:
        violations.add(field, f"is empty: minimum {bounds.minimum:g} > maximum {bounds.maximum:g}")


def _check_picture(violations: Violations, field: str, picture: bytes) -> None:
    if len(picture) > MAX_PICTURE_BYTES:
        violations.add(field, f"has {len(picture)} bytes, at most {MAX_PICTURE_BYTES} are allowed")


def _check_time(violations: Violations, field: str, time: Timestamp) -> None:
    if not 0 <= time.seconds <= _LAST_SECOND:
        violations.add(field, f"has {time.seconds} seconds, allowed are the years 1970 to 9999")
    if not 0 <= time.nanos < 1_000_000_000:
        violations.add(field, f"has {time.nanos} nanos, 0 to 999999999 are allowed")


def _are_plain(events: EventColumns, now: float) -> bool:
    """Whether all are surely good, which `event_problems` would say of each."""
    required = (events.event_ids, events.user_ids, events.item_ids)
    optional = (events.session_ids, events.request_ids)
    kinds, seconds, nanos = events.kinds, events.seconds, events.nanos
    return bool(
        all(all(ids) for ids in required)
        and all(_are_plain_if_any(ids) for ids in required + optional)
        and ((kinds > 0) & (kinds <= _LAST_KIND)).all()
        and (events.positions >= 0).all()
        and ((seconds >= EARLIEST_EVENT) & (seconds <= now + MAX_AHEAD_S)).all()
        and ((nanos >= 0) & (nanos < 1_000_000_000)).all()
    )


def _are_plain_if_any(ids: Sequence[str]) -> bool:
    """As `_is_plain`, of many at once; the empty ones are passed over."""
    return max(map(len, ids), default=0) <= MAX_ID_BYTES // 4 and "".join(ids).isprintable()


def _is_plain(value: str) -> bool:
    """Whether an id is surely good: at most 4 bytes a character, so no need to encode it."""
    return 0 < len(value) <= MAX_ID_BYTES // 4 and value.isprintable()


def _unknown(name: str, known: Mapping[str, AttributeType]) -> str:
    names = ", ".join(sorted(known)) or "none"
    shown = name if len(name) <= _MAX_ECHO else name[:_MAX_ECHO] + "…"
    return f"{shown!r} is no attribute of this catalogue; there are {names}"
