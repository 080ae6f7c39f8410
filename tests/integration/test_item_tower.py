"""Items without a vector are placed by the bundle's item tower, at once and in every bundle."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from support.engines import AS_OF, bench_of
from support.looks import depicted_parts, picture
from support.servers import Running, running
from support.towers import VOCABULARY, with_item_tower
from tamis.v1 import item_pb2
from tamis.v1.catalog_service_pb2 import NewItem
from tamis_client import AsyncTamisClient
from tamis_pipeline.bundle import BundleParts, write_bundle
from tamis_pipeline.synthetic import random_parts
from tamis_server.bundles.ids import item_keys
from tamis_server.bundles.item_tower import ItemTower
from tamis_server.bundles.loader import load
from tamis_server.domain.changes import Upsert
from tamis_server.domain.errors import BundleRejected
from tamis_server.domain.ports import Item

NO_VECTOR = np.empty(0, np.float32)


def upsert(item_id: str, **attributes: object) -> Upsert:
    item = Item(item_id, "A red dress", "for summer", "", True, attributes)
    return Upsert(int(item_keys([item_id])[0]), AS_OF + 60, item, NO_VECTOR, AS_OF + 60)


@pytest.fixture(scope="module")
def placing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bundle") / "placing"
    parts = with_item_tower(depicted_parts(tmp_path_factory.mktemp("clip")))
    write_bundle(parts, directory)
    return directory


@pytest.fixture
async def server(placing: Path) -> AsyncIterator[Running]:
    async with running(placing) as server:
        yield server


@pytest.mark.parametrize("content", [0, 8])
def test_a_new_item_is_where_training_would_have_put_it(tmp_path: Path, content: int) -> None:
    parts = with_item_tower(random_parts(items=60, as_of=AS_OF, content=content))
    shop = bench_of(parts, tmp_path / "bundle")
    looks = np.eye(8, dtype=np.float32)[:1] if content else np.zeros((1, 0), np.float32)
    change = replace(upsert("new", colour="red"), content=looks[0])  # space "": there is no CLIP
    shop.engine.live.apply([change])
    row = shop.engine.catalogue.rows(["new"])[0]
    assert parts.item_tower is not None
    tower = ItemTower(VOCABULARY, parts.item_tower.arrays)
    fields = np.array([[1, 0]], np.int32)
    words = VOCABULARY.hashed(["A red dress for summer"])
    expected = tower.vectors(fields, words, looks)[0]
    np.testing.assert_allclose(shop.bundle.vectors[row], expected, atol=1e-6)
    assert shop.bundle.item_fields[row].tolist() == [1, 0]
    history = tower.histories(fields, looks)[0]
    np.testing.assert_allclose(
        shop.bundle.encoder["history_table"][row], history, rtol=1e-3, atol=1e-6
    )


def test_a_known_item_keeps_what_was_learnt_of_it_but_not_its_old_attributes(
    tmp_path: Path,
) -> None:
    shop = bench_of(with_item_tower(random_parts(items=60, as_of=AS_OF)), tmp_path / "bundle")
    table = shop.bundle.encoder["history_table"]
    shop.engine.live.apply([upsert("item-7", colour="blue")])
    row = shop.engine.catalogue.rows(["item-7"])[0]
    assert row >= 60
    assert (shop.bundle.vectors[row] == shop.bundle.vectors[7]).all()
    assert (table[row] == table[7]).all()
    assert shop.bundle.item_fields[row].tolist() == [3, 0]


async def test_an_item_without_a_vector_is_recommended_and_found(server: Running) -> None:
    async with AsyncTamisClient(server.target, timeout_s=10.0) as client:
        red = item_pb2.AttributeValue(text="red")
        for item_id in ("twin-1", "twin-2"):
            item = item_pb2.Item(
                item_id=item_id, title="red dress", available=True, attributes={"colour": red}
            )
            new = NewItem(item=item, picture=picture("red"))
            assert (await client.upsert_items([new])).upserted_count == 1
        related = await client.related_items(item_ids=["twin-1"], page_size=3)
        assert related.items[0].item_id == "twin-2"
        found = await client.search(text="red dress", image=picture("red"), page_size=20)
        assert {"twin-1", "twin-2"} <= {item.item_id for item in found.items}
        everything = await client.recommend(page_size=500)
        assert {"twin-1", "twin-2"} <= {item.item_id for item in everything.items}


async def test_after_a_swap_it_is_placed_by_the_next_bundles_tower(
    placing: Path, tmp_path: Path
) -> None:
    moving = tmp_path / "bundle"
    write_bundle(with_item_tower(random_parts(items=60, as_of=AS_OF)), moving)
    async with (
        running(moving) as server,
        AsyncTamisClient(server.target, timeout_s=10.0) as client,
    ):
        item = item_pb2.Item(item_id="new", title="red dress", available=True)
        await client.upsert_items([NewItem(item=item)])
        wider = with_item_tower(random_parts(items=70, as_of=AS_OF, dim=24, seed=3))
        write_bundle(wider, moving)
        await server.application.reload()
        assert (await client.status()).bundle.dimension == 24
        assert (await client.related_items(item_ids=["new"], page_size=3)).items


def without_an_array(parts: BundleParts) -> BundleParts:
    assert parts.item_tower is not None
    arrays = {name: array for name, array in parts.item_tower.arrays.items() if name != "word"}
    return replace(parts, item_tower=replace(parts.item_tower, arrays=arrays))


def of_another_width(parts: BundleParts) -> BundleParts:
    assert parts.item_tower is not None
    arrays = {**parts.item_tower.arrays, "field": np.zeros((11, 3), np.float32)}
    return replace(parts, item_tower=replace(parts.item_tower, arrays=arrays))


def of_other_attributes(parts: BundleParts) -> BundleParts:
    assert parts.item_tower is not None
    vocabulary = {**parts.item_tower.vocabulary, "attributes": []}
    return replace(parts, item_tower=replace(parts.item_tower, vocabulary=vocabulary))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (without_an_array, "item_tower.npz: lacks word"),
        (of_another_width, r"item_tower.npz: field is \(11, 3\) where \(11, 16\) fits"),
        (of_other_attributes, "vocabulary.json: its fields are not those of the manifest"),
    ],
)
def test_a_tower_that_does_not_fit_is_refused(tmp_path: Path, spoil: object, reason: str) -> None:
    parts = spoil(with_item_tower(random_parts(items=60, as_of=AS_OF)))  # type: ignore[operator]
    with pytest.raises(BundleRejected, match=reason):
        bench_of(parts, tmp_path / "bundle")


def test_the_bundle_of_the_tests_is_whole(placing: Path) -> None:
    assert load(placing).item_tower is not None
