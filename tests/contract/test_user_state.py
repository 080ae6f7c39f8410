"""What every state store promises of users and of what they do with items."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

from support.events import Event, columns
from support.stores import Opener as Open
from support.stores import event, write_100
from tamis_kernels import bloom_absent
from tamis_server.bundles.ids import item_keys
from tamis_server.domain.context import EventKind, UserState

DAY = 86_400.0
NOW = time.time()


def is_seen(state: UserState, item: str) -> bool:
    key = item_keys([item])
    return bool(np.isin(key, state.exact)[0]) or len(bloom_absent(state.seen, key)) == 0


async def test_an_unknown_user_has_an_empty_state(open_store: Open) -> None:
    state = await open_store().users.read("nobody", NOW)
    assert state.keys.shape == (0,)
    assert state.seen == ()
    assert state.exact.shape == (0,)
    assert not state.counts.any()


async def test_the_next_read_sees_a_recorded_event(open_store: Open) -> None:
    users = open_store().users
    events = [event(1, "hat", time=NOW - 5), event(2, "coat", EventKind.IMPRESSION, NOW - 4)]
    assert (await users.record(columns(*events))).tolist() == [True, True]
    state = await users.read("ada", NOW)
    assert state.keys.tolist() == item_keys(["hat", "coat"]).tolist()
    assert state.times.tolist() == [NOW - 5, NOW - 4]
    assert state.kinds.tolist() == [EventKind.VIEW, EventKind.IMPRESSION]
    assert state.counts[EventKind.VIEW] == 1
    assert state.counts[EventKind.IMPRESSION] == 1
    assert is_seen(state, "hat")
    assert not is_seen(state, "coat"), "an impression is not a meeting"


async def test_users_do_not_mix(open_store: Open) -> None:
    users = open_store().users
    names = ["ada", "ad", "adah", "a{d}a", "}a", "{", "é" * 128, "%7B"]
    events = [
        event(1, f"item-{position}", time=NOW, user=name) for position, name in enumerate(names)
    ]
    assert (await users.record(columns(*events))).all()
    for position, name in enumerate(names):
        state = await users.read(name, NOW)
        assert state.keys.tolist() == item_keys([f"item-{position}"]).tolist()


async def test_a_repeated_event_id_of_a_user_counts_once(open_store: Open) -> None:
    users = open_store().users
    twice = [event(1, "hat", time=NOW), event(1, "hat", time=NOW)]
    assert (await users.record(columns(*twice))).tolist() == [True, False]
    assert (await users.record(columns(*twice[:1]))).tolist() == [False]
    assert (await users.record(columns(event(1, "hat", time=NOW, user="bob")))).tolist() == [True]
    state = await users.read("ada", NOW)
    assert state.keys.shape == (1,)
    assert state.counts[EventKind.VIEW] == 1


async def test_every_event_id_of_a_busy_user_is_known_again(open_store: Open) -> None:
    users = open_store().users
    busy = [event(n, "hat", time=NOW) for n in range(5_000)]
    calm = [event(n, "hat", time=NOW, user="bob") for n in range(3)]
    for start in range(0, 5_000, 700):
        assert (await users.record(columns(*busy[start : start + 700], *calm[:1]))).sum() > 0
    assert not (await users.record(columns(*busy, *calm[:1]))).any()
    assert (await users.record(columns(*busy, *calm))).tolist() == [False] * 5_001 + [True] * 2


async def test_events_are_kept_in_the_order_they_happened(open_store: Open) -> None:
    users = open_store().users
    for number in (5, 1, 3, 2, 4):
        await users.record(columns(event(number, f"item-{number}", time=NOW + number)))
    state = await users.read("ada", NOW + 10)
    assert state.keys.tolist() == item_keys([f"item-{n}" for n in range(1, 6)]).tolist()


async def test_history_is_bounded_and_what_falls_out_stays_seen(open_store: Open) -> None:
    users = open_store(max_history=5).users
    await users.record(columns(*[event(n, f"item-{n}", time=NOW - 1000 + n) for n in range(700)]))
    await users.record(columns(event(-1, "older", time=NOW - 2000)))
    state = await users.read("ada", NOW)
    assert state.keys.tolist() == item_keys([f"item-{n}" for n in range(695, 700)]).tolist()
    assert state.counts[EventKind.VIEW] == 701
    assert all(is_seen(state, f"item-{n}") for n in range(700))
    assert is_seen(state, "older")


async def test_purchases_and_hides_are_remembered_exactly(open_store: Open) -> None:
    users = open_store().users
    await users.record(
        columns(event(1, "hat", EventKind.PURCHASE, NOW), event(2, "coat", EventKind.HIDE, NOW))
    )
    state = await users.read("ada", NOW)
    assert sorted(state.exact.tolist()) == sorted(item_keys(["hat", "coat"]).tolist())
    assert state.seen == ()


async def test_more_exact_keys_than_allowed_go_to_a_filter(open_store: Open) -> None:
    groups = [{"name": "owned", "kinds": ["purchase"], "window_days": 0, "exact": 3}]
    users = open_store(seen=groups).users
    await users.record(
        columns(*[event(n, f"item-{n % 9}", EventKind.PURCHASE, NOW + n) for n in range(20)])
    )
    state = await users.read("ada", NOW)
    assert state.exact.shape == (3,)
    assert all(is_seen(state, f"item-{n}") for n in range(9))


async def test_a_meeting_is_forgotten_after_its_window_and_not_before(open_store: Open) -> None:
    groups = [{"name": "met", "kinds": ["view"], "window_days": 30, "generations": 4}]
    users = open_store(seen=groups).users
    ages = [0, 5, 12, 21, 29.9, 41, 80]
    await users.record(
        columns(*[event(n, f"item-{n}", time=NOW - age * DAY) for n, age in enumerate(ages)])
    )
    state = await users.read("ada", NOW)
    seen = [is_seen(state, f"item-{n}") for n in range(len(ages))]
    assert seen == [True, True, True, True, True, False, False]
    later = await users.read("ada", NOW + 25 * DAY)
    assert is_seen(later, "item-0")
    assert is_seen(later, "item-1")
    assert not is_seen(later, "item-4")


async def test_an_event_id_is_forgotten_after_its_window(
    open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = open_store(event_id_window_s=1000).users
    await users.record(columns(event(1, "hat", time=NOW)))
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + 900)
    assert (await users.record(columns(event(1, "hat", time=NOW)))).tolist() == [False]
    monkeypatch.setattr(time, "time", lambda: clock() + 2100)
    assert (await users.record(columns(event(1, "hat", time=NOW)))).tolist() == [True]


async def test_a_user_with_100_000_events_stays_correct_and_bounded(open_store: Open) -> None:
    users = open_store().users
    for start in range(0, 100_000, 5_000):
        batch = [event(n, f"item-{n}", time=NOW - 200_000 + n) for n in range(start, start + 5_000)]
        assert (await users.record(columns(*batch))).all()
    state = await users.read("ada", NOW)
    assert state.counts[EventKind.VIEW] == 100_000
    assert state.keys.shape == (512,)
    met = item_keys([f"item-{n}" for n in range(100_000)])
    others = item_keys([f"other-{n}" for n in range(50_000)])
    assert bloom_absent(state.seen, met).shape == (0,), "never a false negative"
    assert len(bloom_absent(state.seen, others)) > 0.998 * len(others), "twice the rate wanted"
    assert sum(layer.nbytes for layer in state.seen) * 8 / 100_000 < 100  # bits a key


async def test_eight_processes_writing_at_once_lose_no_event_and_no_bit(open_store: Open) -> None:
    store = open_store()
    settings = open_store.settings
    with ProcessPoolExecutor(8, get_context("spawn")) as pool:
        loop = asyncio.get_running_loop()
        counts = await asyncio.gather(
            *(loop.run_in_executor(pool, write_100, settings, writer, NOW) for writer in range(8))
        )
    assert counts == [100] * 8
    state = await store.users.read("ada", NOW)
    assert state.counts[EventKind.VIEW] == 800
    assert state.keys.shape == (512,)
    assert all(is_seen(state, f"item-{n}-{writer}") for n in range(100) for writer in range(8))


async def test_what_was_recorded_is_there_when_the_store_is_opened_again(open_store: Open) -> None:
    first = open_store()
    await first.users.record(
        columns(event(1, "hat", EventKind.PURCHASE, NOW), event(2, "coat", time=NOW))
    )
    await first.close()
    state = await open_store().users.read("ada", NOW)
    assert state.keys.tolist() == item_keys(["hat", "coat"]).tolist()
    assert is_seen(state, "hat")
    assert is_seen(state, "coat")


async def test_items_are_counted_with_decay(open_store: Open) -> None:
    store = open_store(half_life_h=1.0)
    now = float(int(NOW))
    await store.users.record(
        columns(
            event(1, "hat", time=now),
            event(2, "hat", time=now - 3600, user="bob"),
            event(3, "hat", EventKind.PURCHASE, now - 7200, user="eve"),
            event(4, "coat", EventKind.HIDE, now),
        )
    )
    keys = item_keys(["hat", "coat", "never"])
    counters = await store.activity.counters(keys, now)
    assert counters.views.tolist() == pytest.approx([1.5, 0, 0])
    assert counters.purchases.tolist() == pytest.approx([0.25, 0, 0])
    assert counters.trending.tolist() == pytest.approx([1.5 + 1.25, 0, 0])
    assert counters.last[:2].tolist() == [now, now]
    assert np.isnan(counters.last[2])
    later = await store.activity.counters(keys, now + 3600)
    assert later.trending[0] == pytest.approx(2.75 / 2)


@pytest.mark.parametrize("fsync", ["commit", "interval", "never"])
async def test_whatever_the_sync_policy_events_are_there_after_a_reopening(
    open_store: Open, fsync: str
) -> None:
    first = open_store(fsync=fsync, fsync_interval_s=0.01)
    await first.users.record(columns(event(1, "hat", time=NOW)))
    await first.close()
    assert (await open_store(fsync=fsync).users.read("ada", NOW)).keys.shape == (1,)


async def test_an_event_from_a_clock_ahead_does_not_trend_for_a_day(open_store: Open) -> None:
    store = open_store(half_life_h=1.0)
    now = time.time()
    await store.users.record(columns(event(1, "hat", time=now + 80_000)))
    counters = await store.activity.counters(item_keys(["hat"]), now)
    assert counters.views.tolist() == pytest.approx([1.0], rel=0.01)


async def test_trending_items_come_most_active_first(open_store: Open) -> None:
    store = open_store(half_life_h=1.0)
    events = [
        event(100 * item + n, f"item-{item}", time=NOW - 60 * n, user=f"user-{n}")
        for item in range(30)
        for n in range(item + 1)
    ]
    events.append(event(9_999, "flood", EventKind.PURCHASE, NOW - 30 * DAY))
    await store.users.record(columns(*events))
    keys, scores = await store.activity.trending(10, NOW)
    assert keys.tolist() == item_keys([f"item-{n}" for n in range(29, 19, -1)]).tolist()
    assert (np.diff(scores) < 0).all()
    assert scores.dtype == np.float32


async def test_items_trend_by_all_their_events_however_many_came_at_a_time(
    open_store: Open,
) -> None:
    store = open_store(half_life_h=1.0)
    rng = np.random.default_rng(7)
    views = np.zeros(20, np.int64)
    for batch in range(120):
        items = rng.integers(0, 20, rng.integers(1, 4)).tolist()
        np.add.at(views, items, 1)
        await store.users.record(
            columns(*(event(4 * batch + n, f"item-{i}", time=NOW) for n, i in enumerate(items)))
        )
    keys, scores = await store.activity.trending(50, NOW)
    found = dict(zip(keys.tolist(), scores.tolist(), strict=True))
    named = item_keys([f"item-{n}" for n in range(20)]).tolist()
    assert found == pytest.approx(dict(zip(named, views.tolist(), strict=True)))


async def test_an_item_the_catalogue_does_not_know_is_kept_but_not_counted(
    open_store: Open,
) -> None:
    store = open_store()
    await store.users.record(columns(event(1, "ghost", time=NOW, known=False)))
    assert (await store.users.read("ada", NOW)).keys.shape == (1,)
    assert (await store.activity.trending(10, NOW))[0].shape == (0,)


async def test_no_events_are_no_trouble(open_store: Open) -> None:
    assert (await open_store().users.record(columns())).shape == (0,)


async def test_a_counted_duplicate_does_not_trend_twice(open_store: Open) -> None:
    store = open_store()
    for _ in range(3):
        await store.users.record(columns(Event("e", "ada", "hat", EventKind.VIEW, NOW)))
    counters = await store.activity.counters(item_keys(["hat"]), NOW)
    assert counters.views.tolist() == pytest.approx([1.0])
