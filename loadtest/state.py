"""What the state stores cost: events a second, reads, and how soon changes are seen elsewhere.

Run alone (``python loadtest/state.py``) or by ``make bench``. Redis is measured where the tests
would find a redis-server, on the same machine: what it costs over a network comes on top.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import lmdb
import numpy as np
import numpy.typing as npt
import uvloop
from redis.asyncio import Redis

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from support.redis_binary import NoRedis, binary
from support.redis_servers import redis_server
from tamis_server.domain.changes import Availability, encode
from tamis_server.domain.context import EventKind
from tamis_server.domain.events import Events
from tamis_server.settings import StateSettings
from tamis_server.stores import Stores, open_stores

USERS, ITEMS = 5_000, 100_000
EVENTS_A_BATCH, WRITERS = 100, 16
LIFE = (EventKind.VIEW,) * 6 + (EventKind.CLICK,) * 2 + (EventKind.ADD_TO_CART, EventKind.PURCHASE)
KINDS = (EventKind.VIEW, EventKind.VIEW, EventKind.CLICK, EventKind.ADD_TO_CART, EventKind.PURCHASE)


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one store: events/s in batches of 100 from 16 writers, reads in us, visibility in ms."""

    store: str
    events_per_s: float
    read_p50_us: float
    read_p99_us: float
    visible_p50_ms: float
    visible_p99_ms: float


