"""What every state store promises of changes of the catalogue."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from support.stores import Opener as Open
from tamis_server.bundles.live import LiveCatalogue
from tamis_server.domain.changes import Availability, Deletion, Upsert, decode, encode, stamp
from tamis_server.domain.errors import ContractViolation
from tamis_server.domain.ports import Item

HAT = Item("hat", "Hat", "A hat", "", True, {"colour": "red", "tags": ["new"], "price": 3.5})
CHANGES = [
    Availability(7, 1.0, available=False),
    Upsert(8, 2.0, HAT, np.array([0.6, 0.8], np.float32), 1.5),
    Deletion(2**64 - 1, 3.0),
]


def same(first: object, second: object) -> bool:
    return repr(first) == repr(second)


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_read_as_it_was_written(change: Availability | Upsert | Deletion) -> None:
    assert same(decode(encode(change)), change)


@pytest.mark.parametrize("stored", [b"", b"a", b"u" + bytes(17), encode(CHANGES[1])[:-4]])
def test_a_damaged_change_is_refused(stored: bytes) -> None:
    with pytest.raises(ContractViolation, match="damaged"):
        decode(stored)


async def test_a_store_without_changes_is_at_the_start(open_store: Open) -> None:
    catalogue = open_store().catalogue
    assert await catalogue.snapshot() == (0, [])
    assert await catalogue.since(0) == (0, [])


async def test_changes_come_in_order_and_the_snapshot_holds_the_last(open_store: Open) -> None:
    catalogue = open_store().catalogue
    stored = [encode(Availability(7, float(n), available=n % 2 == 0)) for n in range(5)]
    assert await catalogue.publish(stored[:3]) == 3
    assert await catalogue.publish(stored[3:]) == 5
    assert await catalogue.since(0) == (5, stored)
    assert await catalogue.since(3) == (5, stored[3:])
    assert await catalogue.snapshot() == (5, stored[4:])


@pytest.mark.parametrize("width", [0, 8])
async def test_an_upsert_ends_what_was_said_of_availability(open_store: Open, width: int) -> None:
    """With and without a content vector."""
    catalogue = open_store().catalogue
    content, space = np.eye(8, dtype=np.float32)[2, :width], "towers" if width else ""
    upsert = Upsert(7, 2.0, HAT, np.zeros(0, np.float32), 2.0, content, space)
    await catalogue.publish([encode(Availability(7, 1.0, available=False)), encode(upsert)])
    _, found = await catalogue.snapshot()
    assert same([decode(each) for each in found], [upsert])
    await catalogue.publish([encode(Availability(7, 3.0, available=False))])
    assert len((await catalogue.snapshot())[1]) == 2


async def test_who_waits_hears_of_a_change(open_store: Open) -> None:
    catalogue = open_store().catalogue

    async def hear() -> tuple[int, list[bytes]] | None:
        found: tuple[int, list[bytes]] | None = (0, [])
        while found == (0, []):  # it waits for a moment only
            found = await catalogue.since(0)
        return found

    waiting = asyncio.create_task(hear())
    await asyncio.sleep(0)
    stored = [encode(CHANGES[0])]
    await catalogue.publish(stored)
    assert await waiting == (1, stored)


async def test_who_is_too_far_behind_needs_a_snapshot(open_store: Open) -> None:
    catalogue = open_store(catalogue_log=100).catalogue
    stored = [encode(Availability(n, 1.0, available=False)) for n in range(1_000)]
    for start in range(0, 1_000, 50):
        await catalogue.publish(stored[start : start + 50])
    assert await catalogue.since(0) is None
    assert await catalogue.since(999) == (1_000, stored[999:])
    assert len((await catalogue.snapshot())[1]) == 1_000


async def test_who_is_ahead_of_a_store_that_lost_its_data_needs_a_snapshot(
    open_store: Open,
) -> None:
    assert await open_store().catalogue.since(17) is None


async def test_what_is_forgotten_is_in_no_snapshot(open_store: Open) -> None:
    catalogue = open_store().catalogue
    await catalogue.publish([encode(change) for change in CHANGES])
    await catalogue.forget([stamp(CHANGES[1])])
    _, found = await catalogue.snapshot()
    assert {type(decode(each)) for each in found} == {Availability, Deletion}


async def test_what_came_in_the_place_of_a_change_is_not_forgotten_with_it(
    open_store: Open,
) -> None:
    catalogue = open_store().catalogue
    moments = [1.0, 2.0]
    changes = [Upsert(8, moment, HAT, np.zeros(0, np.float32), 1.0) for moment in moments]
    changes += [Availability(8, moment, available=True) for moment in moments]
    await catalogue.publish([encode(change) for change in changes])
    await catalogue.forget([stamp(changes[0]), stamp(changes[2]), stamp(Deletion(9, 1.0))])
    _, found = await catalogue.snapshot()
    assert sorted(found) == sorted([encode(changes[1]), encode(changes[3])])


async def test_changes_are_there_when_the_store_is_opened_again(open_store: Open) -> None:
    first = open_store()
    await first.catalogue.publish([encode(CHANGES[0])])
    await first.close()
    assert await open_store().catalogue.snapshot() == (1, [encode(CHANGES[0])])


@pytest.mark.parametrize("steps", range(8))
async def test_whoever_follows_can_stop_at_any_time(open_store: Open, steps: int) -> None:
    live = LiveCatalogue(open_store().catalogue)
    await live.start()
    for _ in range(steps):
        await asyncio.sleep(0)
    stopping = asyncio.create_task(live.stop())
    stopped, _ = await asyncio.wait({stopping}, timeout=20)
    await live.stop()  # or nothing that comes after would end
    assert stopped
