"""User state and item activity in LMDB: one file, many processes, durable by group commit."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from tamis_server.adapters.embedded.lmdb_environment import Environment, Write
from tamis_server.batching.batcher import MicroBatcher
from tamis_server.domain import activity, seen, user_record
from tamis_server.domain.activity import COUNTER, NEVER, Counter, Decay
from tamis_server.domain.candidates import Keys, Mask, Scores
from tamis_server.domain.context import Event, UserState
from tamis_server.domain.ports import ItemCounters
from tamis_server.domain.seen import SeenPolicy
from tamis_server.domain.user_record import Keep

_SEPARATOR = b"\0"  # ids are printable: no id is another's prefix with it
_HISTORY = b"h"
_EXPIRIES_AT_ONCE = 200  # deletions a commit takes along
_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class _Recording:
    """Events with the hashes of their users, ids and items."""

    events: Sequence[Event]
    users: list[int]
    ids: list[int]
    items: list[int]


class LmdbUsers:
    """Implements UserStateStore and ItemActivity.

    Databases: ``users`` holds what ``domain.user_record`` says under user id, NUL and ``h``,
    ``x`` + slot (exact keys) or ``b`` + slot (filter); ``dedupe`` the event ids by time bucket;
    ``expiry`` which user keys end in which hour; ``counters`` and ``trending`` the item counters
    and their order. Reads are a few page look-ups, inline; writes wait for a common commit.
    """

    def __init__(
        self,
        environment: Environment,
        *,
        keys_of: Callable[[Sequence[str]], Keys],
        policy: SeenPolicy,
        keep: Keep,
        decay: Decay,
    ) -> None:
        self._environment = environment
        self._keys_of = keys_of
        self._policy = policy
        self._keep = keep
        self._decay = decay
        self._writer: MicroBatcher[_Recording, Mask] = MicroBatcher("state store", self._commit)

    @property
    def lost(self) -> int:
        """None: they are counted in the transaction that records them."""
        return 0

    async def read(self, user_id: str, now: float) -> UserState:
        prefix = user_id.encode() + _SEPARATOR
        start = len(prefix)
        live = self._policy.live_slots(now)
        history = b""
        exact: list[bytes] = []
        filters: list[bytes] = []
        with self._environment.reading("users") as users:
            for key, value in users.under(prefix):
                what = key[start : start + 1]
                if what == _HISTORY:
                    history = value
                elif key[start + 1 :].decode() in live:
                    (exact if what == b"x" else filters).append(value)
        return user_record.decode(history, exact, filters, self._keep.history)

    async def record(self, events: Sequence[Event]) -> Mask:
        if not events:
            return np.zeros(0, np.bool_)
        users, ids, items = (
            self._keys_of([getattr(event, name) for event in events]).tolist()
            for name in ("user_id", "event_id", "item_id")
        )
        return await self._writer.submit(_Recording(events, users, ids, items))

    async def counters(self, keys: Keys, now: float) -> ItemCounters:
        with self._environment.reading("counters") as counters:
            stored = [counters.get(key) for key in _item_keys(keys)]
        return self._decay.decode(stored, now)

    async def trending(self, most: int, now: float) -> tuple[Keys, Scores]:
        with self._environment.reading("trending") as ordered:
            found = list(islice(ordered.backwards(), most))
        table = np.frombuffer(b"".join(found), ">u8").reshape(-1, 2).astype(np.uint64)
        forward = _unordered(table[:, 0])
        keys = np.ascontiguousarray(table[:, 1])
        return keys, self._decay.value(forward, now).astype(np.float32)

    def close(self) -> None:
        self._writer.close()

    def _commit(self, recordings: Sequence[_Recording]) -> list[Mask]:
        now = time.time()

        def work(write: Write) -> list[Mask]:
            batch = _Batch(write, self._policy, self._keep, self._decay, now)
            new = [batch.record(recording) for recording in recordings]
            batch.flush()
            batch.expire()
            return new

        return self._environment.write(work)


class _Batch:
    """The records that one transaction touches: read once, changed in memory, written once."""

    def __init__(
        self, write: Write, policy: SeenPolicy, keep: Keep, decay: Decay, now: float
    ) -> None:
        self._write = write
        self._policy = policy
        self._keep = keep
        self._decay = decay
        self._now = now
        self._bucket = int(now / keep.event_id_s)
        self._records: dict[bytes, bytearray] = {}
        self._counts: dict[int, Counter] = {}

    def record(self, recording: _Recording) -> Mask:
        new = np.zeros(len(recording.events), np.bool_)
        columns = (recording.users, recording.ids, recording.items)
        for position, (event, *hashes) in enumerate(zip(recording.events, *columns, strict=True)):
            user, event_id, item = hashes
            if self._is_new(user, event_id):
                new[position] = True
                self._add(event, item)
        return new

    def flush(self) -> None:
        for key in sorted(self._records):
            self._write.put("users", key, self._records[key])
        for item, added in self._counts.items():
            self._count(struct.pack(">Q", item), added)

    def expire(self) -> None:
        """Take out some of what is over: dedupe buckets, dead filters, users gone for long."""
        oldest = struct.pack(">I", max(self._bucket - 1, 0))
        for key in self._write.first("dedupe", _EXPIRIES_AT_ONCE):
            if key[:4] >= oldest:
                break
            self._write.delete("dedupe", key)
        hour = struct.pack(">I", int(self._now / _HOUR))
        for entry in self._write.first("expiry", _EXPIRIES_AT_ONCE):
            if entry[:4] >= hour:
                break
            self._write.delete("expiry", entry)
            self._end(entry[4:])

    def _is_new(self, user: int, event_id: int) -> bool:
        digest = struct.pack(">QQ", user, event_id)
        before = struct.pack(">I", max(self._bucket - 1, 0)) + digest
        if self._write.get("dedupe", before) is not None:
            return False
        return self._write.add("dedupe", struct.pack(">I", self._bucket) + digest)

    def _add(self, event: Event, item: int) -> None:
        prefix = event.user_id.encode() + _SEPARATOR
        history = self._load(
            prefix + _HISTORY, user_record.new_history, self._now + self._keep.user_s
        )
        user_record.add_event(history, item, event.time, event.kind, self._keep.history)
        self._remember(prefix, event, item)
        if event.known:
            added = self._decay.forward(event, self._now)
            before = self._counts.get(item)
            self._counts[item] = added if before is None else activity.add(before, added)

    def _remember(self, prefix: bytes, event: Event, item: int) -> None:
        group = self._policy.group_of.get(event.kind)
        if group is None:
            return
        generation = group.generation(min(event.time, self._now))
        ends = group.expires(generation)
        if ends <= self._now:
            return
        slot = group.slot(generation).encode()
        if group.exact:
            exact = self._load(prefix + b"x" + slot, bytearray, ends)
            if _holds(exact, item):
                return
            if len(exact) < 8 * group.exact:
                exact += item.to_bytes(8, "little")
                return
        stored = self._load(prefix + b"b" + slot, lambda: seen.new_filter(group), ends)
        seen.insert(stored, group, item)

    def _load(self, key: bytes, new: Callable[[], bytearray], ends: float) -> bytearray:
        record = self._records.get(key)
        if record is None:
            stored = self._write.get("users", key)
            if stored is None:
                record = new()
                self._end_at(key, ends)
            else:
                record = bytearray(stored)
            self._records[key] = record
        return record

    def _end_at(self, key: bytes, moment: float) -> None:
        hour = int(moment / _HOUR) + 1 if moment < 2**32 * _HOUR else None
        if hour is not None:
            self._write.add("expiry", struct.pack(">I", hour) + key)

    def _end(self, key: bytes) -> None:
        if key.endswith(_SEPARATOR + _HISTORY):
            stored = self._write.get("users", key)
            # from the last event on, or from now for events imported from long ago
            ends = user_record.last_time(stored or b"") + self._keep.user_s
            if ends > self._now:
                self._end_at(key, ends)
            else:
                self._write.delete_prefix("users", key[: -len(_HISTORY)])
        else:
            self._write.delete("users", key)

    def _count(self, key: bytes, added: Counter) -> None:
        stored = self._write.get("counters", key)
        before: Counter = COUNTER.unpack(stored) if stored else NEVER
        after = activity.add(before, added)
        self._write.put("counters", key, COUNTER.pack(*after))
        if after[2] != before[2]:
            if before[2] != NEVER[2]:
                self._write.delete("trending", _ordered(before[2]) + key)
            self._write.add("trending", _ordered(after[2]) + key)


def _holds(keys: bytearray, key: int) -> bool:
    wanted, at = key.to_bytes(8, "little"), -1
    while (at := keys.find(wanted, at + 1)) >= 0:
        if at % 8 == 0:
            return True
    return False


def _item_keys(keys: Keys) -> list[bytes]:
    packed = keys.astype(">u8").tobytes()
    return [packed[at : at + 8] for at in range(0, len(packed), 8)]


def _ordered(value: float) -> bytes:
    """Eight bytes that sort as the float does."""
    bits = int.from_bytes(struct.pack(">d", value), "big")
    bits = bits ^ 0xFFFFFFFFFFFFFFFF if bits >> 63 else bits | 1 << 63
    return bits.to_bytes(8, "big")


def _unordered(
    bits: np.ndarray[tuple[int], np.dtype[np.uint64]],
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    sign = np.uint64(1 << 63)
    return np.where(bits & sign, bits ^ sign, ~bits).view(np.float64)
