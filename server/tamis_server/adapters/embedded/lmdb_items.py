"""Item activity in LMDB: a counter an item, and which items are the most active.

Databases: ``counters``, by key big-endian, what ``domain.activity`` says; ``trends``, by number: 0
has the most active items, the others what each commit since then made of the items it touched.
Counters in forward form only grow, so of several entries of an item the greatest holds.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tamis_server.adapters.embedded.lmdb_environment import Environment, Write
from tamis_server.domain import activity
from tamis_server.domain.activity import TRENDING, Decay
from tamis_server.domain.candidates import Keys, Scores
from tamis_server.domain.events import Events
from tamis_server.domain.ports import ItemCounters

_KEPT = 8_192  # of the most active items
_COMMITS = 32  # whose items are listed beside those, before all become one list
_COUNTER_BYTES = 32
_NUMBER = struct.Struct(">I")
_ENTRY = np.dtype([("key", "<u8"), ("score", "<f8")])
Entries = npt.NDArray[np.void]  # of _ENTRY


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
        with self._environment.reading("counters") as counters:
            stored = [counters.get(name) for name in _names(keys)]
        return self._decay.counters(activity.decode(stored), now)

    async def trending(self, most: int, now: float) -> tuple[Keys, Scores]:
        with self._environment.reading("trends") as trends:
            found = _best(list(trends.values()), most)
        return found["key"].copy(), self._decay.value(found["score"], now).astype(np.float32)

    def count(self, write: Write, events: Events, items: Keys, now: float) -> None:
        """Add events of which the catalogue knows the items, uint64[n]."""
        keys, added = self._decay.forward(events, items, now)
        names = _names(keys)
        before = activity.decode(write.get_all("counters", names))
        after = activity.added(before, added)
        write.put_all("counters", zip(names, _cut(after.tobytes(), _COUNTER_BYTES), strict=True))
        grown = after[:, TRENDING] > before[:, TRENDING]
        if grown.any():
            entries = np.empty(int(grown.sum()), _ENTRY)
            entries["key"], entries["score"] = keys[grown], after[grown, TRENDING]
            _list(write, entries.tobytes())


def _list(write: Write, entries: bytes) -> None:
    last = write.last_key("trends")
    number = _NUMBER.unpack(last)[0] + 1 if last else 1
    if number > _COMMITS:
        best = _best([*write.values("trends"), entries], _KEPT)
        write.delete_between("trends", _NUMBER.pack(0), _NUMBER.pack(number))
        number, entries = 0, best.tobytes()
    write.put("trends", _NUMBER.pack(number), entries)


def _best(listed: Sequence[bytes], most: int) -> Entries:
    """The greatest entry of each item, best first, at most ``most``."""
    entries = np.frombuffer(b"".join(listed), _ENTRY)
    ordered = entries[np.argsort(-entries["score"], kind="stable")]
    _, first = np.unique(ordered["key"], return_index=True)
    return ordered[np.sort(first)[:most]]


def _names(keys: Keys) -> list[bytes]:
    return _cut(keys.astype(">u8").tobytes(), 8)


def _cut(packed: bytes, size: int) -> list[bytes]:
    return [packed[at : at + size] for at in range(0, len(packed), size)]
