"""Items that come while serving, against the obvious reference: a catalogue as a dict."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.engines import AS_OF, SPARE, Bench, bench, request
from tamis_pipeline.synthetic import COLOURS, TAGS
from tamis_server.adapters.embedded import live_items
from tamis_server.adapters.embedded.sources import Ordered
from tamis_server.bundles.ids import item_keys
from tamis_server.domain.candidates import Source
from tamis_server.domain.changes import Availability, Change, Deletion, Upsert
from tamis_server.domain.context import Operator, Predicate
from tamis_server.domain.ports import Item

ITEMS, DIM = 60, 16
LATER = AS_OF + 60


def unit(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).normal(size=DIM).astype(np.float32)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def key_of(item_id: str) -> int:
    return int(item_keys([item_id])[0])


def upsert(item_id: str, seed: int = 0, available: bool = True, **attributes: Any) -> Upsert:
    item = Item(item_id, item_id.title(), "", "", available, attributes)
    return Upsert(key_of(item_id), LATER, item, unit(seed), LATER)


ids = st.sampled_from([*(f"item-{n}" for n in range(5)), *(f"new-{n}" for n in range(5))])
attributes = st.fixed_dictionaries(
    {},
    optional={
        "colour": st.sampled_from((*COLOURS, "mauve")),
        "tags": st.lists(st.sampled_from((*TAGS, "odd")), max_size=2, unique=True),
        "price": st.integers(1, 100).map(float),
        "organic": st.booleans(),
    },
)
changes = st.lists(
    st.one_of(
        st.builds(
            lambda item_id, seed, flag, values: upsert(item_id, seed, flag, **values),
            ids,
            st.integers(0, 50),
            st.booleans(),
            attributes,
        ),
        st.builds(lambda item_id: Deletion(key_of(item_id), LATER), ids),
        st.builds(
            lambda item_id, flag: Availability(key_of(item_id), LATER, flag), ids, st.booleans()
        ),
    ),
    max_size=12,
)


def expected(shop: Bench, made: list[Change]) -> dict[str, dict[str, Any]]:
    """The catalogue as it should be: attributes, with availability and vector."""
    found = {
        record["item_id"]: {**record, "vector": shop.bundle.vectors[row]}
        for row, record in enumerate(shop.bundle.items.to_pylist())
    }
    names = {key_of(name): name for name in (*found, *(f"new-{n}" for n in range(5)))}
    for change in made:
        name = names[change.key]
        if isinstance(change, Upsert):
            item = change.item
            blank = {"colour": None, "tags": [], "price": None, "organic": None}
            found[name] = {
                **blank, **item.attributes, "available": item.available, "vector": change.vector,
            }  # fmt: skip
        elif isinstance(change, Deletion):
            found.pop(name, None)
        elif name in found:
            found[name]["available"] = change.available
    return found


def recommended(shop: Bench, *predicates: Predicate) -> set[str]:
    asked = request("", 500, predicates=predicates)
    slate = asyncio.run(shop.engine.recommend.run(asked))
    assert not slate.causes
    assert np.isfinite(slate.candidates.scores).all()
    return {*shop.engine.catalogue.item_ids(slate.candidates.rows)}


@given(parts=st.lists(changes, min_size=1, max_size=3))
@settings(max_examples=25, deadline=None)
def test_whatever_changes_the_catalogue_is_what_it_should_be(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[Change]]
) -> None:
    shop = bench(tmp_path_factory.mktemp("live") / "bundle", items=ITEMS, users=2)
    for part in parts:
        shop.engine.live.apply(part)
    catalogue = expected(shop, [change for part in parts for change in part])
    available = {name for name, item in catalogue.items() if item["available"]}
    assert recommended(shop) == available

    red = Predicate("colour", Operator.IN, ("red", "mauve"))
    assert recommended(shop, red) == {
        name for name in available if catalogue[name]["colour"] in ("red", "mauve")
    }
    odd = Predicate("tags", Operator.NOT_IN, ("odd", "sale"))
    assert recommended(shop, odd) == {
        name for name in available if not {"odd", "sale"} & {*(catalogue[name]["tags"] or [])}
    }
    priced = Predicate("price", Operator.RANGE, low=20.0, high=60.0)
    assert recommended(shop, priced) == {
        name for name in available if 20 <= (catalogue[name]["price"] or 0) <= 60
    }
    names = sorted(catalogue)
    rows = shop.engine.catalogue.rows(names)
    assert (rows >= 0).all()
    assert shop.engine.catalogue.item_ids(rows) == names
    assert np.allclose(shop.bundle.vectors[rows], [catalogue[name]["vector"] for name in names])
    gone = {f"item-{n}" for n in range(5)} - {*names}
    assert (shop.engine.catalogue.rows([*gone, "never"]) == -1).all()


def test_a_new_item_scores_as_it_would_in_the_bundle(tmp_path: Path) -> None:
    """The same item, trained in and upserted, has the same score but for what training adds."""
    shop = bench(tmp_path / "bundle", items=ITEMS, users=2)
    catalogue = shop.engine.catalogue
    original = catalogue.items(np.array([7], np.int32))[0]
    before = asyncio.run(shop.engine.recommend.run(request("user-1", 500))).candidates
    created = float(shop.bundle.items.column("created_at")[7].as_py())
    vector = shop.bundle.vectors[7].copy()
    shop.engine.live.apply([Upsert(key_of("item-7"), LATER, original, vector, created)])
    after = asyncio.run(shop.engine.recommend.run(request("user-1", 500))).candidates
    scores = [
        dict(zip(catalogue.item_ids(found.rows), found.scores.tolist(), strict=True))
        for found in (before, after)
    ]
    assert scores[0].keys() == scores[1].keys()
    if "item-7" in scores[0]:
        assert scores[1]["item-7"] == pytest.approx(scores[0]["item-7"], abs=1e-5)


def test_a_changed_item_goes_with_what_it_went_with_until_it_is_deleted(tmp_path: Path) -> None:
    shop = bench(tmp_path / "bundle", items=ITEMS, users=2)
    neighbours, catalogue = shop.bundle.neighbours, shop.engine.catalogue
    history = np.array([3, 4], np.int32)
    before, scores = neighbours.around(history)
    other, weight = int(before[0]), scores[0]
    item_id = catalogue.item_ids(before[:1])[0]
    shop.engine.live.apply([upsert(item_id, 1), upsert("new", 2), upsert("item-3", 3)])
    moved, new, own = catalogue.rows([item_id, "new", "item-3"])
    history[0] = own
    after, again = neighbours.around(history)
    assert set(after.tolist()) == {*before.tolist(), moved} - {other}
    assert sorted(again.tolist()) == sorted(scores.tolist())
    rows = np.array([moved, new], np.int32)
    assert neighbours.towards(history, rows).tolist() == [weight, 0]
    shop.engine.live.apply([Deletion(key_of(item_id), LATER)])
    assert other in neighbours.around(history)[0], "hidden, but no other item's row"
    assert moved not in neighbours.around(history)[0]


def test_rows_are_used_again_only_when_no_request_can_know_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = bench(tmp_path / "bundle", items=ITEMS, users=2)
    now = 0.0
    monkeypatch.setattr(live_items.time, "monotonic", lambda: now)
    live = shop.engine.live
    live.apply([upsert(f"new-{n}", n) for n in range(SPARE)])
    assert len(live) == live.capacity == SPARE
    live.apply([Deletion(key_of("new-0"), LATER), upsert("more", 1)])
    assert shop.engine.catalogue.rows(["more"]).tolist() == [-1], "its row may still be known"
    now += 61.0
    live.apply([upsert("more", 1)])
    assert shop.engine.catalogue.rows(["more"])[0] >= ITEMS
    assert shop.engine.catalogue.rows(["new-0"]).tolist() == [-1]


def test_an_item_of_another_width_is_refused_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shop = bench(tmp_path / "bundle", items=ITEMS, users=2)
    item = Item("odd", "", "", "", True, {})
    shop.engine.live.apply([Upsert(key_of("odd"), LATER, item, np.ones(3, np.float32), LATER)])
    assert "item odd can't be served: its vector is 3 wide" in caplog.text
    assert len(shop.engine.live) == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [("price", "cheap"), ("price", True), ("colour", 3.5), ("colour", ["red"]), ("tags", "new")],
)
def test_an_attribute_that_became_another_kind_is_left_out_of_what_was_stored_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, value: object
) -> None:
    shop = bench(tmp_path / "bundle", items=ITEMS, users=2)
    attributes = {"colour": "red", "price": 5.0, "tags": ["new"]}
    item = Item("odd", "Odd", "", "", True, {**attributes, name: value})
    shop.engine.live.apply([Upsert(key_of("odd"), LATER, item, unit(1), LATER)])
    assert "odd" in recommended(shop)
    (found,) = shop.engine.catalogue.items(shop.engine.catalogue.rows(["odd"]))
    assert found.attributes == {key: attributes[key] for key in attributes if key != name}
    assert f"item odd: its {name} is {value!r} where the bundle has a" in caplog.text


placed = st.dictionaries(st.integers(0, 40), st.floats(0, 1, width=16))
orders = st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=30)


@given(scores=orders, parts=st.lists(placed, max_size=4))
def test_what_is_put_into_an_order_is_where_sorting_all_would_have_it(
    scores: list[float], parts: list[dict[int, float]]
) -> None:
    expected = dict(enumerate(scores))
    ordered = Ordered(Source.POPULAR, np.empty(0, np.int32), np.empty(0, np.float32), [])
    ordered.replace(np.arange(len(scores), dtype=np.int32), np.array(scores, np.float32))
    for part in parts:
        ordered.put(np.array([*part], np.int32), np.array([*part.values()], np.float32))
        expected.update(part)
        wanted = sorted(expected, key=lambda row: (-expected[row], row))
        assert ordered._rows.tolist() == wanted
        assert ordered._scores.tolist() == [expected[row] for row in wanted]
