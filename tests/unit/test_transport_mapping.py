"""Messages become domain types and back without losing or inventing anything."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from support.engines import Bench, bench
from tamis.v1 import item_pb2
from tamis.v1 import recommend_service_pb2 as pb
from tamis_server.domain.candidates import Candidates, Cause, DegradationLevel, Source
from tamis_server.domain.context import Deadline, EventKind, Operator, Predicate, RequestContext
from tamis_server.domain.slate import Shortfall, Slate, StageTrace
from tamis_server.transport import mapping
from tamis_server.transport.event_columns import EventColumns


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return bench(tmp_path_factory.mktemp("bundle") / "random", items=50)


def to_context(request: pb.RecommendRequest, shop: Bench) -> RequestContext:
    deadline = Deadline.after(1.0)
    return mapping.to_context(
        request, shop.engine.catalogue, request_id="r-1", deadline=deadline, now=7.0
    )


def test_the_circumstances_of_a_request_are_kept(shop: Bench) -> None:
    request = pb.RecommendRequest(
        user_id="ada",
        session_id="s",
        page_size=7,
        context=pb.Context(
            surface="home",
            device="phone",
            locale="de-AT",
            region="AT-9",
            time=Timestamp(seconds=5, nanos=500_000_000),
        ),
    )
    ctx = to_context(request, shop)
    assert (ctx.request_id, ctx.user_id, ctx.session_id, ctx.limit) == ("r-1", "ada", "s", 7)
    assert (ctx.surface, ctx.device, ctx.locale, ctx.region) == ("home", "phone", "de-AT", "AT-9")
    assert ctx.now == 5.5


def test_an_empty_request_means_twenty_items_now(shop: Bench) -> None:
    ctx = to_context(pb.RecommendRequest(), shop)
    assert (ctx.limit, ctx.now, ctx.predicates, len(ctx.excluded)) == (20, 7.0, (), 0)


def test_the_epoch_is_a_time_and_not_the_lack_of_one(shop: Bench) -> None:
    context = pb.Context(time=Timestamp(seconds=0))
    assert to_context(pb.RecommendRequest(context=context), shop).now == 0.0


def test_predicates_keep_their_types_and_open_ends(shop: Bench) -> None:
    request = pb.RecommendRequest(
        predicates=[
            pb.Predicate(attribute="colour", **{"in": pb.ValueList(values=[pb.Value(text="red")])}),
            pb.Predicate(attribute="organic", not_in=pb.ValueList(values=[pb.Value(boolean=True)])),
            pb.Predicate(attribute="price", range=pb.Range(minimum=0)),
            pb.Predicate(attribute="price", range=pb.Range(maximum=9)),
        ]
    )
    assert to_context(request, shop).predicates == (
        Predicate("colour", Operator.IN, values=("red",)),
        Predicate("organic", Operator.NOT_IN, values=(True,)),
        Predicate("price", Operator.RANGE, low=0.0),
        Predicate("price", Operator.RANGE, high=9.0),
    )


def test_excluded_ids_become_rows_and_unknown_ones_none(shop: Bench) -> None:
    request = pb.RecommendRequest(excluded_item_ids=["item-3", "ghost"])
    assert to_context(request, shop).excluded.tolist() == [3, -1]


def test_an_event_without_a_time_happened_now() -> None:
    event = item_pb2.Event(event_id="e", user_id="u", item_id="i", kind=item_pb2.EVENT_KIND_HIDE)
    timed = item_pb2.Event(event_id="f", position=2, time=Timestamp(seconds=3, nanos=500_000_000))
    events = EventColumns([event, timed]).events(7.0, np.array([True, False]))
    assert (events.event_ids, events.user_ids, events.item_ids) == (
        ["e", "f"],
        ["u", ""],
        ["i", ""],
    )
    assert events.kinds.tolist() == [EventKind.HIDE, EventKind.UNSPECIFIED]
    assert events.times.tolist() == [7.0, 3.5]
    assert events.positions.tolist() == [0, 2]
    assert events.known.tolist() == [True, False]


def slate(*sources: int) -> Slate:
    rows = np.arange(len(sources), dtype=np.int32)
    return Slate(Candidates(rows, rows / np.float32(4), np.array(sources, np.uint32)))


def answer(shop: Bench, slate: Slate) -> pb.RecommendResponse:
    response = pb.RecommendResponse()
    mapping.fill(response, slate, shop.engine.catalogue, (), trace=True)
    return response


def test_items_are_ranked_from_1_with_a_reason_for_every_source(shop: Bench) -> None:
    both = 1 << Source.PERSONAL | 1 << Source.FRESH
    first, second = answer(shop, slate(both, 1 << Source.POPULAR)).items
    assert (first.item_id, first.rank, second.item_id, second.rank) == ("item-0", 1, "item-1", 2)
    assert second.score == 0.25
    assert first.sources == [pb.CANDIDATE_SOURCE_PERSONAL, pb.CANDIDATE_SOURCE_FRESH]
    assert first.reasons == [pb.REASON_CODE_MATCHES_TASTE, pb.REASON_CODE_NEW_ARRIVAL]
    assert second.reasons == [pb.REASON_CODE_POPULAR]


@pytest.mark.parametrize("source", Source)
def test_every_source_has_a_message_and_a_reason(shop: Bench, source: Source) -> None:
    (item,) = answer(shop, slate(1 << source)).items
    assert pb.CandidateSource.Name(item.sources[0]) == f"CANDIDATE_SOURCE_{source.name}"
    assert item.reasons[0] != pb.REASON_CODE_UNSPECIFIED


@pytest.mark.parametrize("level", DegradationLevel)
def test_every_level_has_a_message_and_keeps_its_cause(
    shop: Bench, level: DegradationLevel
) -> None:
    causes = (Cause("ranking", "late", level),)
    found = answer(shop, Slate(Candidates(), causes=causes)).degradation
    assert pb.DegradationLevel.Name(found.level) == f"DEGRADATION_LEVEL_{level.name}"
    (cause,) = found.causes
    assert (cause.stage, cause.reason, cause.level) == ("ranking", "late", found.level)


@pytest.mark.parametrize("reason", Shortfall)
def test_every_shortfall_has_a_message(shop: Bench, reason: Shortfall) -> None:
    found = answer(shop, Slate(Candidates(), shortfall=reason))
    name = pb.ShortfallReason.Name(found.shortfall_reason)
    expected = "UNSPECIFIED" if reason is Shortfall.NONE else reason.name
    assert name == f"SHORTFALL_REASON_{expected}"


def test_a_trace_adds_up(shop: Bench) -> None:
    stages = (
        StageTrace("retrieval", "ok", 0.25, 0, 9, {"popular": 9}),
        StageTrace("ranking", "timeout", 0.5, 9, 9),
    )
    trace = answer(shop, Slate(Candidates(), trace=stages)).trace
    assert [(s.stage, s.outcome, s.candidates_in, s.candidates_out) for s in trace.stages] == [
        ("retrieval", "ok", 0, 9),
        ("ranking", "timeout", 9, 9),
    ]
    assert dict(trace.stages[0].counts) == {"popular": 9}
    assert trace.duration.ToMilliseconds() == 750


def test_attributes_keep_their_types(shop: Bench) -> None:
    kinds: dict[str, set[str]] = {}
    for item in shop.engine.catalogue.items(np.arange(50, dtype=np.int32)):
        for name, value in mapping.to_item(item).attributes.items():
            kinds.setdefault(name, set()).add(str(value.WhichOneof("kind")))
    assert kinds == {
        "colour": {"text"},
        "organic": {"boolean"},
        "price": {"number"},
        "tags": {"tags"},
    }
