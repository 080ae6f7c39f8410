"""What is in a segment is what was written, shared until somebody changes it."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis_server.segment import Segment, read, write


@contextmanager
def written(made: object) -> Iterator[Segment]:
    segment = Segment()
    try:
        write(segment.descriptor, lambda: made)
        yield segment
    finally:
        segment.close()


def through(made: object) -> Any:
    with written(made) as segment:
        return read(segment.path)


def address(array: np.ndarray) -> int:
    return int(array.ctypes.data)


@given(
    sizes=st.lists(st.integers(0, 50), max_size=6),
    parts=st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 50), st.integers(0, 50)), max_size=8
    ),
    dtype=st.sampled_from(["u1", "f2", "i4", "f8"]),
)
def test_arrays_share_memory_exactly_where_they_did(
    sizes: list[int], parts: list[tuple[int, int, int]], dtype: str
) -> None:
    whole = [np.arange(size, dtype=dtype) for size in sizes]
    views = [whole[of][start:end] for of, start, end in parts if of < len(whole)]
    arrays = views[::2] + whole + views[1::2]
    found = through(arrays)
    for one, other in zip(arrays, found, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype
        assert one.size == 0 or (address(one) - address(other)) % 64 == 0
    for first, other_first in zip(arrays, found, strict=True):
        for second, other_second in zip(arrays, found, strict=True):
            if first.size and second.size and np.shares_memory(first, second):
                assert address(second) - address(first) == address(other_second) - address(
                    other_first
                )
            else:
                assert not np.shares_memory(other_first, other_second)


def test_one_object_stays_one_and_arrays_of_any_layout_keep_their_values() -> None:
    array = np.arange(24, dtype=np.int32).reshape(4, 6)
    made = {"one": array, "again": array, "columns": array.T, "every other": array[:, ::2]}
    found = through(made)
    assert found["one"] is found["again"]
    for name, each in made.items():
        np.testing.assert_array_equal(found[name], each)


def test_a_table_of_arrow_is_read_where_it_lies() -> None:
    table = pa.table({"id": pa.array(["a", None, "ccc"], pa.large_string()), "n": [1.5, None, 3.0]})
    found = through({"table": table, "ids": table.column("id")})
    assert found["table"].equals(table)
    data = [found[name].chunk(0).buffers()[2].address for name in ("ids",)]
    assert data == [found["table"].column("id").chunk(0).buffers()[2].address]


def test_what_one_reader_changes_is_its_own() -> None:
    with written(np.zeros(10_000)) as segment:
        ours, theirs = read(segment.path), read(segment.path)
        ours[:] = 1
        assert not theirs.any()
        assert not read(segment.path).any()


def mappings() -> int:
    return Path("/proc/self/maps").read_text().count("/memfd:tamis")


def test_it_is_there_after_the_segment_was_closed_and_goes_with_the_last_array() -> None:
    before = mappings()
    with written({"first": np.arange(9), "second": np.arange(5)}) as segment:
        found = read(segment.path)
    second = found.pop("second")
    del found
    assert second.tolist() == [0, 1, 2, 3, 4]
    assert mappings() == before + 1
    del second
    assert mappings() == before


def test_nobody_can_change_what_was_written() -> None:
    with written(np.zeros(10)) as segment:
        with pytest.raises(PermissionError):
            os.pwrite(segment.descriptor, b"x", 0)
        with pytest.raises(PermissionError):
            mmap.mmap(segment.descriptor, 0)
        with pytest.raises(PermissionError):
            os.ftruncate(segment.descriptor, 0)


def test_one_that_is_gone_or_was_never_written_is_an_error() -> None:
    segment = Segment()
    with pytest.raises(ValueError, match="empty"):
        read(segment.path)
    path = segment.path
    segment.close()
    with pytest.raises(OSError, match=str(path)):
        read(path)
