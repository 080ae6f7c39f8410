"""Ids of items and users, and their keys: the names of both in state that outlives a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import pyarrow as pa

from tamis_kernels import texts, xxh64
from tamis_server.domain.candidates import Keys, Rows


def item_keys(item_ids: Sequence[str]) -> Keys:
    """uint64[n]: XXH64 of each id's UTF-8 bytes, the item's name in bundle-independent state."""
    text = "".join(item_ids)
    # as many bytes as characters in most ids, which then need not be encoded one by one
    sizes = map(len, item_ids if text.isascii() else [each.encode() for each in item_ids])
    offsets = np.fromiter(accumulate(sizes, initial=0), np.int64, len(item_ids) + 1)
    return xxh64(np.frombuffer(text.encode(), np.uint8), offsets)


def in_one_piece(column: pa.ChunkedArray) -> pa.LargeStringArray:
    """The column itself where it is."""
    if column.type == pa.large_string() and column.num_chunks == 1:
        return column.chunk(0)
    return column.cast(pa.large_string()).combine_chunks()


class Ids:
    """The ids of a column, by position: the bytes of the table, and no object an id, which would
    take time to make, five times the memory, and to itself the interpreter while it is made."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        """column: of strings, none of them missing."""
        self._column = column
        array = in_one_piece(column)
        _, offsets, data = array.buffers()
        self._offsets = np.frombuffer(offsets, np.int64, len(array) + 1, 8 * array.offset)
        self._bytes = memoryview(data if data is not None else b"")

    def __reduce__(self) -> tuple[type[Ids], tuple[pa.ChunkedArray]]:
        return Ids, (self._column,)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def keys(self) -> Keys:
        """uint64[n]: as ``item_keys``."""
        return xxh64(np.frombuffer(self._bytes, np.uint8), self._offsets)

    def at(self, position: int) -> str:
        start, end = self._offsets.item(position), self._offsets.item(position + 1)
        return str(self._bytes[start:end], "utf-8")

    def of(self, positions: Rows) -> list[str]:
        return texts(np.frombuffer(self._bytes, np.uint8), self._offsets, positions)
