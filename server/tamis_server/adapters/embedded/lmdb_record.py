"""All of a user in one value, so that one look-up reads it and one page write changes it.

A record is its parts, one after another: length of the name (1 byte) and of the content
(uint32, little-endian), name, content. ``h`` is the history as ``domain.user_record`` has it; ``x``
and ``b`` with a slot are exact keys and filters as ``domain.seen`` has them; ``d`` with a time
bucket are event ids.
"""

from __future__ import annotations

import struct

HISTORY = b"h"

_HEAD = struct.Struct("<BI")
_SEPARATOR = b"\0"  # ids are printable: no id is another's prefix with it


def record_key(user_id: str) -> bytes:
    """Where the record is, and how all other keys of the user begin."""
    return user_id.encode() + _SEPARATOR


def is_record(key: bytes) -> bool:
    """Whether it is the key of a record, of all keys of users."""
    return key.endswith(_SEPARATOR) and key.index(_SEPARATOR) == len(key) - 1


def exact_part(slot: str) -> bytes:
    return b"x" + slot.encode()


def filter_part(slot: str) -> bytes:
    return b"b" + slot.encode()


def unpack(record: bytes) -> dict[bytes, bytes]:
    """Parts by name."""
    parts, at = {}, 0
    while at < len(record):
        name_size, size = _HEAD.unpack_from(record, at)
        start = at + _HEAD.size + name_size
        at = start + size
        parts[record[start - name_size : start]] = record[start:at]
    return parts
