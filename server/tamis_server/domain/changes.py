"""Changes of the catalogue since a bundle was built, and how stores keep them.

A stored change begins with its stamp: one letter (a, u or d), the item's key (uint64) and Unix
time (float64), little-endian. Then come: for availability one byte; for an upsert its vector's
width (uint16), the vector (float32) and the item as JSON; for a deletion nothing. An upsert with a
content vector has the letter c, and that vector with its width behind the first.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass, field

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
    """An item as it is from now on.

    vector float32[d], unit length, or float32[0]: the bundle's, or where its item tower places it;
    content float32[c], unit length, or float32[0]: not encoded; space: the encoder's, see
    ``ports.ContentEncoder``.
    """

    key: int
    time: float
    item: Item
    vector: Vectors
    created_at: float
    content: Vectors = field(default_factory=lambda: np.empty(0, np.float32))
    space: str = ""


@dataclass(frozen=True, slots=True)
class Deletion:
    """An item that is no more, until it is upserted."""

    key: int
    time: float


Change = Availability | Upsert | Deletion


def encode(change: Change) -> bytes:
    """As stores keep it."""
    if isinstance(change, Availability):
        return stamp(change) + bytes([change.available])
    if isinstance(change, Deletion):
        return stamp(change)
    fields = {**asdict(change.item), "created_at": change.created_at}
    vectors = [change.vector]
    if change.content.shape[0]:
        vectors.append(change.content)
        fields["space"] = change.space
    parts = [_WIDTH.pack(vector.shape[0]) + vector.tobytes() for vector in vectors]
    return b"".join([stamp(change), *parts, json.dumps(fields).encode()])


def decode(stored: bytes) -> Change:
    """Raises ContractViolation where it is none."""
    try:
        letter, key, time = _HEAD.unpack_from(stored)
        if letter == b"a":
            return Availability(key, time, bool(stored[_HEAD.size]))
        if letter == b"d":
            return Deletion(key, time)
        vector, end = _vector(stored, _HEAD.size)
        content, end = _vector(stored, end) if letter == b"c" else (np.empty(0, np.float32), end)
        fields = json.loads(stored[end:])
        created_at, space = fields.pop("created_at"), fields.pop("space", "")
        return Upsert(key, time, Item(**fields), vector, created_at, content, space)
    except (struct.error, ValueError, KeyError, TypeError, IndexError) as error:
        raise ContractViolation(f"a stored change of the catalogue is damaged: {error}") from None


def _vector(stored: bytes, start: int) -> tuple[Vectors, int]:
    """The vector whose width stands at ``start``, and where it ends."""
    (width,) = _WIDTH.unpack_from(stored, start)
    start += _WIDTH.size
    return np.frombuffer(stored, np.float32, width, start), start + 4 * width


def stamp(change: Change) -> bytes:
    """What the stored change begins with, and by which it is told from others of its item."""
    if isinstance(change, Upsert):
        letter = b"c" if change.content.shape[0] else b"u"
    else:
        letter = b"a" if isinstance(change, Availability) else b"d"
    return _HEAD.pack(letter, change.key, change.time)


def facet(stored: bytes) -> bytes:
    """Of what this change, or the change with this stamp, is the last that stores keep: of the
    item's availability or of the item. One letter (a or i), and the item's key."""
    return (b"a" if stored[:1] == b"a" else b"i") + stored[1:9]


def ended(stored: bytes) -> bytes | None:
    """The facet of which nothing holds any more that was said before this change: an upsert ends
    what was said of the item's availability."""
    return b"a" + stored[1:9] if stored[:1] in (b"u", b"c") else None
