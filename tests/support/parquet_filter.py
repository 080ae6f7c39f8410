"""Split-block Bloom filters as the Parquet specification (BloomFilter.md) writes them down."""

from __future__ import annotations

SALT = (
    0x47B6137B,
    0x44974D91,
    0x8824AD5B,
    0xA2B7289D,
    0x705495C7,
    0x2DF1424B,
    0x9EFC4947,
    0x5C6BFB31,
)


class ParquetFilter:
    """The specification's pseudocode: block_insert, block_check, filter_insert, filter_check."""

    def __init__(self, blocks: int) -> None:
        self.words = [[0] * 8 for _ in range(blocks)]

    def _block(self, key: int) -> list[int]:
        return self.words[((key >> 32) * len(self.words)) >> 32]

    @staticmethod
    def _bit(key: int, i: int) -> int:
        return ((key & 0xFFFFFFFF) * SALT[i] & 0xFFFFFFFF) >> 27

    def insert(self, key: int) -> None:
        block = self._block(key)
        for i in range(8):
            block[i] |= 1 << self._bit(key, i)

    def check(self, key: int) -> bool:
        block = self._block(key)
        return all(block[i] >> self._bit(key, i) & 1 for i in range(8))
