"""Checks of array arguments for the reference kernels, with the native binding's errors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]


def check(name: str, array: object, dtype: type[np.generic], ndim: int) -> None:
    """Raise unless `array` is a C-contiguous NumPy array of exactly `dtype` with `ndim` axes."""
    expected = np.dtype(dtype)
    if not isinstance(array, np.ndarray):
        raise TypeError(
            f"{name}: a NumPy array of {expected} is needed, got {type(array).__name__}"
        )
    if array.dtype != expected:
        raise TypeError(f"{name}: dtype {expected} is needed, got {array.dtype}")
    if array.ndim != ndim:
        raise ValueError(f"{name}: {ndim} dimension(s) are needed, got {array.ndim}")
    if not array.flags.c_contiguous:
        raise ValueError(f"{name}: a C-contiguous array is needed")


def check_cells(name: str, array: object, ndim: int) -> None:
    """As `check`, of a table that may be float16 as well as float32."""
    half = isinstance(array, np.ndarray) and array.dtype == np.float16
    check(name, array, np.float16 if half else np.float32, ndim)


def check_length(name: str, array: Array, expected: int, axis: int = 0) -> None:
    """Raise ValueError unless `array` has `expected` entries along `axis`."""
    if array.shape[axis] != expected:
        raise ValueError(
            f"{name}: axis {axis} must have {expected} entries, got {array.shape[axis]}"
        )


def check_rows(rows: NDArray[np.int32], count: int, name: str = "rows") -> None:
    """Raise IndexError naming the first of `rows` that is outside [0, count)."""
    outside = ((rows < 0) | (rows >= count)).ravel()
    if outside.any():
        at = int(outside.argmax())
        raise IndexError(f"{name}[{at}] is {rows.flat[at]}, allowed are 0 to {count - 1}")


def check_below(name: str, values: NDArray[np.integer], count: int) -> None:
    """Raise IndexError naming the first of `values` that is `count` or more."""
    outside = values >= count
    if outside.any():
        at = int(outside.argmax())
        raise IndexError(f"{name}[{at}] is {values[at]}, allowed are up to {count - 1}")


def check_k(k: int) -> None:
    """Raise ValueError for a negative `k`."""
    if k < 0:
        raise ValueError(f"k must be 0 or more, got {k}")


def check_bits(bits: NDArray[np.uint64], words: int) -> None:
    """Raise unless `bits` holds at least `words` words."""
    check("bits", bits, np.uint64, 1)
    if len(bits) < words:
        raise ValueError(f"bits: at least {words} words are needed, got {len(bits)}")
