"""Bits of what users have met: the layout of the specification, sizes, windows, growth."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from support.parquet_filter import ParquetFilter
from tamis_kernels import bloom_absent, bloom_insert, insert_keys
from tamis_server.bundles.ids import item_keys
from tamis_server.domain import seen
from tamis_server.domain.context import EventKind, UserState
from tamis_server.domain.seen import SeenGroup, SeenPolicy

DAY = 86_400.0
GROUP = SeenGroup("met", frozenset({EventKind.VIEW}), 30 * DAY, 4, expected=64, rate=0.01)
FOR_EVER = SeenGroup("owned", frozenset({EventKind.PURCHASE}), 0.0, 2, expected=64, rate=0.001)


keys_ = st.lists(st.integers(0, 2**64 - 1), max_size=40, unique=True)


def filter_of(group: SeenGroup, keys: Sequence[int]) -> bytes:
    starts = np.array([0, len(keys)], np.int64)
    inserted = np.array(keys, np.uint64)
    (stored,) = insert_keys([b""], starts, inserted, group.first_blocks, np.array(group.layer_bits))
    return stored


@given(keys_, keys_)
def test_a_stored_filter_is_read_as_the_parquet_specification_has_it(
    keys: list[int], others: list[int]
) -> None:
    stored, specified = filter_of(GROUP, [1, *keys]), ParquetFilter(GROUP.first_blocks)
    for key in [1, *keys]:
        specified.insert(key)
    (layer,) = seen.layers(stored)
    assert layer.tolist() == specified.words
    assert seen.key_count([stored]) <= len(keys) + 1
    tested = np.array(keys + others, np.uint64)
    absent = [at for at, key in enumerate(keys + others) if not specified.check(key)]
    assert bloom_absent([layer], tested).tolist() == absent


def test_item_keys_are_the_xxh64_of_the_specification() -> None:
    plain = ["", "a", "item-1", "x" * 256]
    for ids in (plain, [*plain, "é" * 40], []):
        assert item_keys(ids).tolist() == [xxhash.xxh64_intdigest(each.encode()) for each in ids]


@pytest.mark.parametrize("count", [10, 64, 65, 500, 5_000])
@pytest.mark.parametrize("group", [GROUP, FOR_EVER], ids=["window", "for ever"])
def test_a_filter_of_any_size_keeps_the_rate_it_was_sized_for(count: int, group: SeenGroup) -> None:
    rng = np.random.default_rng(count)
    keys = rng.integers(0, 2**64, count, dtype=np.uint64)
    stored = filter_of(group, keys.tolist())
    others = rng.integers(0, 2**64, 200_000, dtype=np.uint64)
    layers = seen.layers(stored)
    assert bloom_absent(layers, keys).shape == (0,)
    false = 1 - len(bloom_absent(layers, others)) / len(others)
    wanted = group.rate / (group.generations if group.window_s else 1)
    assert false < wanted * 1.5 + 1e-4
    assert seen.false_positive_rate(layers) == pytest.approx(false, rel=0.35, abs=3e-4)


def test_an_empty_set_of_filters_finds_nothing() -> None:
    assert seen.false_positive_rate(()) == 0.0
    assert seen.layers(b"") == ()


@pytest.mark.parametrize("rate", [0.1, 0.01, 0.001, 1e-4, 1e-5])
def test_bits_a_key_give_the_rate_they_promise(rate: float) -> None:
    bits = seen.bits_per_key(rate)
    rng = np.random.default_rng(1)
    blocks = np.zeros((4_000, 8), np.uint32)
    bloom_insert(blocks, rng.integers(0, 2**64, int(4_000 * 256 / bits), dtype=np.uint64))
    assert seen.false_positive_rate([blocks]) == pytest.approx(rate, rel=0.1)


@given(st.floats(0, 4e9), st.floats(0, 120 * DAY))
def test_an_event_is_read_within_its_window_and_not_much_longer(time: float, later: float) -> None:
    generation = GROUP.generation(time)
    live = generation in GROUP.live(time + later)
    if later <= GROUP.window_s:
        assert live
    if later > GROUP.window_s + GROUP.span_s:
        assert not live
    assert live == (time + later < GROUP.expires(generation)) or math.isclose(
        time + later, GROUP.expires(generation)
    )


def test_what_counts_for_ever_is_in_one_generation() -> None:
    assert FOR_EVER.generation(1.0) == FOR_EVER.generation(4e9) == 0
    assert FOR_EVER.expires(0) == math.inf
    policy = SeenPolicy([GROUP, FOR_EVER])
    assert len(policy.live_slots(1e9)) == 5
    windows = policy.windows()
    assert windows[EventKind.VIEW] == 30 * DAY
    assert windows[EventKind.PURCHASE] == math.inf
    assert math.isnan(windows[EventKind.IMPRESSION])


@given(st.lists(st.tuples(st.integers(0, 8), st.floats(0, 4e9)), max_size=20), st.floats(1e9, 4e9))
def test_each_event_is_remembered_in_the_slot_of_its_kind_and_time(
    events: list[tuple[int, float]], now: float
) -> None:
    policy = SeenPolicy([GROUP, FOR_EVER])
    kinds = np.array([kind for kind, _ in events], np.uint8)
    times = np.array([time for _, time in events], np.float64)
    found = {
        position: (group, generation)
        for group, generation, positions in policy.slots(kinds, times, now)
        for position in positions.tolist()
    }
    expected = {}
    for position, (kind, time) in enumerate(events):
        for group in (GROUP, FOR_EVER):
            generation = group.generation(min(time, now))
            if kind in group.kinds and group.expires(generation) > now:
                expected[position] = (group, generation)
    assert found == expected


def state_of(events: list[tuple[int, float]]) -> UserState:
    keys, times = (
        np.array([event[at] for event in events], dtype)
        for at, dtype in ((0, np.uint64), (1, np.float64))
    )
    return UserState(keys, times, np.full(len(events), 1, np.uint8), exact=keys)


moments = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 2_000).map(lambda ms: 1.7e9 + ms / 1e3)),
    max_size=12,
    unique=True,
).map(lambda events: sorted(events, key=lambda event: event[1]))


@given(moments, moments)
def test_two_histories_join_in_order_with_what_is_in_both_once(
    earlier: list[tuple[int, float]], later: list[tuple[int, float]]
) -> None:
    joined = state_of(later).after(state_of(earlier))
    pairs = list(zip(joined.keys.tolist(), joined.times.tolist(), strict=True))
    assert sorted(pairs) == sorted({*earlier, *later})
    assert sorted(joined.times.tolist()) == joined.times.tolist()
    assert {*joined.exact.tolist()} == {key for key, _ in earlier + later}
