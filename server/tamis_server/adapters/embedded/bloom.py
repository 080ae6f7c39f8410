"""A growing set of seen keys: split-block Bloom filters in layers, each twice the one before."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tamis_kernels import bloom_insert, bloom_test
from tamis_server.domain.candidates import Keys

# Split-block filters (Apache Parquet format, BloomFilter.md; Putze, Sanders, Singler 2007):
# 256-bit blocks; 16 bits a key give a false-positive rate of about 0.1 %.
_KEYS_A_BLOCK = 256 // 16
_FIRST_BLOCKS = 16


class LayeredBloom:
    """Never a false negative; the layers' rates add up, which doubling keeps near that of one."""

    def __init__(self) -> None:
        self.layers: tuple[npt.NDArray[np.uint32], ...] = ()
        self.count = 0
        self._room = 0

    def add(self, keys: Keys) -> None:
        """Insert keys uint64[n] not yet in it."""
        new = np.unique(keys)
        for layer in self.layers:
            new = new[~bloom_test(layer, new)]
        while new.shape[0]:
            if self._room == 0:
                blocks = _FIRST_BLOCKS << len(self.layers)
                self.layers = (*self.layers, np.zeros((blocks, 8), np.uint32))
                self._room = blocks * _KEYS_A_BLOCK
            part, new = new[: self._room], new[self._room :]
            bloom_insert(self.layers[-1], part)
            self._room -= int(part.shape[0])
            self.count += int(part.shape[0])
