"""What one transaction does to the users of its events: each record read and written once.

Databases: ``users`` holds, under user id, NUL and

- ``h``: the history, as ``domain.user_record`` has it;
- ``x`` + slot, ``b`` + slot: exact keys and filters, as ``domain.seen`` has them;
- ``d`` + time bucket: ids of events, so that one that comes again is known. Beside the history they
  cost no page more. Where one list of ids is full, a digit of the id leads on to one of sixteen;

``expiry`` holds which keys of ``users`` end in which hour.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from tamis_kernels import append_events, append_keys, insert_keys
from tamis_server.adapters.embedded.lmdb_environment import Write
from tamis_server.domain import user_record
from tamis_server.domain.candidates import Keys, Mask
from tamis_server.domain.events import Events
from tamis_server.domain.seen import SeenGroup, SeenPolicy
from tamis_server.domain.user_record import Keep

_SEPARATOR = b"\0"  # ids are printable: no id is another's prefix with it
_HISTORY, _IDS = b"h", b"d"
_IDS_A_LIST = 128
_DIGIT_BITS = 4  # of an event id's hash, which lead from a full list to the next
_EXPIRIES_AT_ONCE = 200  # deletions a commit takes along
_HOUR = 3600.0
_MOMENT = struct.Struct(">I")  # hours and buckets, in the order of time
_WAS_THERE, _APPENDED, _NO_ROOM = range(3)  # what append_keys says

Numbers = npt.NDArray[np.int64]  # of the user, or of the list, that each event belongs to
Change = Callable[[list[bytes], Numbers, Numbers], list[bytes]]


def prefix_of(user_id: str) -> bytes:
    """Of all keys of the user."""
    return user_id.encode() + _SEPARATOR


def history_key(prefix: bytes) -> bytes:
    return prefix + _HISTORY


def exact_key(prefix: bytes, slot: str) -> bytes:
    return prefix + b"x" + slot.encode()


def filter_key(prefix: bytes, slot: str) -> bytes:
    return prefix + b"b" + slot.encode()


class Recording:
    """Events on their way into one transaction, at ``now``."""

    def __init__(self, write: Write, policy: SeenPolicy, keep: Keep, now: float) -> None:
        self._write = write
        self._policy = policy
        self._keep = keep
        self._now = now

    def record(self, events: Events, ids: Keys, items: Keys) -> Mask:
        """Store the new ones, which are returned, bool[n]; with the hashes of ids and items."""
        names = sorted(set(events.user_ids))
        prefixes = [prefix_of(name) for name in names]
        number = {name: at for at, name in enumerate(names)}
        users = np.array([number[name] for name in events.user_ids], np.int64)
        new = self._new(prefixes, users, ids)
        users, items = users[new], items[new]
        times, kinds = events.times[new], events.kinds[new]

        def append(stored: list[bytes], starts: Numbers, order: Numbers) -> list[bytes]:
            return append_events(
                stored, starts, items[order], times[order], kinds[order], self._keep.history
            )

        ends = self._now + self._keep.user_s
        self._change(prefixes, history_key, users, append, ends)
        for group, generation, positions in self._policy.slots(kinds, times, self._now):
            self._remember(group, generation, prefixes, users[positions], items[positions])
        return new

    def expire(self) -> None:
        """Take out some of what is over: dead filters, users gone for long."""
        hour = _MOMENT.pack(int(self._now / _HOUR))
        for entry in self._write.below("expiry", hour, _EXPIRIES_AT_ONCE):
            self._write.delete("expiry", entry)
            self._end(entry[_MOMENT.size :])

    def _new(self, prefixes: Sequence[bytes], users: Numbers, ids: Keys) -> Mask:
        """Which events have an id that the user did not use in this time bucket or the last."""
        bucket = int(self._now / self._keep.event_id_s)
        last, this = (_IDS + _MOMENT.pack(max(0, each)) for each in (bucket - 1, bucket))
        new: Mask = (
            self._append_ids([each + last for each in prefixes], users, ids, 0) != _WAS_THERE
        )
        lists = [each + this for each in prefixes]
        new[new] = self._append_ids(lists, users[new], ids[new], _IDS_A_LIST) == _APPENDED
        return new

    def _append_ids(
        self, lists: Sequence[bytes], of: Numbers, ids: Keys, most: int, depth: int = 0
    ) -> npt.NDArray[np.uint8]:
        """What became of the ids, uint8[n]: see `append_keys`. With ``most`` 0 they are looked up.
        lists: keys in ``users``; of: the list of each id."""
        order, starts = _grouped(of, len(lists))
        stored = [value or b"" for value in self._write.get_all("users", lists)]
        after, found = append_keys(stored, starts, ids[order], most)
        self._put(lists, stored, after, self._now + 2 * self._keep.event_id_s)
        outcomes = np.empty_like(found)
        outcomes[order] = found
        full = np.array([len(each) >= 8 * _IDS_A_LIST for each in after])
        deeper = np.flatnonzero((outcomes == _NO_ROOM) & full[of])
        if deeper.size:
            fan = 1 << _DIGIT_BITS
            digits = ids[deeper] >> np.uint64(_DIGIT_BITS * depth) & np.uint64(fan - 1)
            chosen, of = np.unique(of[deeper] * fan + digits.astype(np.int64), return_inverse=True)
            next_lists = [lists[each // fan] + bytes([each % fan]) for each in chosen.tolist()]
            outcomes[deeper] = self._append_ids(next_lists, of, ids[deeper], most, depth + 1)
        return outcomes

    def _remember(
        self,
        group: SeenGroup,
        generation: int,
        prefixes: Sequence[bytes],
        users: Numbers,
        items: Keys,
    ) -> None:
        slot, ends = group.slot(generation), group.expires(generation)
        if group.exact:
            outcomes = np.empty(len(items), np.uint8)

            def append(stored: list[bytes], starts: Numbers, order: Numbers) -> list[bytes]:
                after, outcomes[order] = append_keys(stored, starts, items[order], group.exact)
                return after

            self._change(prefixes, lambda prefix: exact_key(prefix, slot), users, append, ends)
            left = outcomes == _NO_ROOM
            users, items = users[left], items[left]
        layer_bits = np.array(group.layer_bits)

        def insert(stored: list[bytes], starts: Numbers, order: Numbers) -> list[bytes]:
            return insert_keys(stored, starts, items[order], group.first_blocks, layer_bits)

        self._change(prefixes, lambda prefix: filter_key(prefix, slot), users, insert, ends)

    def _change(
        self,
        prefixes: Sequence[bytes],
        key_of: Callable[[bytes], bytes],
        users: Numbers,
        change: Change,
        ends: float,
    ) -> None:
        """Change one record of each of the users, by number in ``prefixes``; it gets the records,
        where the events of each start, and in which order; one that is new ends some time."""
        if not users.size:
            return
        chosen, of = np.unique(users, return_inverse=True)
        keys = [key_of(prefixes[user]) for user in chosen.tolist()]
        order, starts = _grouped(of, len(keys))
        stored = [value or b"" for value in self._write.get_all("users", keys)]
        self._put(keys, stored, change(stored, starts, order), ends)

    def _put(
        self, keys: Sequence[bytes], before: list[bytes], after: list[bytes], ends: float
    ) -> None:
        changes = zip(keys, before, after, strict=True)
        changed = [(key, new) for key, old, new in changes if new is not old]
        if changed:
            self._write.put_all("users", changed)
            there = {key for key, old in zip(keys, before, strict=True) if old}
            self._end_at([key for key, _ in changed if key not in there], ends)

    def _end_at(self, keys: Sequence[bytes], moment: float) -> None:
        if keys and moment < 2**32 * _HOUR:
            hour = _MOMENT.pack(int(moment / _HOUR) + 1)
            self._write.put_all("expiry", [(hour + key, b"") for key in keys])

    def _end(self, key: bytes) -> None:
        if key.partition(_SEPARATOR)[2] == _HISTORY:
            stored = self._write.get("users", key)
            # from the last event on, or from now for events imported from long ago
            ends = user_record.last_time(stored or b"") + self._keep.user_s
            if ends > self._now:
                self._end_at([key], ends)
            else:
                self._write.delete_prefix("users", key[: -len(_HISTORY)])
        else:
            self._write.delete("users", key)


def _grouped(of: Numbers, groups: int) -> tuple[Numbers, Numbers]:
    """Positions in the order of groups, int64[n], and where each starts, int64[groups + 1]."""
    starts = np.zeros(groups + 1, np.int64)
    np.cumsum(np.bincount(of, minlength=groups), out=starts[1:])
    return np.argsort(of, kind="stable"), starts
