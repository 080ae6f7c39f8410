"""Item activity in LMDB: a counter an item, and which items are the most active.

Database ``activity``: ``c`` + item key, big-endian, is what ``domain.activity`` says of the item;
``t`` which of these are the most active; ``x`` + number what commits have added since, an entry for
each of their items, under the number of entries up to its last. So a commit appends to a page or
two where it would change one for nearly each of its items; after some thousand entries they are
added to the counters.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from tamis_server.adapters.embedded.lmdb_environment import Environment, Read, Write
from tamis_server.domain import activity
from tamis_server.domain.activity import NEVER, TRENDING, Decay, Forward
from tamis_server.domain.candidates import Keys, Scores
from tamis_server.domain.events import Events
from tamis_server.domain.ports import ItemCounters

_KEPT = 8_192  # of the most active items
_APART = 4_096  # entries, until they are added to the counters
_COUNTER, _BEST, _ADDED = b"c", b"t", b"x"
_NUMBER = struct.Struct(">I")
_ENTRY = np.dtype([("key", "<u8"), ("counter", "<f8", 4)])
_SCORED = np.dtype([("key", "<u8"), ("score", "<f8")])
Scored = npt.NDArray[np.void]  # of _SCORED


class LmdbItems:
    """Implements ItemActivity, and counts within the transaction that records."""

    def __init__(self, environment: Environment, decay: Decay) -> None:
        self._environment = environment
        self._decay = decay

    @property
    def lost(self) -> int:
        """None: they are counted in the transaction that records them."""
        return 0

    async def counters(self, keys: Keys, now: float) -> ItemCounters:
        with self._environment.reading("activity") as stored:
            counted = activity.decode(map(stored.get, _names(keys)))
            items, apart = _apart(stored)
        place = {item: at for at, item in enumerate(items.tolist())}
        found = np.array([place.get(key, -1) for key in keys.tolist()], np.int64)
        added = np.concatenate([apart, [NEVER]])[found]
        return self._decay.counters(activity.added(counted, added), now)

    async def trending(self, most: int, now: float) -> tuple[Keys, Scores]:
        with self._environment.reading("activity") as stored:
            best = _most_active(stored, *_totals(stored))[:most]
        return best["key"].copy(), self._decay.value(best["score"], now).astype(np.float32)

    def count(self, write: Write, events: Events, items: Keys, now: float) -> None:
        """Add events of which the catalogue knows the items, uint64[n]."""
        keys, added = activity.summed(items, self._decay.forward(events, now))
        last = write.last_key("activity") or b""
        number = len(keys)
        if last.startswith(_ADDED):
            number += _NUMBER.unpack(last[len(_ADDED) :])[0]
        entries = np.empty(len(keys), _ENTRY)
        entries["key"], entries["counter"] = keys, added
        write.put("activity", _ADDED + _NUMBER.pack(number), entries.tobytes())
        if number > _APART:
            _join(write)


def _join(write: Write) -> None:
    """Add what lies apart to the counters."""
    stored = write.reading("activity")
    keys, totals = _totals(stored)
    best = _most_active(stored, keys, totals)[:_KEPT]
    write.put_all("activity", zip(_names(keys), _cut(totals.tobytes(), 32), strict=True))
    write.put("activity", _BEST, best.tobytes())
    write.delete_prefix("activity", _ADDED)


def _apart(stored: Read) -> tuple[Keys, Forward]:
    """What lies apart, an entry an item: keys uint64[m], ascending, and counters."""
    entries = np.frombuffer(b"".join(value for _, value in stored.under(_ADDED)), _ENTRY)
    return activity.summed(entries["key"], entries["counter"])


def _totals(stored: Read) -> tuple[Keys, Forward]:
    """The same with what is counted of these items already."""
    keys, added = _apart(stored)
    return keys, activity.added(activity.decode(map(stored.get, _names(keys))), added)


def _most_active(stored: Read, keys: Keys, totals: Forward) -> Scored:
    """The most active of these items and those that were before, best first."""
    scored = np.empty(len(keys), _SCORED)
    scored["key"], scored["score"] = keys, totals[:, TRENDING]
    entries = np.concatenate([np.frombuffer(stored.get(_BEST) or b"", _SCORED), scored])
    entries = entries[entries["score"] > -np.inf]
    ordered = entries[np.argsort(-entries["score"], kind="stable")]
    # counters only grow: of two entries of an item the first is the later one
    _, first = np.unique(ordered["key"], return_index=True)
    return ordered[np.sort(first)]


def _names(keys: Keys) -> Iterable[bytes]:
    return [_COUNTER + name for name in _cut(keys.astype(">u8").tobytes(), 8)]


def _cut(packed: bytes, size: int) -> list[bytes]:
    return [packed[at : at + size] for at in range(0, len(packed), size)]
