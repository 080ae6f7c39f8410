"""User state and item activity in Redis: a script a user, so that every write is atomic."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

import numpy as np

from tamis_server.adapters.remote.redis_connection import Command, Connection, Script
from tamis_server.domain import activity, seen, user_record
from tamis_server.domain.activity import Decay
from tamis_server.domain.candidates import Keys, Mask, Scores
from tamis_server.domain.context import UserState
from tamis_server.domain.errors import DependencyFailed
from tamis_server.domain.events import Events
from tamis_server.domain.ports import ItemCounters
from tamis_server.domain.seen import SeenGroup, SeenPolicy
from tamis_server.domain.user_record import Keep

log = logging.getLogger(__name__)
Slot = tuple[SeenGroup, int]  # and the generation
Described = tuple[Slot | None, tuple[bytes, bytes, int], tuple[int, bytes]]
_RECORD = Script.named("record")
_COUNT = Script.named("count")
_SHARDS = 16  # of the item counters: one hot key each, spread over a cluster
_TRENDING_KEPT = 2_000  # a shard


class RedisUsers:
    """Implements UserStateStore and ItemActivity.

    Keys, all of a user in one slot: ``tamis:{user}:h`` history, ``:b:slot`` filters, ``:x:slot``
    exact keys, ``:d:bucket`` event ids; ``tamis:{items-0}:c`` counters (hash) and ``:t`` trending
    scores (sorted set) by shard. A read is one MGET.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        namespace: str,
        keys_of: Callable[[Sequence[str]], Keys],
        policy: SeenPolicy,
        keep: Keep,
        decay: Decay,
    ) -> None:
        self._connection = connection
        self._namespace = namespace
        self._keys_of = keys_of
        self._policy = policy
        self._keep = keep
        # their keys live as long as the user: every write of the user renews them
        self._for_ever = tuple(group for group in policy.groups if not group.window_s)
        self._decay = decay
        self.lost = 0

    async def read(self, user_id: str, now: float) -> UserState:
        prefix = self._prefix(user_id)
        slots = [slot.encode() for slot in self._policy.live_slots(now)]
        filters = [prefix + b"b:" + slot for slot in slots]
        exact = [prefix + b"x:" + slot for slot in slots]
        found = await self._connection.read("MGET", prefix + b"h", *filters, *exact)
        present = [value or b"" for value in found[1:]]
        return user_record.decode(
            found[0] or b"", present[len(slots) :], present[: len(slots)], self._keep.history
        )

    async def record(self, events: Events) -> Mask:
        new = np.zeros(len(events), np.bool_)
        if not len(events):
            return new
        items = self._keys_of(events.item_ids)
        now = time.time()
        described = self._described(events, items.tolist(), now)
        theirs: dict[str, list[int]] = {}
        for position, user_id in enumerate(events.user_ids):
            theirs.setdefault(user_id, []).append(position)
        calls = [
            self._call(user_id, [described[position] for position in positions], now)
            for user_id, positions in theirs.items()
        ]
        results = await self._connection.run(_RECORD, calls)
        for positions, result in zip(theirs.values(), results, strict=True):
            new[positions] = np.frombuffer(result, np.uint8) == ord("1")
        counted = new & events.known
        if counted.any():
            await self._count(events.where(counted), items[counted], now)
        return new

    async def counters(self, keys: Keys, now: float) -> ItemCounters:
        packed = [key.to_bytes(8, "little") for key in keys.tolist()]
        commands: list[Command] = [
            ("HGET", self._shard(key) + b"c", name)
            for key, name in zip(keys.tolist(), packed, strict=True)
        ]
        stored = await self._connection.read_many(commands)
        return self._decay.counters(activity.decode(stored), now)

    async def trending(self, most: int, now: float) -> tuple[Keys, Scores]:
        shards = await self._connection.read_many(
            [
                ("ZREVRANGE", self._shard(shard) + b"t", 0, most - 1, "WITHSCORES")
                for shard in range(_SHARDS)
            ]
        )
        pairs = [pair for shard in shards for pair in _pairs(shard)]
        keys = np.array([int.from_bytes(name, "little") for name, _ in pairs], np.uint64)
        forward = np.array([score for _, score in pairs], np.float64)
        best = np.argsort(-forward, kind="stable")[:most]
        return keys[best], self._decay.value(forward[best], now).astype(np.float32)

    def _prefix(self, user_id: str) -> bytes:
        # the part in braces decides the slot: braces of the id itself may not end it
        quoted = user_id.replace("%", "%25").replace("{", "%7B").replace("}", "%7D")
        return f"{self._namespace}:{{{quoted}}}:".encode()

    def _shard(self, key: int) -> bytes:
        return f"{self._namespace}:{{items-{key % _SHARDS}}}:".encode()

    def _described(self, events: Events, items: Sequence[int], now: float) -> list[Described]:
        """What the script is told of each event: before and behind the number of its slot."""
        slots: dict[int, Slot] = {
            position: (group, generation)
            for group, generation, positions in self._policy.slots(events.kinds, events.times, now)
            for position in positions.tolist()
        }
        ids = self._keys_of(events.event_ids).tolist()
        columns = (ids, items, events.times.tolist(), events.kinds.tolist())
        return [
            (
                slots.get(position),
                (event_id.to_bytes(8, "little"), user_record.ENTRY.pack(item, time, kind), kind),
                (item >> 32, seen.block_places(item)),
            )
            for position, (event_id, item, time, kind) in enumerate(zip(*columns, strict=True))
        ]

    def _call(
        self,
        user_id: str,
        events: list[Described],
        now: float,
    ) -> Command:
        prefix = self._prefix(user_id)
        bucket = int(now / self._keep.event_id_s)
        keys = [prefix + b"h", *(prefix + b"d:%d" % each for each in (bucket - 1, bucket))]
        slots: dict[Slot, int] = {
            (group, 0): number + 1 for number, group in enumerate(self._for_ever)
        }
        arguments: list[str | bytes | int | float] = []
        for place, before, behind in events:
            number = 0 if place is None else slots.setdefault(place, len(slots) + 1)
            arguments += (*before, number, *behind)
        described: list[str | bytes | int | float] = []
        for group, generation in slots:
            slot = group.slot(generation).encode()
            keys += [prefix + b"b:" + slot, prefix + b"x:" + slot]
            described += _described(group, generation)
        return _RECORD.call(
            keys,
            [
                self._keep.history,
                int(self._keep.user_s * 1e3),
                int(self._keep.event_id_s * 2e3),
                len(slots),
                *described,
                *arguments,
            ],
        )

    async def _count(self, events: Events, items: Keys, now: float) -> None:
        """Item counters are for ranking, not for the books: an event that could not be counted is
        recorded all the same, since recording it again would not count it either."""
        keys, added = activity.summed(items, self._decay.forward(events, now))
        shards: dict[int, list[bytes]] = {}
        for key, counter in zip(keys.tolist(), added, strict=True):
            shards.setdefault(key % _SHARDS, []).extend(
                (key.to_bytes(8, "little"), counter.tobytes())
            )
        calls = []
        for shard, counts in shards.items():
            prefix = self._shard(shard)
            calls.append(_COUNT.call([prefix + b"c", prefix + b"t"], [_TRENDING_KEPT, *counts]))
        try:
            await self._connection.run(_COUNT, calls)
        except DependencyFailed as error:
            self.lost += len(events)
            log.warning("items not counted: %s", error, extra={"events": len(events)})


def _described(group: SeenGroup, generation: int) -> list[str | bytes | int | float]:
    ends = group.expires(generation)
    return [
        0 if ends == float("inf") else int(ends * 1e3),
        group.exact,
        group.first_blocks,
        len(group.layer_bits),
        *group.layer_bits,
    ]


def _pairs(reply: list[object]) -> list[tuple[bytes, float]]:
    """Members with scores."""
    return [
        (bytes(member), float(score))  # type: ignore[call-overload, arg-type]
        for member, score in zip(reply[::2], reply[1::2], strict=True)
    ]
