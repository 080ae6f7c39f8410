"""User state in memory: read-your-writes, once per event id, seen stays seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support.engines import bench, request
from tamis_kernels import bloom_test
from tamis_pipeline.synthetic import AS_OF
from tamis_server.adapters.embedded.bloom import LayeredBloom
from tamis_server.adapters.embedded.catalogue import item_keys
from tamis_server.adapters.embedded.memory_state import MemoryUserState
from tamis_server.domain.context import Event, EventKind, UserState


def event(number: int, item: str, kind: EventKind = EventKind.VIEW, time: float = 0.0) -> Event:
    return Event(f"event-{number}", "ada", item, kind, time or AS_OF + number)


def is_seen(state: UserState, item: str) -> bool:
    key = item_keys([item])
    return any(bool(bloom_test(blocks, key)[0]) for blocks in state.seen)


async def test_an_unknown_user_has_an_empty_state() -> None:
    state = await MemoryUserState(max_history=10).read("nobody")
    assert state.keys.shape == (0,)
    assert state.seen == ()


async def test_the_next_read_sees_a_recorded_event() -> None:
    store = MemoryUserState(max_history=10)
    assert await store.record([event(1, "hat"), event(2, "coat", EventKind.IMPRESSION)]) == 2
    state = await store.read("ada")
    assert state.keys.tolist() == item_keys(["hat", "coat"]).tolist()
    assert is_seen(state, "hat")
    assert not is_seen(state, "coat"), "an impression is not a meeting"


async def test_a_repeated_event_id_counts_once() -> None:
    store = MemoryUserState(max_history=10)
    assert await store.record([event(1, "hat"), event(1, "hat")]) == 1
    assert await store.record([event(1, "hat")]) == 0
    assert (await store.read("ada")).keys.shape == (1,)


async def test_events_are_kept_in_the_order_they_happened() -> None:
    store = MemoryUserState(max_history=10)
    await store.record([event(5, "late")])
    await store.record([event(1, "early")])
    assert (await store.read("ada")).keys.tolist() == item_keys(["early", "late"]).tolist()


async def test_history_is_bounded_and_what_falls_out_stays_seen() -> None:
    store = MemoryUserState(max_history=5)
    await store.record([event(number, f"item-{number}") for number in range(2_000)])
    state = await store.read("ada")
    assert state.keys.shape == (5,)
    assert state.seen_count > 1_950
    assert all(is_seen(state, f"item-{number}") for number in range(2_000))


async def test_event_ids_are_remembered_for_a_bounded_window() -> None:
    store = MemoryUserState(max_history=5, window=2)
    await store.record([event(1, "a"), event(2, "b"), event(3, "c")])
    assert await store.record([event(1, "a")]) == 1


async def test_a_users_first_event_joins_the_history_of_the_bundle(tmp_path: Path) -> None:
    shop = bench(tmp_path / "bundle", items=50, users=5)
    before = await shop.store.read("user-1")
    await shop.store.record([Event("e", "user-1", "item-7", EventKind.LIKE, AS_OF + 1)])
    after = await shop.store.read("user-1")
    assert after.keys.shape[0] == before.keys.shape[0] + 1


@pytest.mark.parametrize("kind", [EventKind.PURCHASE, EventKind.HIDE])
async def test_an_item_met_does_not_come_back(tmp_path: Path, kind: EventKind) -> None:
    shop = bench(tmp_path / "bundle", items=50, users=1)
    first = await shop.engine.recommend.run(request("ada", 5))
    top = shop.engine.catalogue.item_ids(first.candidates.rows)[0]
    await shop.store.record([event(1, top, kind)])
    second = await shop.engine.recommend.run(request("ada", 50))
    assert top not in shop.engine.catalogue.item_ids(second.candidates.rows)
    assert len(second.trace) == len(first.trace)


def test_the_false_positive_rate_of_a_grown_filter_stays_low() -> None:
    rng = np.random.default_rng(1)
    keys = rng.integers(0, 2**64, 20_000, dtype=np.uint64)
    others = rng.integers(0, 2**64, 50_000, dtype=np.uint64)
    grown = LayeredBloom()
    for start in range(0, keys.shape[0], 137):
        grown.add(keys[start : start + 137])
    seen, false = (
        np.any([bloom_test(layer, tested) for layer in grown.layers], axis=0)
        for tested in (keys, others)
    )
    assert seen.all()
    assert false.mean() < 0.02
    assert sum(layer.nbytes for layer in grown.layers) * 8 / keys.shape[0] < 40  # bits a key
