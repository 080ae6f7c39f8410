"""What a request may hold: the last value that is allowed and the first that is not."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from tamis.v1 import item_pb2
from tamis.v1 import recommend_service_pb2 as pb
from tamis_server.domain.errors import InvalidRequest
from tamis_server.domain.ports import AttributeType
from tamis_server.transport import validation
from tamis_server.transport.event_columns import EventColumns

KNOWN = {
    name: AttributeType(name, kind)
    for name, kind in (
        ("colour", "category"),
        ("tags", "tags"),
        ("price", "number"),
        ("organic", "boolean"),
    )
}
NOW = 1_700_000_000.0


def problems(request: pb.RecommendRequest | pb.RelatedItemsRequest) -> dict[str, str]:
    """Field to description; empty for a good request."""
    try:
        if isinstance(request, pb.RecommendRequest):
            validation.check_recommend(request, KNOWN)
        else:
            validation.check_related(request, KNOWN)
    except InvalidRequest as error:
        return {violation.field: violation.description for violation in error.violations}
    return {}


def among(attribute: str, *values: pb.Value) -> pb.Predicate:
    return pb.Predicate(attribute=attribute, **{"in": pb.ValueList(values=values)})


@pytest.mark.parametrize(
    "request_",
    [
        pb.RecommendRequest(),
        pb.RecommendRequest(page_size=1),
        pb.RecommendRequest(page_size=500),
        pb.RecommendRequest(user_id="x" * 256),
        pb.RecommendRequest(user_id="é" * 128),
        pb.RecommendRequest(user_id="two words, ünïcode ✓"),
        pb.RecommendRequest(excluded_item_ids=["x"] * 10_000),
        pb.RecommendRequest(attributes=["price"] * 100),
        pb.RecommendRequest(context=pb.Context(time=Timestamp(seconds=0))),
        pb.RecommendRequest(context=pb.Context(time=Timestamp(seconds=253_402_300_799))),
        pb.RecommendRequest(predicates=[among("colour", pb.Value(text="red"))] * 32),
        pb.RecommendRequest(predicates=[among("tags", pb.Value(text="new"))]),
        pb.RecommendRequest(predicates=[among("price", pb.Value(number=3))]),
        pb.RecommendRequest(predicates=[among("organic", pb.Value(boolean=False))]),
        pb.RecommendRequest(
            predicates=[pb.Predicate(attribute="price", range=pb.Range(minimum=1, maximum=1))]
        ),
        pb.RelatedItemsRequest(item_ids=["x"] * 10),
    ],
    ids=lambda request: str(request).replace("\n", " ")[:40],
)
def test_the_last_value_that_is_allowed_passes(
    request_: pb.RecommendRequest | pb.RelatedItemsRequest,
) -> None:
    assert problems(request_) == {}


@pytest.mark.parametrize(
    ("request_", "field", "says"),
    [
        (pb.RecommendRequest(page_size=-1), "page_size", "1 to 500, or 0 for 20"),
        (pb.RecommendRequest(page_size=501), "page_size", "1 to 500, or 0 for 20"),
        (pb.RecommendRequest(user_id="x" * 257), "user_id", "257 bytes, at most 256"),
        (pb.RecommendRequest(user_id="é" * 129), "user_id", "258 bytes, at most 256"),
        (pb.RecommendRequest(user_id="a\x7fb"), "user_id", "not printable"),
        (pb.RecommendRequest(session_id="\t"), "session_id", "not printable"),
        (
            pb.RecommendRequest(excluded_item_ids=["x", "a\0"]),
            "excluded_item_ids[1]",
            "not printable",
        ),
        (pb.RecommendRequest(attributes=["price"] * 101), "attributes", "101 entries, 0 to 100"),
        (pb.RecommendRequest(attributes=["price", "size"]), "attributes[1]", "there are colour"),
        (
            pb.RecommendRequest(context=pb.Context(time=Timestamp(seconds=-1))),
            "context.time",
            "the years 1970 to 9999",
        ),
        (
            pb.RecommendRequest(context=pb.Context(time=Timestamp(seconds=2**62))),
            "context.time",
            "the years 1970 to 9999",
        ),
        (
            pb.RecommendRequest(context=pb.Context(time=Timestamp(seconds=5, nanos=-1))),
            "context.time",
            "-1 nanos",
        ),
        (
            pb.RecommendRequest(predicates=[among("price", pb.Value(number=float("nan")))]),
            "predicates[0].in.values[0]",
            "is NaN",
        ),
        (
            pb.RecommendRequest(predicates=[among("organic", pb.Value(text="yes"))]),
            "predicates[0].in.values[0]",
            "is text, organic (boolean) takes boolean",
        ),
        (
            pb.RecommendRequest(predicates=[among("tags", pb.Value())]),
            "predicates[0].in.values[0]",
            "is missing, tags (tags) takes text",
        ),
        (
            pb.RecommendRequest(
                predicates=[pb.Predicate(attribute="price", range=pb.Range(minimum=float("nan")))]
            ),
            "predicates[0].range",
            "not a number",
        ),
        (
            pb.RecommendRequest(predicates=[among("colour", pb.Value(text="red"))] * 33),
            "predicates",
            "33 entries, 0 to 32",
        ),
        (pb.RelatedItemsRequest(), "item_ids", "0 entries, 1 to 10"),
        (pb.RelatedItemsRequest(item_ids=["x"] * 11), "item_ids", "11 entries, 1 to 10"),
        (pb.RelatedItemsRequest(item_ids=[""]), "item_ids[0]", "is empty"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_first_value_that_is_not_is_refused_by_name(
    request_: pb.RecommendRequest | pb.RelatedItemsRequest, field: str, says: str
) -> None:
    found = problems(request_)
    assert set(found) == {field}
    assert says in found[field]


def test_lists_far_too_long_are_not_read_to_their_end() -> None:
    found = problems(pb.RecommendRequest(excluded_item_ids=[""] * 20_000, attributes=["?"] * 500))
    excluded = [field for field in found if field.startswith("excluded_item_ids[")]
    attributes = [field for field in found if field.startswith("attributes[")]
    assert (len(excluded), len(attributes)) == (10_000, 100)


def test_a_name_far_too_long_is_not_said_back_in_full() -> None:
    found = problems(pb.RecommendRequest(attributes=["x" * 100_000]))
    assert len(found["attributes[0]"]) < 200


def event(**fields: object) -> item_pb2.Event:
    base = {"event_id": "e", "user_id": "u", "item_id": "i", "kind": item_pb2.EVENT_KIND_VIEW}
    return item_pb2.Event(**{**base, **fields})


@pytest.mark.parametrize("kind", item_pb2.EventKind.keys()[1:])
def test_every_kind_of_event_is_valid(kind: str) -> None:
    assert validation.event_problems(event(kind=kind), NOW) == []


def test_an_event_is_timed_from_2000_to_a_day_ahead() -> None:
    def valid(seconds: float) -> bool:
        return not validation.event_problems(event(time=Timestamp(seconds=int(seconds))), NOW)

    new_year = datetime(2000, 1, 1, tzinfo=UTC).timestamp()
    assert [valid(new_year - 1), valid(new_year)] == [False, True]
    assert [valid(NOW + 86_400), valid(NOW + 86_401)] == [True, False]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"event_id": ""}, "event_id is empty"),
        ({"user_id": ""}, "user_id is empty"),
        ({"item_id": "a\nb"}, "item_id has characters"),
        ({"kind": 99}, "kind is 99, allowed are EVENT_KIND_VIEW"),
        ({"position": -1}, "position is -1"),
        ({"request_id": "x" * 257}, "request_id has 257 bytes"),
        ({"time": Timestamp(seconds=1_600_000_000, nanos=-7)}, "time has -7 nanos"),
    ],
)
def test_what_is_wrong_with_an_event_is_named(fields: dict[str, object], says: str) -> None:
    (problem,) = validation.event_problems(event(**fields), NOW)
    assert problem.startswith(says)


ids = st.sampled_from(["", "plain", "x" * 64, "x" * 65, "x" * 257, "ü" * 129, "tab\t"])
stamps = st.builds(
    Timestamp,
    seconds=st.sampled_from([0, 946_684_800, int(NOW), int(NOW) + 86_401, 2**62]),
    nanos=st.sampled_from([0, 999_999_999, 1_000_000_000, -1]),
)
messages = st.builds(
    item_pb2.Event,
    event_id=ids,
    user_id=st.just("ada"),
    item_id=ids,
    kind=st.sampled_from([-1, 0, 1, 8, 9]),
    time=st.none() | stamps,
    session_id=ids,
    request_id=ids,
    position=st.sampled_from([-1, 0, 1]),
)
good = st.builds(
    event,
    session_id=st.sampled_from(["", "visit"]),
    time=st.none() | st.just(Timestamp(seconds=int(NOW))),
)


@given(st.lists(good | messages, min_size=1, max_size=6))
def test_of_many_events_as_much_is_found_as_of_each_alone(events: list[item_pb2.Event]) -> None:
    alone = {at: validation.event_problems(each, NOW) for at, each in enumerate(events)}
    found = validation.events_problems(EventColumns(events), NOW)
    assert found == {at: problems for at, problems in alone.items() if problems}


@given(st.lists(good, min_size=1, max_size=6))
def test_good_events_are_not_looked_at_one_by_one(events: list[item_pb2.Event]) -> None:
    columns = EventColumns(events)
    columns.messages = ()
    assert validation.events_problems(columns, NOW) == {}
