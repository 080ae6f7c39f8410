"""XXH64 (https://github.com/Cyan4973/xxHash, doc/xxhash_spec.md) in plain Python."""

from __future__ import annotations

import numpy as np

_P1 = 0x9E3779B185EBCA87
_P2 = 0xC2B2AE3D27D4EB4F
_P3 = 0x165667B19E3779F9
_P4 = 0x85EBCA77C2B2AE63
_P5 = 0x27D4EB2F165667C5
_MASK = 0xFFFFFFFFFFFFFFFF


def _rotate(x: int, bits: int) -> int:
    return (x << bits | x >> (64 - bits)) & _MASK


def _round(accumulator: int, lane: int) -> int:
    return _rotate((accumulator + lane * _P2) & _MASK, 31) * _P1 & _MASK


def hash_of(text: bytes) -> int:
    """Seed 0."""
    length, at, h = len(text), 0, _P5
    if length >= 32:
        lanes = [(_P1 + _P2) & _MASK, _P2, 0, -_P1 & _MASK]
        for at in range(0, length - 31, 32):
            words = np.frombuffer(text, dtype="<u8", count=4, offset=at).tolist()
            lanes = [_round(lane, word) for lane, word in zip(lanes, words, strict=True)]
        at = length - length % 32
        h = sum(_rotate(lane, bits) for lane, bits in zip(lanes, (1, 7, 12, 18), strict=True))
        for lane in lanes:
            h = ((h ^ _round(0, lane)) * _P1 + _P4) & _MASK
    h = (h + length) & _MASK
    for word in np.frombuffer(text, dtype="<u8", count=(length - at) // 8, offset=at).tolist():
        h = (_rotate(h ^ _round(0, word), 27) * _P1 + _P4) & _MASK
    at = length - length % 8
    if length - at >= 4:
        h ^= int.from_bytes(text[at : at + 4], "little") * _P1 & _MASK
        h = (_rotate(h, 23) * _P2 + _P3) & _MASK
        at += 4
    for byte in text[at:]:
        h = _rotate(h ^ (byte * _P5 & _MASK), 11) * _P1 & _MASK
    h = (h ^ h >> 33) * _P2 & _MASK
    h = (h ^ h >> 29) * _P3 & _MASK
    return h ^ h >> 32
