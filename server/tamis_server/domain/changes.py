"""Changes of the catalogue since a bundle was built, and how stores keep them.

A stored change is one letter (a, u or d), the item's key (uint64) and Unix time (float64),
little-endian, and then: for availability one byte; for an upsert its vector's width (uint16), the
vector (float32) and the item as JSON; for a deletion nothing.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass

import numpy as np

from tamis_server.domain.candidates import Vectors
from tamis_server.domain.errors import ContractViolation
from tamis_server.domain.ports import Item

_HEAD = struct.Struct("<cQd")
_WIDTH = struct.Struct("<H")


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether an item may be recommended, whatever a bundle says: until it is upserted."""

    key: int
    time: float
    available: bool


@dataclass(frozen=True, slots=True)
class Upsert:
    """An item as it is from now on. vector float32[d], unit length, or float32[0]: the bundle's."""

    key: int
    time: float
    item: Item
    vector: Vectors
    created_at: float


@dataclass(frozen=True, slots=True)
class Deletion:
    """An item that is no more, until it is upserted."""

    key: int
    time: float


Change = Availability | Upsert | Deletion


def encode(change: Change) -> bytes:
    """As stores keep it."""
    if isinstance(change, Availability):
        return _HEAD.pack(b"a", change.key, change.time) + bytes([change.available])
    if isinstance(change, Deletion):
        return _HEAD.pack(b"d", change.key, change.time)
    text = json.dumps({**asdict(change.item), "created_at": change.created_at})
    width = _WIDTH.pack(change.vector.shape[0])
    head = _HEAD.pack(b"u", change.key, change.time)
    return head + width + change.vector.tobytes() + text.encode()


def decode(stored: bytes) -> Change:
    """Raises ContractViolation where it is none."""
    try:
        letter, key, time = _HEAD.unpack_from(stored)
        if letter == b"a":
            return Availability(key, time, bool(stored[_HEAD.size]))
        if letter == b"d":
            return Deletion(key, time)
        (width,) = _WIDTH.unpack_from(stored, _HEAD.size)
        start = _HEAD.size + _WIDTH.size
        vector = np.frombuffer(stored, np.float32, width, start)
        fields = json.loads(stored[start + 4 * width :])
        created_at = fields.pop("created_at")
        return Upsert(key, time, Item(**fields), vector, created_at)
    except (struct.error, ValueError, KeyError, TypeError, IndexError) as error:
        raise ContractViolation(f"a stored change of the catalogue is damaged: {error}") from None


def facet(change: Change) -> bytes:
    """Of an item the store keeps the last change of each facet."""
    return b"a" if isinstance(change, Availability) else b"i"
