"""Awkward arrays for kernel tests: every length around a register, unaligned, read-only."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

LENGTHS = (0, 1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 1000)

Scalar = TypeVar("Scalar", bound=np.generic)


def unaligned(array: NDArray[Scalar]) -> NDArray[Scalar]:
    """A read-only copy of `array` that starts one byte after an aligned address."""
    store = np.zeros(array.nbytes + 64, dtype=np.uint8)
    start = -store.ctypes.data % 32 + 1
    copy = store[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    copy.flags.writeable = False
    return copy


def small_integers(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Floats whose sums of products are exact in any order: scores tie, or differ clearly."""
    return rng.integers(-4, 5, shape).astype(np.float32)


def rows_of(rng: np.random.Generator, count: int, length: int) -> NDArray[np.int32]:
    """`length` rows in [0, count), with repetitions."""
    return rng.integers(0, count, length).astype(np.int32)
