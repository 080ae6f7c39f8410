"""Records of users, against what they are said to hold, kept in plain Python."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import accumulate
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.parquet_filter import ParquetFilter
from tamis_kernels import (
    append_events,
    append_keys,
    insert_keys,
    only_parts,
    parts_of,
    with_parts,
)

T = TypeVar("T")
HEADER, ENTRY = 40, struct.Struct("<QdB")
BITS = np.array([16.0, 18.0, 20.0])  # of three layers: the last takes what comes

keys_ = st.integers(0, 2**64 - 1)
few_keys = st.integers(0, 6).map(lambda key: key << 60)
happened = st.tuples(keys_, st.integers(0, 8).map(float), st.integers(0, 8))


def batches_of(things: st.SearchStrategy[T]) -> st.SearchStrategy[list[list[list[T]]]]:
    """Batches, each with things of two users."""
    return st.lists(st.lists(st.lists(things, max_size=9), min_size=2, max_size=2))


def starts_of(parts: Sequence[Sequence[object]]) -> np.ndarray:
    return np.array([0, *accumulate(len(part) for part in parts)], np.int64)


def unpacked(stored: bytes) -> list[int]:
    return np.frombuffer(stored, np.uint64).tolist()


def appended(
    stored: list[bytes], users: list[list[tuple[int, float, int]]], most: int
) -> list[bytes]:
    flat = [event for events in users for event in events]
    columns = (
        np.array([event[at] for event in flat], dtype)
        for at, dtype in enumerate((np.uint64, np.float64, np.uint8))
    )
    return append_events(stored, starts_of(users), *columns, most)


@given(
    st.lists(st.lists(st.lists(happened, max_size=9), min_size=2, max_size=2)), st.integers(0, 6)
)
def test_histories_keep_the_latest_events_in_order_and_count_all(
    batches: list[list[list[tuple[int, float, int]]]], most: int
) -> None:
    stored = [b"", b""]
    for batch in batches:
        stored = appended(stored, batch, most)
    for user, history in enumerate(stored):
        events = [event for batch in batches for event in batch[user]]
        if not events:
            assert history == b""
            continue
        latest = sorted(events, key=lambda event: event[1])[len(events) - min(most, len(events)) :]
        assert list(ENTRY.iter_unpack(history[HEADER:])) == latest
        counts = np.frombuffer(history, np.uint32, 9).tolist()
        assert counts == [sum(kind == each for *_, kind in events) for each in range(9)]
        assert history[36:HEADER] == bytes(4)


@given(
    st.lists(st.lists(st.lists(few_keys, max_size=9), min_size=2, max_size=2)), st.integers(0, 6)
)
def test_lists_hold_the_first_distinct_keys_that_there_is_room_for(
    batches: list[list[list[int]]], most: int
) -> None:
    stored = [b"", b""]
    expected: list[list[int]] = [[], []]
    for batch in batches:
        keys = np.array([key for part in batch for key in part], np.uint64)
        before = stored
        stored, outcomes = append_keys(stored, starts_of(batch), keys, most)
        said = []
        for user, part in enumerate(batch):
            held = list(expected[user])
            for key in part:
                if key in held:
                    said.append(0)
                elif len(held) < most:
                    said.append(1)
                    held.append(key)
                else:
                    said.append(2)
            assert (stored[user] is before[user]) == (held == expected[user])
            expected[user] = held
        assert outcomes.tolist() == said
        assert outcomes.dtype == np.uint8
    assert [unpacked(each) for each in stored] == expected


def layers_of(stored: bytes) -> list[list[list[int]]]:
    _, blocks = struct.unpack_from("<II", stored)
    words = np.frombuffer(stored, np.uint32, offset=32).reshape(-1, 8)
    layers: list[list[list[int]]] = []
    while len(words):
        layers.append(words[:blocks].tolist())
        words, blocks = words[blocks:], 2 * blocks
    return layers


@given(st.lists(st.lists(keys_, max_size=60), max_size=4))
def test_filters_have_the_bits_of_the_parquet_specification_layer_by_layer(
    batches: list[list[int]],
) -> None:
    stored, count = [b""], 0
    layers: list[ParquetFilter] = []
    for batch in batches:
        before = stored
        stored = insert_keys(
            stored, np.array([0, len(batch)], np.int64), np.array(batch, np.uint64), 1, BITS
        )
        inserted = 0
        for key in batch:
            layers = layers or [ParquetFilter(1)]
            if any(layer.check(key) for layer in layers):
                continue
            room = sum(
                int(2**at * 256 / bits) for at, bits in enumerate(BITS[: len(layers)].tolist())
            )
            if count + inserted >= room and len(layers) < len(BITS):
                layers.append(ParquetFilter(2 ** len(layers)))
            layers[-1].insert(key)
            inserted += 1
        count += inserted
        assert (stored == before) == (inserted == 0)
    if layers:
        assert layers_of(stored[0]) == [layer.words for layer in layers]
        assert struct.unpack_from("<I", stored[0]) == (count,)


def test_a_filter_that_takes_nothing_new_is_the_same_object() -> None:
    keys, starts = np.arange(1, 9, dtype=np.uint64) << np.uint64(58), np.array([0, 8], np.int64)
    stored = insert_keys([b""], starts, keys, 3, BITS)
    assert insert_keys(stored, starts, keys, 3, BITS)[0] is stored[0]


def record_of(parts: dict[bytes, bytes]) -> bytes:
    return b"".join(struct.pack("<BI", len(n), len(c)) + n + c for n, c in parts.items())


parts_ = st.dictionaries(st.sampled_from([b"a", b"ab", b"b"]), st.binary(min_size=1, max_size=5))


@given(st.lists(parts_, max_size=4), st.binary(max_size=3))
def test_a_part_of_records_is_read_replaced_added_and_taken_out(
    users: list[dict[bytes, bytes]], content: bytes
) -> None:
    records = [record_of(parts) for parts in users]
    assert parts_of(records, b"ab") == [parts.get(b"ab", b"") for parts in users]
    replaced = with_parts(records, b"ab", [content] * len(users))
    only = only_parts(replaced, [b"b", b"ab"])
    for parts, before, after, kept in zip(users, records, replaced, only, strict=True):
        assert (after is before) == (parts.get(b"ab", b"") == content)
        expected = {name: part for name, part in parts.items() if name != b"ab"}
        if content:
            expected[b"ab"] = content
        assert after == (before if after is before else record_of(expected))
        assert (kept is after) == (b"a" not in parts)
        in_order = [name for name in (parts if after is before else expected) if name != b"a"]
        assert kept == record_of({name: expected[name] for name in in_order})


@pytest.mark.parametrize("cut", [1, 4, 5, 6])
def test_a_record_without_its_end_is_refused_by_its_place(cut: int) -> None:
    whole = record_of({b"a": b"1"})
    for use in (
        lambda records: parts_of(records, b"b"),
        lambda records: with_parts(records, b"b", [b"", b""]),
        lambda records: only_parts(records, [b"a"]),
    ):
        with pytest.raises(ValueError, match=r"records\[1\]: no record of whole parts"):
            use([whole, whole[:cut]])


def test_parts_are_given_as_bytes_one_a_record() -> None:
    with pytest.raises(ValueError, match="contents: 1 entries are needed, got 0"):
        with_parts([b""], b"a", [])
    with pytest.raises(ValueError, match="name: at most 255 bytes"):
        with_parts([], b"a" * 256, [])
    with pytest.raises(TypeError, match=r"contents\[0\]: bytes are needed"):
        with_parts([b""], b"a", [None])  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"records\[0\]: bytes are needed"):
        parts_of([bytearray(b"x")], b"a")  # type: ignore[list-item]


NO_KEYS = np.empty(0, np.uint64)
ONE_KEY = np.ones(1, np.uint64)
ONE = np.array([0, 1], np.int64)


@pytest.mark.parametrize(
    ("starts", "says"),
    [
        (np.array([1, 1], np.int64), "ascend from 0 to 1"),
        (np.array([0, 2], np.int64), "ascend from 0 to 1"),
        (np.array([0], np.int64), "must have 2 entries, got 1"),
    ],
)
def test_starts_that_do_not_fit_are_refused(starts: np.ndarray, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        append_keys([b""], starts, ONE_KEY, 1)


@pytest.mark.parametrize("stored", [b"x", b"x" * 39, b"x" * 41])
def test_what_is_no_record_is_refused_by_its_place(stored: bytes) -> None:
    starts = np.array([0, 0, 1], np.int64)
    one = np.zeros(1, np.float64), np.zeros(1, np.uint8)
    with pytest.raises(ValueError, match=r"stored\[1\]: no history"):
        append_events([b"", stored], starts, ONE_KEY, *one, 1)
    with pytest.raises(ValueError, match=r"stored\[1\]: no list"):
        append_keys([b"", stored], starts, ONE_KEY, 1)


def filter_of(blocks: int, size: int) -> bytes:
    return struct.pack("<II24x", 0, blocks) + bytes(32 * size)


@pytest.mark.parametrize(
    "stored", [b"x", filter_of(0, 0), filter_of(1, 2), filter_of(3, 2), filter_of(1, 15)]
)
def test_what_is_no_filter_is_refused(stored: bytes) -> None:
    with pytest.raises(ValueError, match=r"stored\[0\]: no filter"):
        insert_keys([stored], ONE, ONE_KEY, 1, BITS)


def test_arguments_out_of_range_are_refused_by_name() -> None:
    one = np.zeros(1, np.float64), np.full(1, 9, np.uint8)
    with pytest.raises(IndexError, match=r"kinds\[0\] is 9, allowed are up to 8"):
        append_events([b""], ONE, ONE_KEY, *one, 1)
    with pytest.raises(ValueError, match="most must be 0 or more, got -1"):
        append_keys([b""], ONE, ONE_KEY, -1)
    with pytest.raises(ValueError, match="first_blocks must be 1 or more, got 0"):
        insert_keys([b""], ONE, ONE_KEY, 0, BITS)
    with pytest.raises(TypeError, match=r"stored\[0\]: bytes are needed"):
        append_keys([bytearray()], np.zeros(2, np.int64), NO_KEYS, 1)  # type: ignore[list-item]
