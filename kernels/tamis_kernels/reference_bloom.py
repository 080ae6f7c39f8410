"""Split-block Bloom filters (Parquet, BloomFilter.md) in NumPy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tamis_kernels.arguments import check, check_length

_SALT = np.array(
    [
        0x47B6137B,
        0x44974D91,
        0x8824AD5B,
        0xA2B7289D,
        0x705495C7,
        0x2DF1424B,
        0x9EFC4947,
        0x5C6BFB31,
    ],
    dtype=np.uint32,
)


def _masks(keys: NDArray[np.uint64]) -> NDArray[np.uint32]:
    low = keys.astype(np.uint32)  # wraps to the low 32 bits
    masks: NDArray[np.uint32] = np.uint32(1) << ((low[:, None] * _SALT) >> np.uint32(27))
    return masks


def _block_of(keys: NDArray[np.uint64], blocks: int) -> NDArray[np.int64]:
    high = keys >> np.uint64(32)
    return ((high * np.uint64(blocks)) >> np.uint64(32)).astype(np.int64)


def _check_blocks(name: str, blocks: NDArray[np.uint32]) -> None:
    check(name, blocks, np.uint32, 2)
    check_length(name, blocks, 8, axis=1)


def bloom_insert(blocks: NDArray[np.uint32], keys: NDArray[np.uint64]) -> None:
    _check_blocks("blocks", blocks)
    check("keys", keys, np.uint64, 1)
    if not blocks.flags.writeable:
        raise ValueError("blocks: a writable array is needed")
    if len(keys) == 0:
        return
    if len(blocks) == 0:
        raise ValueError("blocks: at least one block is needed to insert into, got 0")
    np.bitwise_or.at(blocks, _block_of(keys, len(blocks)), _masks(keys))


def bloom_absent(
    filters: Sequence[NDArray[np.uint32]], keys: NDArray[np.uint64]
) -> NDArray[np.int32]:
    for i, blocks in enumerate(filters):
        _check_blocks(f"filters[{i}]", blocks)
    check("keys", keys, np.uint64, 1)
    masks = _masks(keys)
    found = np.zeros(len(keys), np.bool_)
    for blocks in filters:
        if len(blocks) > 0:
            found |= (blocks[_block_of(keys, len(blocks))] & masks == masks).all(axis=1)
    return np.flatnonzero(~found).astype(np.int32)
