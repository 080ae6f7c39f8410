"""Records of users, one event and one key after another, in plain Python."""

from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tamis_kernels.arguments import check, check_below, check_length
from tamis_kernels.reference_bloom import bloom_absent, bloom_insert

_KINDS = 9
_HEADER = 4 * _KINDS + 4
_ENTRY = struct.Struct("<QdB")
_FILTER = struct.Struct("<II24x")
_PART = struct.Struct("<BI")
_BLOCK = 32
_WAS_THERE, _APPENDED, _NO_ROOM = range(3)


def append_events(
    stored: list[bytes],
    starts: NDArray[np.int64],
    keys: NDArray[np.uint64],
    times: NDArray[np.float64],
    kinds: NDArray[np.uint8],
    most: int,
) -> list[bytes]:
    check("keys", keys, np.uint64, 1)
    check("times", times, np.float64, 1)
    check("kinds", kinds, np.uint8, 1)
    check_length("times", times, len(keys))
    check_length("kinds", kinds, len(keys))
    check_below("kinds", kinds, _KINDS)
    _check_most(most)
    columns = list(zip(keys.tolist(), times.tolist(), kinds.tolist(), strict=True))

    def change(history: bytes, begin: int, end: int) -> bytes:
        history = history or bytes(_HEADER)
        if len(history) < _HEADER or (len(history) - _HEADER) % _ENTRY.size:
            raise ValueError("no history of whole entries")
        counts = np.frombuffer(history, np.uint32, _KINDS).copy()
        entries = list(_ENTRY.iter_unpack(history[_HEADER:]))
        for key, time, kind in columns[begin:end]:
            counts[kind] += 1
            place = len(entries)
            while place and entries[place - 1][1] > time:
                place -= 1
            entries.insert(place, (key, time, kind))
        kept = entries[max(0, len(entries) - most) :]
        tail = history[4 * _KINDS : _HEADER]
        return counts.tobytes() + tail + b"".join(_ENTRY.pack(*entry) for entry in kept)

    return _changed(stored, starts, len(keys), change)


def append_keys(
    stored: list[bytes], starts: NDArray[np.int64], keys: NDArray[np.uint64], most: int
) -> tuple[list[bytes], NDArray[np.uint8]]:
    check("keys", keys, np.uint64, 1)
    _check_most(most)
    outcomes = np.zeros(len(keys), np.uint8)

    def change(packed: bytes, begin: int, end: int) -> bytes:
        if len(packed) % 8:
            raise ValueError("no list of whole keys")
        found = np.frombuffer(packed, np.uint64).tolist()
        before = len(found)
        for at in range(begin, end):
            key = int(keys[at])
            if key in found:
                outcomes[at] = _WAS_THERE
            elif len(found) >= most:
                outcomes[at] = _NO_ROOM
            else:
                outcomes[at] = _APPENDED
                found.append(key)
        return packed + np.array(found[before:], np.uint64).tobytes()

    return _changed(stored, starts, len(keys), change), outcomes


def insert_keys(
    stored: list[bytes],
    starts: NDArray[np.int64],
    keys: NDArray[np.uint64],
    first_blocks: int,
    layer_bits: NDArray[np.float64],
) -> list[bytes]:
    check("keys", keys, np.uint64, 1)
    check("layer_bits", layer_bits, np.float64, 1)
    if first_blocks < 1:
        raise ValueError(f"first_blocks must be 1 or more, got {first_blocks}")

    def change(packed: bytes, begin: int, end: int) -> bytes:
        if not packed:
            packed = _FILTER.pack(0, first_blocks) + bytes(_BLOCK * first_blocks)
        if len(packed) < 2 * _BLOCK or len(packed) % _BLOCK:
            raise ValueError("no filter of whole layers")
        count, blocks = _FILTER.unpack_from(packed)
        words = np.frombuffer(packed[_BLOCK:], np.uint32).reshape(-1, 8).copy()
        layers: list[NDArray[np.uint32]] = []
        while len(words):
            if not 0 < blocks <= len(words) or len(layers) == len(layer_bits):
                raise ValueError("no filter of whole layers")
            layers.append(words[:blocks])
            words, blocks = words[blocks:], 2 * blocks
        for at in range(begin, end):
            key = keys[at : at + 1]
            if len(bloom_absent(layers, key)) == 0:
                continue
            room = sum(
                int(len(layer) * 256 / bits)
                for layer, bits in zip(layers, layer_bits.tolist(), strict=False)
            )
            if count >= room and len(layers) < len(layer_bits):
                layers.append(np.zeros((2 * len(layers[-1]), 8), np.uint32))
            bloom_insert(layers[-1], key)
            count += 1
        header = _FILTER.pack(count, len(layers[0]))
        return header + b"".join(layer.tobytes() for layer in layers)

    return _changed(stored, starts, len(keys), change)


def parts_of(records: list[bytes], name: bytes) -> list[bytes]:
    return [_parts(records, at).get(name, b"") for at in range(len(records))]


def with_parts(records: list[bytes], name: bytes, contents: list[bytes]) -> list[bytes]:
    if len(name) > 255:
        raise ValueError("name: at most 255 bytes are allowed")
    if len(contents) != len(records):
        raise ValueError(f"contents: {len(records)} entries are needed, got {len(contents)}")
    after = []
    for at, content in enumerate(contents):
        if not isinstance(content, bytes):
            raise TypeError(f"contents[{at}]: bytes are needed")
        parts = _parts(records, at)
        if parts.pop(name, b"") == content:
            after.append(records[at])
        else:
            after.append(_packed({**parts, name: content} if content else parts))
    return after


def only_parts(records: list[bytes], names: list[bytes]) -> list[bytes]:
    after = []
    for at, record in enumerate(records):
        parts = _parts(records, at)
        kept = {name: content for name, content in parts.items() if name in names}
        after.append(record if kept == parts else _packed(kept))
    return after


def _parts(records: list[bytes], at: int) -> dict[bytes, bytes]:
    rest, parts = records[at], {}
    if not isinstance(rest, bytes):
        raise TypeError(f"records[{at}]: bytes are needed")
    while rest:
        end = _PART.size
        if len(rest) >= end:
            name, content = _PART.unpack_from(rest)
            end += name + content
        if end > len(rest):
            raise ValueError(f"records[{at}]: no record of whole parts")
        parts[rest[_PART.size : _PART.size + name]] = rest[_PART.size + name : end]
        rest = rest[end:]
    return parts


def _packed(parts: dict[bytes, bytes]) -> bytes:
    return b"".join(
        _PART.pack(len(name), len(content)) + name + content for name, content in parts.items()
    )


def _check_most(most: int) -> None:
    if most < 0:
        raise ValueError(f"most must be 0 or more, got {most}")


def _changed(
    stored: list[bytes],
    starts: NDArray[np.int64],
    count: int,
    change: Callable[[bytes, int, int], bytes],
) -> list[bytes]:
    check("starts", starts, np.int64, 1)
    check_length("starts", starts, len(stored) + 1)
    if starts[0] != 0 or starts[-1] != count or (np.diff(starts) < 0).any():
        raise ValueError(f"starts: must ascend from 0 to {count}")
    after = []
    for position, (begin, end) in enumerate(pairwise(starts.tolist())):
        before = stored[position]
        if not isinstance(before, bytes):
            raise TypeError(f"stored[{position}]: bytes are needed")
        try:
            changed = change(before, begin, end) if begin < end else before
        except ValueError as error:
            raise ValueError(f"stored[{position}]: {error}") from None
        after.append(before if changed == before else changed)
    return after
