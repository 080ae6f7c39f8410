"""The services through a real channel: answers, refusals, and nothing of our insides."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from support.servers import Running, running
from tamis.v1 import item_pb2, recommend_service_pb2, recommend_service_pb2_grpc
from tamis.v1 import recommend_service_pb2 as pb
from tamis_client import AsyncTamisClient, RequestFailed
from tamis_server.funnel.funnel import Funnel
from tamis_server.transport.server import SERVICES


@pytest.fixture
async def server(bundle: Path) -> AsyncIterator[Running]:
    async with running(bundle) as started:
        yield started


@pytest.fixture
async def client(server: Running) -> AsyncIterator[AsyncTamisClient]:
    async with AsyncTamisClient(server.target, timeout_s=10.0) as connected:
        yield connected


async def refused(client: AsyncTamisClient, **fields: object) -> RequestFailed:
    with pytest.raises(RequestFailed) as caught:
        await client.recommend(**fields)
    return caught.value


async def test_an_answer_carries_items_sources_reasons_and_header(client: AsyncTamisClient) -> None:
    response = await client.recommend(user_id="user-1", page_size=7, attributes=["colour", "price"])
    assert [item.rank for item in response.items] == [1, 2, 3, 4, 5, 6, 7]
    assert all(item.sources and item.reasons for item in response.items)
    assert any("price" in item.attributes for item in response.items)
    assert response.request_id
    assert response.bundle_id.startswith("random-")
    assert response.degradation.level == pb.DEGRADATION_LEVEL_FULL
    assert not response.HasField("trace")


async def test_the_trace_gives_counts_and_time_of_every_stage(client: AsyncTamisClient) -> None:
    response = await client.recommend(user_id="user-1", trace=True)
    assert [stage.stage for stage in response.trace.stages] == [
        "user_history",
        "user_state",
        "eligibility",
        "query_encoding",
        "retrieval",
        "filtering",
        "hydration",
        "ranking",
        "reranking",
    ]
    retrieval = response.trace.stages[4]
    assert retrieval.candidates_out > 0
    sources = {"personal", "recent", "popular", "fresh", "trending", "co_occurrence"}
    assert set(retrieval.counts) == sources
    assert response.trace.duration.ToNanoseconds() > 0


@pytest.mark.parametrize("user_id", ["", "nobody-ever"])
async def test_an_unknown_user_gets_a_cold_start_answer(
    client: AsyncTamisClient, user_id: str
) -> None:
    response = await client.recommend(user_id=user_id)
    assert len(response.items) == 20
    assert response.degradation.level == pb.DEGRADATION_LEVEL_FULL


def predicate(attribute: str, *values: str) -> pb.Predicate:
    texts = [pb.Value(text=value) for value in values]
    return pb.Predicate(attribute=attribute, **{"in": pb.ValueList(values=texts)})


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"page_size": -1}, "page_size", "allowed are 1 to 500"),
        ({"page_size": 501}, "page_size", "allowed are 1 to 500"),
        ({"user_id": "x" * 257}, "user_id", "257 bytes, at most 256"),
        ({"user_id": "a\nb"}, "user_id", "not printable"),
        ({"session_id": "\x00"}, "session_id", "not printable"),
        ({"attributes": ["size"]}, "attributes[0]", "there are colour, organic, price, tags"),
        ({"predicates": [predicate("size", "XL")]}, "predicates[0].attribute", "'size' is no"),
        ({"predicates": [pb.Predicate(attribute="colour")]}, "predicates[0]", "no condition"),
        (
            {"predicates": [predicate("price", "cheap")]},
            "predicates[0].in.values[0]",
            "is text, price (number) takes number",
        ),
        (
            {"predicates": [pb.Predicate(attribute="colour", range=pb.Range(minimum=1))]},
            "predicates[0].range",
            "is for numbers",
        ),
        (
            {"predicates": [pb.Predicate(attribute="price", range=pb.Range(minimum=2, maximum=1))]},
            "predicates[0].range",
            "is empty",
        ),
        ({"excluded_item_ids": ["x"] * 10_001}, "excluded_item_ids", "0 to 10000 are allowed"),
        ({"excluded_item_ids": [""]}, "excluded_item_ids[0]", "is empty"),
        ({"context": pb.Context(locale="\x07")}, "context.locale", "not printable"),
    ],
)
async def test_a_bad_field_is_refused_by_name_with_what_is_allowed(
    client: AsyncTamisClient, fields: dict[str, object], field: str, says: str
) -> None:
    error = await refused(client, **fields)
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [violation.field for violation in error.violations] == [field]
    assert says in error.violations[0].description


async def test_all_that_is_wrong_is_said_at_once(client: AsyncTamisClient) -> None:
    error = await refused(client, page_size=900, user_id="\n", attributes=["nope"])
    fields = [violation.field for violation in error.violations]
    assert fields == ["user_id", "page_size", "attributes[0]"]


async def test_a_short_answer_says_why(client: AsyncTamisClient) -> None:
    impossible = predicate("colour", "mauve")
    response = await client.recommend(user_id="user-1", predicates=[impossible])
    assert not response.items
    assert response.shortfall_reason == pb.SHORTFALL_REASON_NO_ELIGIBLE_ITEMS


async def test_the_request_id_of_the_caller_comes_back(server: Running) -> None:
    async with grpc.aio.insecure_channel(server.target) as channel:
        stub = recommend_service_pb2_grpc.RecommendServiceStub(channel)
        call = stub.Recommend(
            recommend_service_pb2.RecommendRequest(), metadata=(("x-request-id", "mine-1"),)
        )
        assert (await call).request_id == "mine-1"
        assert dict(await call.trailing_metadata())["x-request-id"] == "mine-1"


async def test_a_deadline_too_short_is_refused_without_the_work(bundle: Path) -> None:
    async with (
        running(bundle, min_timeout_s=5.0) as server,
        AsyncTamisClient(server.target, timeout_s=1.0) as client,
    ):
        error = await refused(client, user_id="user-1")
        assert error.code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "5000 ms needed" in error.message


async def test_no_stack_trace_reaches_a_caller(
    server: Running, client: AsyncTamisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def explode(self: Funnel, ctx: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(Funnel, "run", explode)
    error = await refused(client, user_id="user-1")
    assert error.code is grpc.StatusCode.INTERNAL
    assert "secret" not in error.message
    assert error.request_id in error.message


async def test_a_batch_answers_each_of_its_requests_or_says_why_not(
    client: AsyncTamisClient,
) -> None:
    requests = [
        pb.RecommendRequest(user_id="user-1", page_size=3),
        pb.RecommendRequest(page_size=-5),
        pb.RecommendRequest(user_id="user-2", page_size=4),
    ]
    first, bad, last = await client.batch_recommend(requests)
    assert len(first.response.items) == 3
    assert len(last.response.items) == 4
    assert bad.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert bad.error.violations[0].field == "page_size"
    alone = await client.recommend(user_id="user-2", page_size=4)
    assert [i.item_id for i in last.response.items] == [i.item_id for i in alone.items]


async def test_related_items_are_near_and_not_the_item_itself(client: AsyncTamisClient) -> None:
    response = await client.related_items(item_ids=["item-5"], page_size=10)
    ids = [item.item_id for item in response.items]
    assert len(ids) == 10
    assert "item-5" not in ids
    assert response.items[0].reasons == [pb.REASON_CODE_SIMILAR_TO_ITEM]


async def test_related_items_leave_out_what_the_user_refused_and_nothing_else_met(
    client: AsyncTamisClient,
) -> None:
    async def related(**fields: object) -> list[str]:
        answer = await client.related_items(item_ids=["item-5"], page_size=10, **fields)
        return [item.item_id for item in answer.items]

    for_anybody = await related()
    hidden, disliked, viewed, bought = for_anybody[:4]
    await client.record_events(
        [
            event(1, item_id=hidden, kind=item_pb2.EVENT_KIND_HIDE),
            event(2, item_id=disliked, kind=item_pb2.EVENT_KIND_DISLIKE),
            event(3, item_id=viewed, kind=item_pb2.EVENT_KIND_VIEW),
            event(4, item_id=bought, kind=item_pb2.EVENT_KIND_PURCHASE),
        ]
    )
    for_ada = await related(user_id="ada")
    assert len(for_ada) == 10
    assert not {hidden, disliked} & {*for_ada}
    assert {viewed, bought} <= {*for_ada}
    assert await related() == await related(user_id="bob") == for_anybody


async def test_related_items_of_an_unknown_item_are_not_found(client: AsyncTamisClient) -> None:
    with pytest.raises(RequestFailed, match="'ghost' is not in the catalogue") as caught:
        await client.related_items(item_ids=["item-5", "ghost"])
    assert caught.value.code is grpc.StatusCode.NOT_FOUND


def event(number: int, **fields: object) -> item_pb2.Event:
    base = {"event_id": f"e{number}", "user_id": "ada", "item_id": "item-1"}
    return item_pb2.Event(**{**base, "kind": item_pb2.EVENT_KIND_PURCHASE, **fields})


async def test_the_next_request_sees_a_recorded_event(client: AsyncTamisClient) -> None:
    first = (await client.recommend(user_id="ada", page_size=1)).items[0].item_id
    recorded = await client.record_events([event(1, item_id=first), event(1, item_id=first)])
    assert (recorded.recorded_count, recorded.duplicate_count) == (1, 1)
    after = await client.recommend(user_id="ada", page_size=300)
    assert first not in [item.item_id for item in after.items]


async def test_invalid_events_come_back_and_the_valid_ones_stay(client: AsyncTamisClient) -> None:
    future = Timestamp(seconds=int(time.time()) + 10 * 86_400)
    response = await client.record_events(
        [
            event(1),
            event(2, user_id=""),
            event(3, kind=0),
            event(4, time=Timestamp(seconds=1)),
            event(5, time=future),
            event(6, item_id="not in the catalogue"),
        ]
    )
    assert response.recorded_count == 2
    reasons = {rejected.index: rejected.reasons[0] for rejected in response.rejected}
    assert set(reasons) == {1, 2, 3, 4}
    assert "user_id is empty" in reasons[1]
    assert "EVENT_KIND_PURCHASE" in reasons[2]
    assert "before 2000" in reasons[3]
    assert "in the future" in reasons[4]


async def test_items_come_with_typed_attributes_and_unknown_ids_are_named(
    client: AsyncTamisClient,
) -> None:
    response = await client.get_items(["item-3", "ghost", "item-1"])
    assert [item.item_id for item in response.items] == ["item-3", "item-1"]
    assert list(response.unknown_item_ids) == ["ghost"]
    assert response.items[0].attributes["organic"].WhichOneof("kind") == "boolean"


async def test_the_status_names_bundle_attributes_and_kernels(client: AsyncTamisClient) -> None:
    status = await client.status()
    assert status.bundle.item_count == 300
    assert {(each.name, each.kind) for each in status.attributes} >= {("price", "number")}
    assert status.kernel_level
    assert status.swap_count == 1


@pytest.mark.parametrize("service", ["", *SERVICES])
async def test_health_is_told_per_service(server: Running, service: str) -> None:
    async with grpc.aio.insecure_channel(server.target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        response = await stub.Check(health_pb2.HealthCheckRequest(service=service))
        assert response.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_lists_the_services(bundle: Path) -> None:
    from support.servers import server_process

    with server_process(bundle) as server, grpc.insecure_channel(server.target) as channel:
        assert set(SERVICES) <= set(ProtoReflectionDescriptorDatabase(channel).get_services())
