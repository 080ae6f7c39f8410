"""Changes of the catalogue and events while serving: at once, everywhere, and after a restart."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest

from support.servers import ServerProcess, running, server_process
from tamis.v1 import item_pb2
from tamis.v1 import recommend_service_pb2 as pb
from tamis.v1.catalog_service_pb2 import NewItem
from tamis_client import AsyncTamisClient, InvalidRequest, NotFound, Overloaded, RequestFailed
from tamis_server.bundles.loader import load

DIM = 16


def vector(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=DIM).astype(np.float32)


def new_item(item_id: str, seed: int = 0, **attributes: item_pb2.AttributeValue) -> NewItem:
    item = item_pb2.Item(item_id=item_id, title="New", available=True, attributes=attributes)
    return NewItem(item=item, vector=vector(seed))


def text(value: str) -> item_pb2.AttributeValue:
    return item_pb2.AttributeValue(text=value)


def where(colour: str) -> pb.Predicate:
    values = pb.ValueList(values=[pb.Value(text=colour)])
    return pb.Predicate(attribute="colour", **{"in": values})


def event(number: int, item_id: str, kind: str = "VIEW", user_id: str = "ada") -> item_pb2.Event:
    chosen = item_pb2.EventKind.Value(f"EVENT_KIND_{kind}")
    return item_pb2.Event(event_id=f"e{number}", user_id=user_id, item_id=item_id, kind=chosen)


@asynccontextmanager
async def connected(target: str) -> AsyncIterator[AsyncTamisClient]:
    async with AsyncTamisClient(target, timeout_s=10.0) as client:
        yield client


@pytest.fixture
async def client(bundle: Path) -> AsyncIterator[AsyncTamisClient]:
    async with running(bundle) as server, connected(server.target) as client:
        yield client


@pytest.fixture(params=["lmdb", "redis", "redis cluster"])
def pair(
    request: pytest.FixtureRequest, bundle: Path, tmp_path: Path
) -> Iterator[tuple[ServerProcess, ServerProcess]]:
    """Two server processes with one store: workers of a machine, or replicas."""
    if request.param == "lmdb":
        url = f"lmdb://{tmp_path / 'state'}"
    elif request.param == "redis":
        url = request.getfixturevalue("redis_empty").url
    else:
        node = request.getfixturevalue("cluster_empty").nodes[0]
        url = node.url.replace("redis://", "redis+cluster://")
    options = ("--set", f"state.url={url}", "--set", "state.timeout_s=5")
    with ExitStack() as stack:
        first, second = (stack.enter_context(server_process(bundle, *options)) for _ in range(2))
        yield first, second


async def ids(client: AsyncTamisClient, **fields: object) -> list[str]:
    return [item.item_id for item in (await client.recommend(**fields)).items]


async def test_an_unavailable_item_is_not_recommended_from_the_next_request_on(
    client: AsyncTamisClient,
) -> None:
    top = (await ids(client, page_size=5))[0]
    assert (await client.set_availability({top: False})).changed_count == 1
    assert top not in await ids(client, page_size=500)
    assert not (await client.get_items([top])).items[0].available
    assert (await client.status()).live_catalogue.availability_count == 1
    await client.set_availability({top: True})
    assert top in await ids(client, page_size=500)


async def test_availability_comes_in_streams_too(client: AsyncTamisClient) -> None:
    shown = await ids(client, page_size=6)

    async def batches() -> AsyncIterator[dict[str, bool]]:
        yield dict.fromkeys(shown[:3], False)
        yield {}
        yield {shown[3]: False, shown[0]: True, "ghost": False}

    assert (await client.stream_availability(batches())).changed_count == 6
    left = await ids(client, page_size=500)
    assert shown[0] in left
    assert not {*shown[1:4]} & {*left}


async def test_a_new_item_is_available_unless_it_is_said_not_to_be(
    client: AsyncTamisClient,
) -> None:
    silent, held_back = new_item("silent"), new_item("held-back")
    silent.item.ClearField("available")
    held_back.item.available = False
    await client.upsert_items([silent, held_back])
    shown = await ids(client, page_size=500)
    assert "silent" in shown
    assert "held-back" not in shown
    items = (await client.get_items(["silent", "held-back"])).items
    assert [(item.HasField("available"), item.available) for item in items] == [
        (True, True),
        (True, False),
    ]


async def test_a_new_item_is_found_by_every_way_to_it(client: AsyncTamisClient) -> None:
    new = new_item("brand-new", 1, colour=text("mauve"), price=item_pb2.AttributeValue(number=5))
    new.item.attributes["tags"].tags.values.extend(["new", "unheard-of"])
    await client.upsert_items([new])
    found = (await client.get_items(["brand-new"])).items[0]
    assert found.title == "New"
    assert found.attributes["colour"].text == "mauve"
    assert await ids(client, predicates=[where("mauve")]) == ["brand-new"]
    priced = pb.Predicate(attribute="price", range=pb.Range(minimum=5, maximum=5))
    assert await ids(client, predicates=[priced, where("mauve")]) == ["brand-new"]
    assert "brand-new" in await ids(client, page_size=500)
    sources = {
        source
        for item in (await client.recommend(page_size=500)).items
        if item.item_id == "brand-new"
        for source in item.sources
    }
    assert pb.CANDIDATE_SOURCE_FRESH in sources
    related = await client.related_items(item_ids=["brand-new"], page_size=5)
    assert len(related.items) == 5


async def test_what_is_nearest_to_a_user_is_recommended_new_or_not(
    client: AsyncTamisClient,
) -> None:
    related = await client.related_items(item_ids=["item-5"], page_size=3)
    twin = NewItem(item=item_pb2.Item(item_id="twin", available=True), vector=vector(0))
    await client.upsert_items([twin])
    close = NewItem(item=item_pb2.Item(item_id="twins-twin", available=True), vector=vector(0))
    await client.upsert_items([close])
    found = await client.related_items(item_ids=["twin"], page_size=3)
    assert found.items[0].item_id == "twins-twin"
    assert found.items[0].score > related.items[-1].score


async def test_a_changed_item_replaces_the_one_of_the_bundle(client: AsyncTamisClient) -> None:
    changed = NewItem(
        item=item_pb2.Item(
            item_id="item-7", title="Changed", available=True, attributes={"colour": text("mauve")}
        )
    )
    await client.upsert_items([changed])  # its vector stays that of the bundle
    assert (await client.get_items(["item-7"])).items[0].title == "Changed"
    everything = await ids(client, page_size=500)
    assert everything.count("item-7") == 1
    assert await ids(client, predicates=[where("mauve")]) == ["item-7"]
    await client.record_events([event(1, "item-7")])
    assert "item-7" not in await ids(client, user_id="ada", page_size=500)


async def test_a_deleted_item_is_gone_until_it_is_upserted(client: AsyncTamisClient) -> None:
    top = (await ids(client, page_size=5))[0]
    assert (await client.delete_items([top, "ghost"])).deleted_count == 1
    assert (await client.get_items([top])).unknown_item_ids == [top]
    assert top not in await ids(client, page_size=500)
    await client.set_availability({top: True})
    assert top not in await ids(client, page_size=500)
    with pytest.raises(NotFound):
        await client.related_items(item_ids=[top])
    await client.upsert_items([new_item(top, 3)])
    assert top in await ids(client, page_size=500)


async def test_what_is_wrong_with_an_item_is_said_by_field(client: AsyncTamisClient) -> None:
    zero, nan = new_item("zero"), new_item("nan")
    zero.vector[:] = [0.0] * DIM
    nan.vector[3] = float("nan")
    short, lacking = new_item("short"), new_item("lacking")
    del short.vector[5:]
    del lacking.vector[:]
    unknown, wrong = new_item("a", size=text("XL")), new_item("b", price=text("cheap"))
    items = [zero, nan, short, unknown, wrong, new_item("zero"), new_item("")]
    with pytest.raises(InvalidRequest) as caught:
        await client.upsert_items(items)
    assert [(v.field, v.description) for v in caught.value.violations] == [
        ("items[0].vector", "is zero, a direction must be given"),
        ("items[1].vector", "has a number that is not finite"),
        ("items[2].vector", "has 5 numbers, the bundle's vectors have 16"),
        (
            "items[3].item.attributes[size]",
            "'size' is no attribute of this catalogue; there are colour, organic, price, tags",
        ),
        ("items[4].item.attributes[price]", "is text, price (number) takes number"),
        ("items[5].item.item_id", "is items[0]'s too"),
        ("items[6].item.item_id", "is empty, must be given"),
    ]
    with pytest.raises(InvalidRequest, match="has no item tower"):
        await client.upsert_items([lacking])
    with pytest.raises(InvalidRequest, match="1 to 1000 are allowed"):
        await client.upsert_items([])
    with pytest.raises(InvalidRequest, match="1 to 10000 are allowed"):
        await client.set_availability({})
    with pytest.raises(InvalidRequest, match=r"changes\[0\].item_id"):
        await client.set_availability({"": False})


async def test_when_the_delta_grows_past_its_bound_a_rebuild_is_due(bundle: Path) -> None:
    sections = {"catalogue": {"capacity": 8, "rebuild_at": 5}}
    async with running(bundle, sections) as server, connected(server.target) as client:
        await client.upsert_items([new_item(f"new-{n}", n) for n in range(4)])
        assert not (await client.status()).live_catalogue.rebuild_due
        await client.upsert_items([new_item("new-4", 4)])
        status = (await client.status()).live_catalogue
        assert status.rebuild_due
        assert (status.item_count, status.capacity) == (5, 8)
        with pytest.raises(Overloaded, match="a new bundle must be built"):
            await client.upsert_items([new_item(f"more-{n}", n) for n in range(4)])


async def test_activity_of_items_is_counted_and_trends(bundle: Path) -> None:
    sections = {"retrieval": {"trending_refresh_s": 0.02}}
    async with running(bundle, sections) as server, connected(server.target) as client:
        await client.record_events(
            [event(n, "item-3", "PURCHASE", f"user-{n}") for n in range(50)]
            + [event(100 + n, "item-4", "VIEW", f"user-{n}") for n in range(10)]
        )
        found = await client.get_items(["item-3", "item-4", "item-5"], activity=True)
        assert found.activity["item-3"].purchase_count == pytest.approx(50, rel=1e-3)
        assert found.activity["item-4"].view_count == pytest.approx(10, rel=1e-3)
        assert not found.activity["item-5"].HasField("last_event_time")
        async with asyncio.timeout(10):
            while True:
                answer = await client.recommend(user_id="new", page_size=500)
                trending = [
                    item.item_id
                    for item in answer.items
                    if pb.CANDIDATE_SOURCE_TRENDING in item.sources
                ]
                if trending:
                    break
        assert set(trending) <= {"item-3", "item-4"}


async def test_events_come_in_streams_and_invalid_ones_alone_are_refused(
    client: AsyncTamisClient,
) -> None:
    async def batches() -> AsyncIterator[list[item_pb2.Event]]:
        yield [event(n, "item-1") for n in range(150)]
        yield [event(1, "item-1"), event(500, ""), event(501, "item-2")]

    response = await client.stream_events(batches())
    assert (response.recorded_count, response.duplicate_count) == (151, 1)
    assert response.rejected_count == 1
    assert (response.rejected[0].index, response.rejected[0].event_id) == (151, "e500")


async def test_events_of_unknown_items_are_refused_where_so_configured(bundle: Path) -> None:
    sections = {"events": {"unknown_items": "refuse"}}
    async with running(bundle, sections) as server, connected(server.target) as client:
        response = await client.record_events([event(1, "ghost"), event(2, "item-1")])
    assert response.recorded_count == 1
    assert response.rejected[0].reasons == ["item_id 'ghost' is not in the catalogue"]


async def test_another_worker_or_replica_reads_what_was_written(
    pair: tuple[ServerProcess, ServerProcess],
) -> None:
    async with connected(pair[0].target) as first, connected(pair[1].target) as second:
        for number in range(5):
            top = (await ids(second, user_id="ada", page_size=5))[0]
            await first.record_events([event(number, top)])
            assert top not in await ids(second, user_id="ada", page_size=500)


async def test_availability_takes_effect_everywhere(
    pair: tuple[ServerProcess, ServerProcess],
) -> None:
    async with connected(pair[0].target) as first, connected(pair[1].target) as second:
        for number in range(20):
            item_id = f"item-{number}"
            before = (await second.get_items([item_id])).items[0].available
            await first.set_availability({item_id: not before})
            async with asyncio.timeout(10):  # loadtest/state.py measures how long it takes
                while (await second.get_items([item_id])).items[0].available is before:
                    pass


async def test_a_new_item_is_everywhere_and_there_after_a_restart(
    pair: tuple[ServerProcess, ServerProcess], bundle: Path
) -> None:
    async with connected(pair[0].target) as first, connected(pair[1].target) as second:
        await first.upsert_items([new_item("brand-new", 1)])
        await first.delete_items(["item-9"])
        await first.set_availability({"item-8": False})
        async with asyncio.timeout(10):
            while (await second.get_items(["brand-new"])).unknown_item_ids:
                pass
    options = [each for each in pair[0].process.args if "state.url=" in each][-1]
    for server in pair:
        server.stop()
    with server_process(bundle, "--set", options) as again:
        async with connected(again.target) as client:
            found = await client.get_items(["brand-new", "item-8", "item-9"])
            assert [item.item_id for item in found.items] == ["brand-new", "item-8"]
            assert [item.available for item in found.items] == [True, False]
            shown = await ids(client, page_size=500)
            assert "brand-new" in shown
            assert not {"item-8", "item-9"} & {*shown}


async def test_a_swap_keeps_what_came_since(bundle: Path, tmp_path: Path) -> None:
    from tamis_pipeline.bundle import write_bundle
    from tamis_pipeline.synthetic import random_parts

    moving = tmp_path / "bundle"
    write_bundle(random_parts(items=200, seed=1), moving)
    async with running(moving) as server, connected(server.target) as client:
        await client.upsert_items([new_item("brand-new", 1)])
        await client.set_availability({"item-1": False})
        write_bundle(random_parts(items=220, seed=2), moving)
        await server.application.reload()
        assert (await client.status()).bundle.item_count == 220
        found = await client.get_items(["brand-new", "item-1"])
        assert [item.available for item in found.items] == [True, False]


async def test_a_bundle_newer_than_an_upsert_has_it_already(tmp_path: Path) -> None:
    from tamis_pipeline.bundle import write_bundle
    from tamis_pipeline.synthetic import random_parts

    moving = tmp_path / "bundle"
    write_bundle(random_parts(items=200, seed=1), moving)
    async with running(moving) as server, connected(server.target) as client:
        changed = NewItem(item=item_pb2.Item(item_id="item-7", title="Changed", available=True))
        await client.upsert_items([changed])
        write_bundle(random_parts(items=200, seed=2, as_of=time.time() + 60), moving)
        await server.application.reload()
        assert (await client.get_items(["item-7"])).items[0].title == "Item 7"
        assert (await client.status()).live_catalogue.item_count == 0


async def test_a_stream_of_too_many_changes_at_a_time_is_refused(
    client: AsyncTamisClient,
) -> None:
    async def batches() -> AsyncIterator[dict[str, bool]]:
        yield {f"item-{n}": True for n in range(10_001)}

    with pytest.raises(RequestFailed) as caught:
        await client.stream_availability(batches())
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT


def test_rows_behind_the_bundles_own_are_spare(bundle: Path) -> None:
    loaded = load(bundle, spare=7)
    assert loaded.rows == loaded.manifest.items + 7
    assert loaded.vectors.shape[0] == loaded.rows
    assert not loaded.vectors[loaded.manifest.items :].any()
