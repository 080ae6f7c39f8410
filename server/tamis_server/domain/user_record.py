"""How stores keep one user: a few byte strings, the same in every store.

- history: uint32[9] events by kind and four zero bytes, then an entry of 17 bytes an event,
  oldest first: key uint64, time float64, kind uint8, little-endian;
- exact: item keys uint64, one list per group and generation;
- filters: see ``domain.seen``.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from tamis_server.domain import seen
from tamis_server.domain.context import NOBODY, EventKind, UserState

KINDS = max(EventKind) + 1
HEADER_BYTES = 4 * KINDS + 4
ENTRY = struct.Struct("<QdB")
_DTYPE = np.dtype([("key", "<u8"), ("time", "<f8"), ("kind", "u1")])


@dataclass(frozen=True, slots=True)
class Keep:
    """How much is kept: events a user; seconds of a user without events; seconds of an event id."""

    history: int
    user_s: float
    event_id_s: float


def decode(
    history: bytes, exact: Sequence[bytes], filters: Sequence[bytes], most: int
) -> UserState:
    """What is stored of a user as the funnel wants it, with the last ``most`` events."""
    if not history:
        return NOBODY  # a user is forgotten as a whole
    entries = np.frombuffer(history, _DTYPE, offset=HEADER_BYTES)[-most:]
    return UserState(
        keys=np.ascontiguousarray(entries["key"]),
        times=np.ascontiguousarray(entries["time"]),
        kinds=np.ascontiguousarray(entries["kind"]),
        counts=np.frombuffer(history, np.uint32, count=KINDS),
        seen=tuple(layer for stored in filters for layer in seen.layers(stored)),
        exact=np.frombuffer(b"".join(exact), np.uint64),
    )


def last_time(history: bytes) -> float:
    """Unix time of the latest event; -inf without one."""
    if len(history) <= HEADER_BYTES:
        return -inf
    _, time, _ = ENTRY.unpack_from(history, len(history) - ENTRY.size)
    return float(time)