@contextmanager
def places() -> Iterator[list[tuple[str, StateSettings]]]:
    """The stores to measure, each empty and with durability on."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=Path.cwd())))
        found = [("lmdb", StateSettings(url=f"lmdb://{directory / 'state'}"))]
        try:
            binary()
        except NoRedis as error:
            print(f"SKIPPED: Redis: {error}", file=sys.stderr)
        else:
            for sync in ("always", "everysec"):
                (home := directory / sync).mkdir()
                server = stack.enter_context(redis_server(home, appendfsync=sync))
                url = StateSettings(url=server.url, timeout_s=30, write_timeout_s=30)
                found.append((f"redis_{sync}", url))
        yield found


async def measure(name: str, settings: StateSettings, seconds: float) -> Cost:
    stores = open_stores(settings)
    try:
        rate = await _events_per_s(stores, seconds)
        reads = await _reads_us(stores)
        seen = await _visible_ms(stores)
    finally:
        await stores.close()
    (p50, p99), (seen50, seen99) = (np.percentile(each, [50, 99]) for each in (reads, seen))
    return Cost(name, rate, *map(float, (p50, p99, seen50, seen99)))


def costs(seconds: float) -> list[Cost]:
    """Of every store there is."""
    with places() as found:
        return [uvloop.run(measure(name, settings, seconds)) for name, settings in found]


def figures(seconds: float) -> list[tuple[str, float, str]]:
    """What ``make bench`` reports: name, value, unit."""
    found = []
    for cost in costs(seconds):
        found += [
            (f"events_per_s_{cost.store}", cost.events_per_s, "events/s, durable"),
            (f"state_read_p50_us_{cost.store}", cost.read_p50_us, "us"),
            (f"state_read_p99_us_{cost.store}", cost.read_p99_us, "us"),
            (f"availability_visible_p50_ms_{cost.store}", cost.visible_p50_ms, "ms"),
            (f"availability_visible_p99_ms_{cost.store}", cost.visible_p99_ms, "ms"),
        ]
    return found


def _events(
    ids: list[str],
    users: list[str],
    items: list[str],
    kinds: npt.NDArray[np.uint8],
    times: npt.NDArray[np.float64],
    *,
    known: bool,
) -> Events:
    unsaid, n = [""] * len(ids), len(ids)
    return Events(
        ids, users, items, kinds, times, unsaid, unsaid, np.zeros(n, np.int32), np.full(n, known)
    )


async def _events_per_s(stores: Stores, seconds: float) -> float:
    """Recorded events a second; every batch is of many users, as a gateway sends them."""
    now, recorded = time.time(), 0
    start = time.perf_counter()

    async def write(writer: int) -> None:
        nonlocal recorded
        rng, number = np.random.default_rng(writer), 0
        while time.perf_counter() - start < seconds:
            users = rng.integers(0, USERS, EVENTS_A_BATCH).tolist()
            items = (ITEMS * rng.power(0.3, EVENTS_A_BATCH)).astype(int).tolist()
            batch = _events(
                [f"{writer}-{number + place}" for place in range(EVENTS_A_BATCH)],
                [f"user-{user}" for user in users],
                [f"item-{item}" for item in items],
                np.resize(np.array(KINDS, np.uint8), EVENTS_A_BATCH),
                np.full(EVENTS_A_BATCH, now + number / 1e3),
                known=True,
            )
            new = await stores.users.record(batch)
            recorded += int(new.sum())
            number += EVENTS_A_BATCH

    await asyncio.gather(*(write(writer) for writer in range(WRITERS)))
    return recorded / (time.perf_counter() - start)


async def _reads_us(stores: Stores, reads: int = 5_000) -> list[float]:
    """One after another, each of another user."""
    users = np.random.default_rng(1).permutation(USERS)[:reads].tolist()
    took = []
    for user in users:
        start = time.perf_counter()
        await stores.users.read(f"user-{user}", time.time())
        took.append((time.perf_counter() - start) * 1e6)
    return took


async def _visible_ms(stores: Stores, changes: int = 200) -> list[float]:
    """From before a change of availability is published until a follower has it."""
    position, _ = await stores.catalogue.snapshot()
    arrived: dict[int, float] = {}

    async def follow() -> None:
        at = position
        while len(arrived) < changes:
            found = await stores.catalogue.since(at)
            assert found is not None
            at, stored = found
            now = time.perf_counter()
            for place in range(len(stored)):
                arrived[at - place] = now

    following = asyncio.create_task(follow())
    sent = {}
    rng = np.random.default_rng(2)
    for number in range(changes):
        await asyncio.sleep(float(rng.uniform(0, 0.02)))
        start = time.perf_counter()
        change = encode(Availability(number, time.time(), available=False))
        sent[await stores.catalogue.publish([change])] = start
    await following
    return [(arrived[at] - start) * 1e3 for at, start in sent.items()]


async def memory(settings: StateSettings, events: int, users: int = 500) -> tuple[float, float]:
    """Bytes a user of so many events over 300 days, and of them those of event ids."""
    before = await _used(settings)
    stores, now = open_stores(settings), time.time()
    rng = np.random.default_rng(events)
    recorded = _events(
        [f"{user}-{number}" for user in range(users) for number in range(events)],
        [f"{events}-{user}" for user in range(users) for _ in range(events)],
        [f"item-{item}" for item in rng.integers(0, 1_000_000, users * events).tolist()],
        np.resize(np.resize(np.array(LIFE, np.uint8), events), users * events),
        np.resize(now - np.arange(events, 0, -1) * 300 * 86_400 / events, users * events),
        known=False,
    )
    for start in range(0, len(recorded), 5_000):
        await stores.users.record(recorded.part(start, start + 5_000))
    await stores.close()
    used = await _used(settings) - before
    ids = 0.0
    if settings.url.startswith("redis"):
        async with Redis.from_url(settings.url) as redis:
            async for key in redis.scan_iter(f"tamis:{{{events}-*}}:d:*"):
                ids += await redis.memory_usage(key) or 0
    return used / users, ids / users


async def _used(settings: StateSettings) -> float:
    if settings.url.startswith("lmdb://"):
        return float(lmdb_bytes(Path(settings.url.removeprefix("lmdb://"))))
    async with Redis.from_url(settings.url) as redis:
        return float((await redis.info("memory"))["used_memory"])


def lmdb_bytes(directory: Path) -> int:
    """What is in use of the file; no process of ours may have it open."""
    if not directory.exists():
        return 0
    with lmdb.open(str(directory), readonly=True, lock=False) as environment:
        return int((environment.info()["last_pgno"] + 1) * environment.stat()["psize"])


def print_memory() -> None:
    """The table of docs/state.md."""
    with places() as found:
        for events in (5, 20, 50, 200, 512, 1_000):
            row = [f"{events}"]
            for name, settings in found:
                if name != "redis_always":
                    used, ids = uvloop.run(memory(settings, events))
                    row.append(f"{name} {used:,.0f} (ids {ids:,.0f})")
            print(" | ".join(row))


if __name__ == "__main__":
    if "--memory" in sys.argv:
        print_memory()
    else:
        for cost in costs(5.0):
            print(cost)
