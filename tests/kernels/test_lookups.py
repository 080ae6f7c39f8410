"""Rows of keys and bits of rows, against dictionaries and sets."""

import gc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.kernel_arrays import LENGTHS, unaligned
from tamis_kernels import KeyIndex, bits_of

KEYS = st.one_of(st.integers(0, 20), st.integers(0, 2**64 - 1))


def u64(values: list[int]) -> np.ndarray:
    return np.array(values, np.uint64)


@given(keys=st.lists(KEYS, max_size=60), wanted=st.lists(KEYS, max_size=60))
def test_the_first_position_of_a_key_is_found(keys: list[int], wanted: list[int]) -> None:
    index = KeyIndex(u64(keys))
    assert index.distinct == len(set(keys))
    found = index.find(u64(wanted + keys))
    assert found.dtype == np.int32
    assert found.tolist() == [keys.index(k) if k in keys else -1 for k in wanted + keys]


@pytest.mark.parametrize("length", LENGTHS)
def test_keys_are_found_among_any_number(length: int) -> None:
    rng = np.random.default_rng(length)
    keys = rng.integers(0, 2**64, length, dtype=np.uint64)
    order = rng.permutation(length)
    assert (KeyIndex(keys).find(unaligned(keys[order])) == order).all()
    # keys that fall onto few slots of the table
    near = np.arange(length, dtype=np.uint64)
    assert (KeyIndex(near).find(near[order]) == order).all()


def test_the_index_outlives_the_names_of_its_keys() -> None:
    index = KeyIndex(u64([5, 6, 7]))
    gc.collect()
    assert index.find(u64([7, 8])).tolist() == [2, -1]


@given(rows=st.lists(st.integers(-(2**31), 2**31 - 1) | st.integers(-5, 200)))
@pytest.mark.parametrize("words", [0, 1, 3])
def test_bits_are_those_of_the_rows_that_fit(words: int, rows: list[int]) -> None:
    bits = bits_of(np.array(rows, np.int32), words)
    assert bits.shape == (words,)
    found = {row for row in range(64 * words) if int(bits[row // 64]) >> row % 64 & 1}
    assert found == {row for row in rows if 0 <= row < 64 * words}


def test_wrong_arguments_of_look_ups_are_refused_by_name() -> None:
    with pytest.raises(TypeError, match="keys: dtype uint64 is needed, got int64"):
        KeyIndex(np.zeros(1, np.int64))
    with pytest.raises(TypeError, match="wanted: dtype uint64 is needed, got int64"):
        KeyIndex(u64([1])).find(np.zeros(1, np.int64))
    with pytest.raises(ValueError, match="words must be 0 or more, got -1"):
        bits_of(np.zeros(1, np.int32), -1)
