"""What one transaction does to the users of its events: each record read and written once.

Databases: ``users`` holds the records (``lmdb_record``) and, under a user's key, the name of a part
and digits, the event ids that the record has no room for: where a list is full, a digit of the id
leads on to one of sixteen. ``expiry`` holds which keys of ``users`` end in which hour.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from tamis_kernels import (
    append_events,
    append_keys,
    insert_keys,
    only_parts,
    parts_of,
    with_parts,
)
from tamis_server.adapters.embedded.lmdb_environment import Write
from tamis_server.adapters.embedded.lmdb_record import (
    HISTORY,
    exact_part,
    filter_part,
    is_record,
    record_key,
)
from tamis_server.domain import user_record
from tamis_server.domain.candidates import Keys, Mask
from tamis_server.domain.events import Events
from tamis_server.domain.seen import SeenGroup, SeenPolicy
from tamis_server.domain.user_record import Keep

_IDS_A_LIST = 128
_DIGIT_BITS = 4  # of an event id's hash, which lead from a full list to the next
_EXPIRIES_AT_ONCE = 200  # deletions a commit takes along
_HOUR = 3600.0
_MOMENT = struct.Struct(">I")  # hours and buckets, in the order of time
_WAS_THERE, _APPENDED, _NO_ROOM = range(3)  # what append_keys says

Numbers = npt.NDArray[np.int64]  # of the user, or of the list, that each event belongs to
Outcomes = npt.NDArray[np.uint8]
Change = Callable[[list[bytes], Numbers, Numbers], list[bytes]]


class Recording:
    """Events on their way into one transaction, at ``now``."""

    def __init__(self, write: Write, policy: SeenPolicy, keep: Keep, now: float) -> None:
        self._write = write
        self._policy = policy
        self._keep = keep
        self._now = now
        bucket = int(now / keep.event_id_s)
        self._id_parts = [b"d" + _MOMENT.pack(max(0, each)) for each in (bucket - 1, bucket)]
        slots = policy.live_slots(now)
        # what else a record holds is over, and left out when it is written
        self._live = [HISTORY, *self._id_parts, *map(exact_part, slots), *map(filter_part, slots)]
        self._keys: list[bytes] = []
        self._records: list[bytes] = []

    def record(self, events: Events, ids: Keys, items: Keys) -> Mask:
        """Store the new ones, which are returned, bool[n]; with the hashes of ids and items."""
        if not len(events):
            return np.zeros(0, np.bool_)
        names = sorted(set(events.user_ids))
        number = {name: at for at, name in enumerate(names)}
        users = np.array([number[name] for name in events.user_ids], np.int64)
        self._keys = [record_key(name) for name in names]
        self._records = [each or b"" for each in self._write.get_all("users", self._keys)]
        known = [record != b"" for record in self._records]
        new = self._new(users, ids)
        users, items = users[new], items[new]
        times, kinds = events.times[new], events.kinds[new]

        def append(stored: list[bytes], starts: Numbers, order: Numbers) -> list[bytes]:
            return append_events(
                stored, starts, items[order], times[order], kinds[order], self._keep.history
            )

        self._change(HISTORY, users, append)
        for group, generation, positions in self._policy.slots(kinds, times, self._now):
            self._remember(group, generation, users[positions], items[positions])
        changed = np.unique(users).tolist()
        records = only_parts([self._records[user] for user in changed], self._live)
        keys = [self._keys[user] for user in changed]
        self._write.put_all("users", zip(keys, records, strict=True))
        created = [self._keys[user] for user in changed if not known[user]]
        self._end_at(created, self._now + self._keep.user_s)
        return new

    def expire(self) -> None:
        """Take out some of what is over: lists of event ids, users gone for long."""
        hour = _MOMENT.pack(int(self._now / _HOUR))
        for entry in self._write.below("expiry", hour, _EXPIRIES_AT_ONCE):
            self._write.delete("expiry", entry)
            self._end(entry[_MOMENT.size :])

    def _new(self, users: Numbers, ids: Keys) -> Mask:
        """Which events have an id that the user did not use in this time bucket or the last."""
        last, this = self._id_parts
        new: Mask = self._append_ids(last, users, ids, 0) != _WAS_THERE
        new[new] = self._append_ids(this, users[new], ids[new], _IDS_A_LIST) == _APPENDED
        return new

    def _append_ids(self, part: bytes, users: Numbers, ids: Keys, most: int) -> Outcomes:
        """What became of the ids: see `append_keys`. With ``most`` 0 they are only looked up."""
        order, starts = _grouped(users, len(self._records))
        outcomes = np.empty(len(ids), np.uint8)
        after, outcomes[order] = append_keys(
            parts_of(self._records, part), starts, ids[order], most
        )
        if most:
            self._records = with_parts(self._records, part, after)
        full = _full(after)
        if full.any():
            lists = [key + part for key in self._keys]
            self._append_deeper(lists, full[users], users, ids, outcomes, most, 0)
        return outcomes

    def _append_deeper(
        self,
        lists: Sequence[bytes],
        full: Mask,
        of: Numbers,
        ids: Keys,
        outcomes: Outcomes,
        most: int,
        depth: int,
    ) -> None:
        """Follow the ids whose list, by number in ``lists``, is full and does not have them."""
        left = np.flatnonzero((outcomes == _NO_ROOM) & full)
        if not left.size:
            return
        fan = 1 << _DIGIT_BITS
        digits = ids[left] >> np.uint64(_DIGIT_BITS * depth) & np.uint64(fan - 1)
        chosen, of = np.unique(of[left] * fan + digits.astype(np.int64), return_inverse=True)
        keys = [lists[each // fan] + bytes([each % fan]) for each in chosen.tolist()]
        stored = [value or b"" for value in self._write.get_all("users", keys)]
        order, starts = _grouped(of, len(keys))
        found = np.empty(len(left), np.uint8)
        after, found[order] = append_keys(stored, starts, ids[left][order], most)
        changes = zip(keys, stored, after, strict=True)
        changed = [(key, before, now) for key, before, now in changes if now is not before]
        self._write.put_all("users", [(key, now) for key, _, now in changed])
        created = [key for key, before, _ in changed if not before]
        self._end_at(created, self._now + 2 * self._keep.event_id_s)
        self._append_deeper(keys, _full(after)[of], of, ids[left], found, most, depth + 1)
        outcomes[left] = found

    def _remember(self, group: SeenGroup, generation: int, users: Numbers, items: Keys) -> None:
        slot = group.slot(generation)
        if group.exact:
            outcomes = np.empty(len(items), np.uint8)

            def append(stored: list[bytes], starts: Numbers, order: Numbers) -> list[bytes]:
                after, outcomes[order] = append_keys(stored, starts, items[order], group.exact)
                return after

            self._change(exact_part(slot), users, append)
            left = outcomes == _NO_ROOM
            users, items = users[left], items[left]
        layer_bits = np.array(group.layer_bits)

        def insert(stored: list[bytes], starts: Numbers, order: Numbers) -> list[bytes]:
            return insert_keys(stored, starts, items[order], group.first_blocks, layer_bits)

        self._change(filter_part(slot), users, insert)

    def _change(self, part: bytes, users: Numbers, change: Change) -> None:
        """Change one part of users. It gets that part of all, b"" where there is none, where the
        events of each start, and in which order they are taken."""
        if users.size:
            order, starts = _grouped(users, len(self._records))
            after = change(parts_of(self._records, part), starts, order)
            self._records = with_parts(self._records, part, after)

    def _end_at(self, keys: Sequence[bytes], moment: float) -> None:
        if keys and moment < 2**32 * _HOUR:
            hour = _MOMENT.pack(int(moment / _HOUR) + 1)
            self._write.put_all("expiry", [(hour + key, b"") for key in keys])

    def _end(self, key: bytes) -> None:
        if not is_record(key):
            self._write.delete("users", key)
            return
        (history,) = parts_of([self._write.get("users", key) or b""], HISTORY)
        # from the last event on, or from now for events imported from long ago
        ends = user_record.last_time(history) + self._keep.user_s
        if ends > self._now:
            self._end_at([key], ends)
        else:
            self._write.delete_prefix("users", key)


def _full(lists: Sequence[bytes]) -> Mask:
    return np.array(list(map(len, lists))) >= 8 * _IDS_A_LIST


def _grouped(of: Numbers, groups: int) -> tuple[Numbers, Numbers]:
    """Positions in the order of groups, int64[n], and where each starts, int64[groups + 1]."""
    starts = np.zeros(groups + 1, np.int64)
    np.cumsum(np.bincount(of, minlength=groups), out=starts[1:])
    return np.argsort(of, kind="stable"), starts
