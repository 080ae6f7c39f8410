"""Floats in half the memory, as NumPy rounds them."""

from __future__ import annotations

import numpy as np
import pytest

from support.kernel_arrays import LENGTHS, unaligned
from tamis_kernels import halved


def as_numpy(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return values.astype(np.float16)


def same(found: np.ndarray, wanted: np.ndarray) -> None:
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, wanted)  # NaN where NaN is
    nan = np.isnan(wanted)
    np.testing.assert_array_equal(np.signbit(found)[~nan], np.signbit(wanted)[~nan])


@pytest.mark.parametrize("length", LENGTHS)
def test_each_number_is_the_nearest_half(length: int) -> None:
    rng = np.random.default_rng(length)
    scale = 10.0 ** rng.integers(-9, 6, (length, 3))
    values = (rng.normal(size=(length, 3)) * scale).astype(np.float32)
    same(halved(values), as_numpy(values))
    same(halved(unaligned(values)), as_numpy(values))


def test_every_half_comes_back_and_the_middle_of_two_goes_to_the_even_one() -> None:
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16)
    exact = halves.astype(np.float32)
    same(halved(exact[:, None])[:, 0], halves)
    middle = ((exact[:-1] + exact[1:]) / 2)[:, None]
    for values in (middle, np.nextafter(middle, 0), np.nextafter(middle, np.float32(1e9)), -middle):
        same(halved(np.ascontiguousarray(values)), as_numpy(values))


def test_what_no_half_can_hold_is_infinite_and_nan_stays_nan() -> None:
    values = np.array(
        [[65504, 65519, 65520, 65536, 3e38, np.inf, np.nan, 1e-45, 2.9e-8, 0.0]], np.float32
    )
    same(halved(values), as_numpy(values))
    same(halved(-values), as_numpy(-values))


def test_what_is_no_table_of_floats_is_refused() -> None:
    with pytest.raises(TypeError, match="values: dtype float32"):
        halved(np.zeros((2, 2)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"values: 2 dimension\(s\)"):
        halved(np.zeros(2, np.float32))
