"""What the naive baseline knows of users: in Redis by redis-py, in a dict where there is none."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import pyarrow.parquet as pq
from redis.asyncio import Redis

from tamis_server.bundles import manifest as fmt

_BATCH = 1000


class Event(NamedTuple):
    item_id: str
    time: float
    kind: int


class Users(Protocol):
    async def events(self, user_id: str) -> Sequence[Event]:
        """The user's events, oldest first."""


class InMemory:
    """For a baseline that has no Redis: as fast as it gets, and gone when the process ends."""

    def __init__(self, directory: Path) -> None:
        self._events = dict(_histories(directory))

    async def events(self, user_id: str) -> Sequence[Event]:
        return self._events.get(user_id, [])


class InRedis:
    """A list of JSON per user."""

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(url)

    async def fill(self, directory: Path) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for number, (user_id, events) in enumerate(_histories(directory), start=1):
            if events:
                pipeline.rpush(f"events:{user_id}", *(json.dumps(event) for event in events))
            if number % _BATCH == 0:
                await pipeline.execute()
        await pipeline.execute()

    async def events(self, user_id: str) -> Sequence[Event]:
        stored = await self._redis.lrange(f"events:{user_id}", 0, -1)
        return [Event(*json.loads(each)) for each in stored]


def _histories(directory: Path) -> Iterator[tuple[str, list[Event]]]:
    ids = pq.read_table(directory / fmt.ITEMS, columns=["item_id"])["item_id"].to_pylist()
    for user in pq.read_table(directory / fmt.USERS).to_pylist():
        columns = zip(user["rows"], user["times"], user["kinds"], strict=True)
        yield user["user_id"], [Event(ids[row], time, kind) for row, time, kind in columns]
