"""How the embedded store keeps what it keeps: lists grow and end, counters lie apart and join."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections import Counter
from pathlib import Path

import lmdb
import numpy as np
import pytest

from support.events import columns
from support.stores import Opener, event
from tamis_server.adapters.embedded import lmdb_items
from tamis_server.bundles.ids import item_keys

DAY = 86_400.0
PAIR = ("ada", "adam")
STATE_PAGE = Path(__file__).resolve().parents[2] / "docs" / "state.md"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def keys_of(directory: Path, database: str) -> list[bytes]:
    with (
        lmdb.open(str(directory), max_dbs=16) as environment,
        environment.begin(environment.open_db(database.encode())) as transaction,
        transaction.cursor() as cursor,
    ):
        return [bytes(key) for key in cursor.iternext(values=False)]


async def test_a_user_is_one_record_but_for_very_many_event_ids(state: Path) -> None:
    opener = Opener(url=f"lmdb://{state}")
    users = opener().users
    now = time.time()
    await users.record(columns(*(event(n, f"item-{n}", time=now, user="bob") for n in range(128))))
    await users.record(columns(*(event(n, f"item-{n}", time=now) for n in range(600))))
    await opener.close()
    keys = keys_of(state, "users")
    assert sum(key.startswith(b"bob\0") for key in keys) == 1
    assert sum(key.startswith(b"ada\0") for key in keys) == 17


@pytest.mark.parametrize(
    ("later", "left"), [(3 * DAY, {b"ada\0", b"bob\0"}), (401 * DAY, {b"bob\0"})]
)
async def test_event_ids_go_after_two_windows_and_users_after_their_time(
    state: Path, monkeypatch: pytest.MonkeyPatch, later: float, left: set[bytes]
) -> None:
    opener = Opener(url=f"lmdb://{state}")
    users = opener().users
    now, clock = time.time(), time.time
    await users.record(columns(*(event(n, f"item-{n}", time=now) for n in range(600))))
    monkeypatch.setattr(time, "time", lambda: clock() + later)
    await users.record(columns(event(1, "hat", time=now + later, user="bob")))
    assert (await users.read("ada", now)).keys.shape == ((512,) if b"ada\0" in left else (0,))
    await opener.close()
    assert set(keys_of(state, "users")) == left
    assert len(keys_of(state, "expiry")) == len(left)


async def test_a_user_is_forgotten_as_the_docs_say_while_the_store_is_open(state: Path) -> None:
    opener = Opener(url=f"lmdb://{state}")
    users, now = opener().users, time.time()
    events = [event(n, f"item-{n}", time=now, user=user) for n in range(600) for user in PAIR]
    await users.record(columns(*events))
    (code,) = re.findall(r"```python\n(.*?)```", STATE_PAGE.read_text(), re.DOTALL)
    code = code.replace('"tamis-state"', repr(str(state))).replace('"USER"', repr("ada"))
    forgetting = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    assert await forgetting.wait() == 0
    assert not (await users.read("ada", now)).keys.size
    assert (await users.read("adam", now)).keys.size
    await opener.close()
    assert {key.partition(b"\0")[0] for key in keys_of(state, "users")} == {b"adam"}


async def test_filters_of_a_time_that_is_over_go_when_their_user_comes_again(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = [{"name": "met", "kinds": ["view"], "window_days": 10, "expected": 10_000}]
    opener = Opener(url=f"lmdb://{state}", seen=groups)
    users = opener().users
    now, clock = time.time(), time.time
    sizes = []
    for days in (0, 1, 30):
        monkeypatch.setattr(time, "time", lambda days=days: clock() + days * DAY)
        await users.record(columns(event(days, "hat", time=now + days * DAY)))
        sizes.append(len((await users.read("ada", now + days * DAY)).seen))
    await opener.close()
    assert sizes[-1] == 1
    with (
        lmdb.open(str(state), max_dbs=16) as environment,
        environment.begin(environment.open_db(b"users")) as transaction,
    ):
        (record,) = (value for _, value in transaction.cursor())
    assert len(record) < 2 * 10_000 * 20 / 8


async def test_counters_are_the_same_whenever_they_are_joined(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lmdb_items, "_APART", 7)
    monkeypatch.setattr(lmdb_items, "_KEPT", 5)
    opener = Opener(url=f"lmdb://{state}", half_life_h=1.0)
    store = opener()
    rng, now = np.random.default_rng(5), time.time()
    names = [f"item-{n}" for n in range(12)]
    views: Counter[int] = Counter()
    for batch in range(60):
        items = rng.integers(0, 12, rng.integers(1, 5)).tolist()
        views.update(items)
        await store.users.record(
            columns(*(event(9 * batch + n, names[i], time=now) for n, i in enumerate(items)))
        )
        counters = await store.activity.counters(item_keys([*names, "never"]), now)
        assert counters.views.tolist() == pytest.approx([*(views[n] for n in range(12)), 0])
        keys, scores = await store.activity.trending(5, now)
        found = dict(zip(keys.tolist(), scores.tolist(), strict=True))
        named = item_keys(names).tolist()
        assert found == pytest.approx({key: views[named.index(key)] for key in found})
        assert sorted(found.values()) == pytest.approx(sorted(views.values())[-5:])
    await opener.close()
    assert len(keys_of(state, "activity")) <= 12 + 1 + 7
