"""State stores over throw-away places, as the application makes them."""

from __future__ import annotations

import asyncio
from multiprocessing.connection import Connection
from typing import Any

from support.events import Event, columns
from tamis_server.domain.context import EventKind
from tamis_server.domain.errors import TamisError
from tamis_server.settings import StateSettings
from tamis_server.stores import Stores, open_stores


class Opener:
    """Opens one store again and again, each time with the settings wanted."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self._opened: list[Stores] = []

    def __call__(self, **settings: Any) -> Stores:
        self._opened.append(open_stores(StateSettings(**{**self.settings, **settings})))
        return self._opened[-1]

    async def close(self) -> None:
        await asyncio.gather(*(store.close() for store in self._opened))


def event(
    number: int,
    item: str,
    kind: EventKind = EventKind.VIEW,
    time: float = 0.0,
    user: str = "ada",
    **fields: Any,
) -> Event:
    return Event(f"event-{number}", user, item, kind, time, **fields)


def write_100(settings: dict[str, Any], writer: int, now: float) -> int:
    """Record 100 events of ada from a process of its own; how many were new."""

    async def write() -> int:
        store = open_stores(StateSettings(**settings))
        try:
            new = await asyncio.gather(
                *(
                    store.users.record(
                        columns(event(100 * writer + n, f"item-{n}-{writer}", time=now + n))
                    )
                    for n in range(100)
                )
            )
        except TamisError as error:
            raise AssertionError(str(error)) from None  # the other one can't be pickled
        finally:
            await store.close()
        return sum(int(each.sum()) for each in new)

    return asyncio.run(write())


def write_for_ever(directory: str, start: int, acknowledged: Connection, now: float) -> None:
    """Record events from ``start`` on and send the number of each once it is acknowledged."""

    async def write() -> None:
        store = open_stores(StateSettings(url=f"lmdb://{directory}"))

        async def writer(number: int) -> None:
            while True:
                await store.users.record(
                    columns(
                        event(
                            number, f"item-{number}", time=now + number, user=f"user-{number % 5}"
                        )
                    )
                )
                acknowledged.send_bytes(number.to_bytes(8, "big"))
                number += 4

        await asyncio.gather(*(writer(start + offset) for offset in range(4)))

    asyncio.run(write())
