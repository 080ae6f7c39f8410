"""User state in LMDB: one file, many processes, durable by group commit."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence

import numpy as np

from tamis_server.adapters.embedded.lmdb_environment import Environment, Write
from tamis_server.adapters.embedded.lmdb_items import LmdbItems
from tamis_server.adapters.embedded.lmdb_record import (
    HISTORY,
    exact_part,
    filter_part,
    record_key,
    unpack,
)
from tamis_server.adapters.embedded.lmdb_recording import Recording
from tamis_server.batching.batcher import MicroBatcher
from tamis_server.domain import user_record
from tamis_server.domain.candidates import Keys, Mask
from tamis_server.domain.context import NOBODY, UserState
from tamis_server.domain.events import Events
from tamis_server.domain.seen import SeenPolicy
from tamis_server.domain.user_record import Keep


class LmdbUsers:
    """Implements UserStateStore. Reads are one look-up, inline; writes wait for a common commit,
    which counts the items too."""

    def __init__(
        self,
        environment: Environment,
        items: LmdbItems,
        *,
        keys_of: Callable[[Sequence[str]], Keys],
        policy: SeenPolicy,
        keep: Keep,
    ) -> None:
        self._environment = environment
        self._items = items
        self._keys_of = keys_of
        self._policy = policy
        self._keep = keep
        self._writer: MicroBatcher[Events, Mask] = MicroBatcher("state store", self._commit)

    async def read(self, user_id: str, now: float) -> UserState:
        record = self._environment.get("users", record_key(user_id))
        if not record:
            return NOBODY
        parts = unpack(record)
        slots = self._policy.live_slots(now)
        exact, filters = (
            [parts.get(part(slot), b"") for slot in slots] for part in (exact_part, filter_part)
        )
        history = parts.get(HISTORY, b"")
        return user_record.decode(history, exact, filters, self._keep.history)

    def record(self, events: Events) -> Awaitable[Mask]:
        return self._writer.submit(events)

    def close(self) -> None:
        self._writer.close()

    def _commit(self, parts: Sequence[Events]) -> list[Mask]:
        now, events = time.time(), Events.joined(parts)
        ids, items = self._keys_of(events.event_ids), self._keys_of(events.item_ids)

        def work(write: Write) -> Mask:
            recording = Recording(write, self._policy, self._keep, now)
            new = recording.record(events, ids, items)
            counted = new & events.known
            if counted.any():
                self._items.count(write, events.where(counted), items[counted], now)
            recording.expire()
            return new

        new = self._environment.write(work)
        ends = np.cumsum([len(part) for part in parts])
        return np.split(new, ends[:-1])
