"""How a process learns of changes of the catalogue, and how it makes them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from support.engines import Bench, bench
from support.stores import Opener
from tamis_server.bundles import live as live_module
from tamis_server.bundles.editor import CatalogueEditor, NewItem
from tamis_server.bundles.ids import item_keys
from tamis_server.bundles.live import LiveCatalogue
from tamis_server.domain.candidates import Keys, Mask
from tamis_server.domain.changes import Availability, Change, Deletion, Upsert, decode, encode
from tamis_server.domain.errors import DependencyFailed, InvalidRequest
from tamis_server.domain.ports import Item
from tamis_server.funnel.engine import Engine

DAY = 86_400.0


class Applied:
    """Remembers what was made."""

    def __init__(self, *item_ids: str) -> None:
        """Of a bundle with these items."""
        self.changes: list[Change] = []
        self._keys = item_keys(item_ids)

    def apply(self, changes: Sequence[Change]) -> None:
        self.changes += changes

    def known(self, keys: Keys) -> Mask:
        return np.isin(keys, self._keys)


class Held:
    def __init__(self, current: Engine) -> None:
        self.current = current


@pytest.fixture
async def opener(tmp_path: Path) -> AsyncIterator[Opener]:
    opened = Opener(url=f"lmdb://{tmp_path / 'state'}", fsync="never")
    yield opened
    await opened.close()


@pytest.fixture
async def live(opener: Opener) -> AsyncIterator[LiveCatalogue]:
    catalogue = LiveCatalogue(opener().catalogue)
    await catalogue.start()
    yield catalogue
    await catalogue.stop()


@pytest.fixture
def shop(tmp_path: Path) -> Bench:
    return bench(tmp_path / "bundle", items=40, users=2)


def upsert(item_id: str, moment: float) -> Upsert:
    item = Item(item_id, item_id, "", "", True, {})
    return Upsert(int(item_keys([item_id])[0]), moment, item, np.ones(16, np.float32) / 4, moment)


async def test_what_comes_while_an_engine_is_built_is_made_up_for(live: LiveCatalogue) -> None:
    await live.publish([Availability(1, 1.0, available=False)])
    engine = Applied()
    with live.building() as known:
        engine.apply(known)
    await live.publish([Availability(2, 2.0, available=False)])
    assert [change.key for change in engine.changes] == [1]
    live.adopt(engine, as_of=time.time())
    assert [change.key for change in engine.changes] == [1, 2]
    await live.publish([Availability(3, 3.0, available=False)])
    assert [change.key for change in engine.changes] == [1, 2, 3]
    assert live.status.availabilities == 3


async def test_a_damaged_change_does_not_keep_others_from_being_made(
    live: LiveCatalogue, opener: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Applied()
    with live.building():
        pass
    live.adopt(engine, as_of=time.time())
    await live._store.publish([b"u" + bytes(17), encode(Availability(7, 1.0, available=True))])
    async with asyncio.timeout(10):
        await live.publish([Availability(8, 1.0, available=True)])
    assert [change.key for change in engine.changes] == [7, 8]
    assert "is damaged" in caplog.text


async def test_upserts_that_a_bundle_has_long_are_forgotten(live: LiveCatalogue) -> None:
    now = time.time()
    await live.publish([upsert("old", now - 3 * DAY), upsert("new", now)])
    live.adopt(Applied("old", "new"), as_of=now - DAY)
    assert live._forgetting is not None
    await live._forgetting
    _, stored = await live._store.snapshot()
    assert len(stored) == 1
    assert live.status.upserts == 1


async def test_an_item_that_is_upserted_while_its_last_upsert_is_forgotten_is_kept(
    live: LiveCatalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, forget = time.time(), live._store.forget

    async def forget_late(stamps: Sequence[bytes]) -> None:
        await live.publish([upsert("hat", now)])
        await forget(stamps)

    monkeypatch.setattr(live._store, "forget", forget_late)
    await live.publish([upsert("hat", now - 3 * DAY)])
    live.adopt(Applied("hat"), as_of=now)
    assert live._forgetting is not None
    await live._forgetting
    _, stored = await live._store.snapshot()
    assert [decode(each).time for each in stored] == [now]
    assert live.status.upserts == 1


async def test_a_fault_does_not_end_the_following_of_changes(
    live: LiveCatalogue, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(live_module, "_RETRY_S", 0.0)
    since, faults = live._store.since, [ZeroDivisionError("what nobody thought of")]

    async def since_at_last(position: int) -> tuple[int, list[bytes]] | None:
        if faults:
            raise faults.pop()
        return await since(position)

    monkeypatch.setattr(live._store, "since", since_at_last)
    for key in (1, 2):
        async with asyncio.timeout(10):
            await live.publish([Availability(key, 1.0, available=False)])
    assert live.status.availabilities == 2
    assert "what nobody thought of" in caplog.text
    assert "Traceback" in caplog.text


async def test_an_item_that_no_bundle_has_is_kept_however_old_its_upsert(
    live: LiveCatalogue,
) -> None:
    now = time.time()
    await live.publish([upsert("never ingested", now - 300 * DAY)])
    live.adopt(Applied("another"), as_of=now)
    assert live._forgetting is None
    assert live.status.upserts == 1


def test_a_stored_change_comes_back_as_it_was() -> None:
    item = Item("a", "A", "text", "", True, {"price": 3.0})
    unit = np.full(4, 0.5, np.float32)
    for change in (
        Availability(1, 2.0, available=True),
        Deletion(1, 2.0),
        Upsert(1, 2.0, item, unit, 3.0),
        Upsert(1, 2.0, item, unit[:0], 3.0, np.eye(8, dtype=np.float32)[2], "towers"),
    ):
        assert repr(decode(encode(change))) == repr(change)


async def test_without_an_item_tower_what_has_no_vector_is_refused_unless_the_bundle_knows_it(
    live: LiveCatalogue, shop: Bench
) -> None:
    editor = CatalogueEditor(Held(shop.engine), live, item_keys)
    live.adopt(shop.engine.live, as_of=0.0)
    known = NewItem(Item("item-1", "C", "", "", True, {}), None, time.time())
    unknown = NewItem(Item("a", "A", "", "", True, {}), None, time.time())
    with pytest.raises(InvalidRequest) as caught:
        await editor.upsert([known, unknown])
    assert [violation.field for violation in caught.value.violations] == ["items[1].vector"]
    await editor.upsert([known])
    row = shop.engine.catalogue.rows(["item-1"])
    assert np.allclose(shop.bundle.vectors[row], shop.bundle.vectors[1])


class Forgetful:
    """Implements CatalogueStore: keeps what is published until it loses all of it, and fails the
    next ``failures`` times that something is published."""

    def __init__(self) -> None:
        self.kept: list[bytes] = []
        self.failures = 0
        self.failed = asyncio.Event()

    async def publish(self, stored: Sequence[bytes]) -> int:
        if self.failures:
            self.failures -= 1
            self.failed.set()
            raise DependencyFailed("state store", "no answer")
        self.kept += stored
        return len(self.kept)

    async def snapshot(self) -> tuple[int, list[bytes]]:
        return len(self.kept), self.kept.copy()

    async def since(self, position: int) -> tuple[int, list[bytes]] | None:
        await asyncio.sleep(0.001)
        if position > len(self.kept):
            return None
        return len(self.kept), self.kept[position:]

    async def forget(self, stamps: Sequence[bytes]) -> None:
        raise NotImplementedError


async def test_what_a_store_lost_is_given_back_though_it_fails_once_more() -> None:
    store = Forgetful()
    live = LiveCatalogue(store)
    await live.start()
    await live.publish([Availability(key, 1.0, available=False) for key in range(5)])
    store.failures, store.kept = 1, []
    async with asyncio.timeout(20):
        await store.failed.wait()
        while len(store.kept) < 5:  # noqa: ASYNC110 the follower's turn
            await asyncio.sleep(0.01)
    await live.stop()
    assert {decode(stored).key for stored in store.kept} == set(range(5))
    assert live.status.availabilities == 5
