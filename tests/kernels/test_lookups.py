"""Rows of keys and bits of rows, against dictionaries and sets."""

import gc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.kernel_arrays import LENGTHS, unaligned
from tamis_kernels import KeyIndex, bits_of, texts, xxh64

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


@given(texts_=st.lists(st.text(), max_size=30), other=st.text())
def test_a_text_is_found_by_its_key(texts_: list[str], other: str) -> None:
    encoded = [text.encode() for text in texts_]
    offsets = np.cumsum([0, *map(len, encoded)]).astype(np.int64)
    index = KeyIndex(xxh64(np.frombuffer(b"".join(encoded), np.uint8), offsets))
    for text in [*texts_, other]:
        assert index.find_text(text) == (texts_.index(text) if text in texts_ else -1)


@given(texts_=st.lists(st.text(), min_size=1, max_size=30), data=st.data())
def test_texts_are_those_at_the_positions(texts_: list[str], data: st.DataObject) -> None:
    encoded = [text.encode() for text in texts_]
    offsets = np.cumsum([0, *map(len, encoded)]).astype(np.int64)
    positions = data.draw(st.lists(st.integers(0, len(texts_) - 1), max_size=40))
    found = texts(
        np.frombuffer(b"".join(encoded), np.uint8),
        unaligned(offsets),
        np.array(positions, np.int32),
    )
    assert found == [texts_[position] for position in positions]


def test_texts_that_are_none_are_refused() -> None:
    data, at = np.frombuffer(b"ab\xff", np.uint8), np.array([1], np.int32)
    for offsets, message in (
        ([0, 2, 1], r"offsets\[1\] and the next are 2 and 1"),
        ([0, -1, 1], r"offsets\[1\] and the next are -1 and 1"),
        ([0, 1, 4], r"offsets\[1\] and the next are 1 and 4, they must ascend within the 3 bytes"),
        ([], "offsets: at least 1 is needed, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            texts(data, np.array(offsets, np.int64), at)
    with pytest.raises(IndexError, match=r"positions\[0\] is 1, allowed are 0 to 0"):
        texts(data, np.array([0, 1], np.int64), at)
    with pytest.raises(UnicodeDecodeError):
        texts(data, np.array([0, 1, 3], np.int64), at)


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
