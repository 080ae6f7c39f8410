"""Rows of keys, and bits of rows, in plain Python."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tamis_kernels.arguments import check, check_rows
from tamis_kernels.reference_hash import hash_of


class KeyIndex:
    def __init__(self, keys: NDArray[np.uint64]) -> None:
        check("keys", keys, np.uint64, 1)
        self._position: dict[int, int] = {}
        for position, key in enumerate(keys.tolist()):
            self._position.setdefault(key, position)

    @property
    def distinct(self) -> int:
        return len(self._position)

    def find(self, wanted: NDArray[np.uint64]) -> NDArray[np.int32]:
        check("wanted", wanted, np.uint64, 1)
        return np.array([self._position.get(key, -1) for key in wanted.tolist()], np.int32)

    def find_text(self, text: str) -> int:
        return self._position.get(hash_of(text.encode()), -1)


def texts(
    data: NDArray[np.uint8], offsets: NDArray[np.int64], positions: NDArray[np.int32]
) -> list[str]:
    check("data", data, np.uint8, 1)
    check("offsets", offsets, np.int64, 1)
    check("positions", positions, np.int32, 1)
    if not len(offsets):
        raise ValueError("offsets: at least 1 is needed, got 0")
    check_rows(positions, len(offsets) - 1, "positions")
    for at in positions.tolist():
        start, end = offsets[at : at + 2].tolist()
        if not 0 <= start <= end <= len(data):
            raise ValueError(
                f"offsets[{at}] and the next are {start} and {end}, they must ascend within the "
                f"{len(data)} bytes"
            )
    return [data[offsets[at] : offsets[at + 1]].tobytes().decode() for at in positions.tolist()]


def bits_of(rows: NDArray[np.int32], words: int) -> NDArray[np.uint64]:
    check("rows", rows, np.int32, 1)
    if words < 0:
        raise ValueError(f"words must be 0 or more, got {words}")
    mask = np.zeros(64 * words, np.bool_)
    mask[rows[(rows >= 0) & (rows < 64 * words)]] = True
    return np.packbits(mask, bitorder="little").view(np.uint64)
