"""Split-block Bloom filters, against the Parquet specification written out in plain Python."""

from itertools import pairwise

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from support.kernel_arrays import LENGTHS, unaligned
from support.parquet_filter import ParquetFilter
from tamis_kernels import bloom_absent, bloom_insert, reference, xxh64


def random_keys(seed: int, length: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, length, dtype=np.uint64)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("blocks", [1, 3, 64])
def test_inserted_bits_are_those_of_the_parquet_specification(length: int, blocks: int) -> None:
    keys = random_keys(length, length)
    filled = np.zeros((blocks, 8), dtype=np.uint32)
    bloom_insert(filled, keys)
    expected = ParquetFilter(blocks)
    for key in keys.tolist():
        expected.insert(key)
    assert filled.tolist() == expected.words
    probes = np.concatenate([keys, random_keys(length + 1, 100)])
    absent = bloom_absent([filled], probes)
    assert absent.dtype == np.int32
    assert absent.tolist() == [
        at for at, key in enumerate(probes.tolist()) if not expected.check(key)
    ]


KEYS = st.lists(st.integers(0, 2**64 - 1), max_size=40)


def filters_of(contents: list[tuple[list[int], int]]) -> list[np.ndarray]:
    filters = []
    for keys, blocks in contents:
        filters.append(np.zeros((blocks, 8), dtype=np.uint32))
        bloom_insert(filters[-1], np.array(keys if blocks else [], dtype=np.uint64))
    return filters


@given(
    contents=st.lists(st.tuples(KEYS, st.integers(0, 9)), max_size=6), others=KEYS, data=st.data()
)
def test_absent_is_what_is_in_none_of_the_filters(
    contents: list[tuple[list[int], int]], others: list[int], data: st.DataObject
) -> None:
    inserted = {key for keys, blocks in contents if blocks for key in keys}
    keys = np.array(data.draw(st.permutations([*sorted(inserted), *others])), dtype=np.uint64)
    filters = filters_of(contents)
    absent = bloom_absent(filters, keys)
    assert absent.tolist() == reference.bloom_absent(filters, keys).tolist()
    assert not inserted & set(keys[absent].tolist()), "never a false negative"


@pytest.mark.parametrize("length", LENGTHS)
def test_filters_of_several_sizes_are_asked_about_any_number_of_keys(length: int) -> None:
    keys = random_keys(length, length)
    filters = filters_of(
        [(keys[at::3].tolist(), blocks) for at, blocks in enumerate((3, 64))] + [([], 0), ([], 1)]
    )
    absent = bloom_absent(filters, keys)
    assert absent.tolist() == reference.bloom_absent(filters, keys).tolist()
    assert (absent % 3 == 2).all()


def test_false_positives_stay_near_what_the_size_promises() -> None:
    filled = np.zeros((128, 8), dtype=np.uint32)  # 16 bits a key
    bloom_insert(filled, random_keys(1, 2048))
    assert len(bloom_absent([filled], random_keys(2, 20_000))) > 0.997 * 20_000


def test_a_filter_without_blocks_holds_nothing_and_takes_nothing() -> None:
    nothing = np.zeros((0, 8), dtype=np.uint32)
    for filters in ([nothing], [nothing, nothing], []):
        assert bloom_absent(filters, random_keys(1, 3)).tolist() == [0, 1, 2]
    bloom_insert(nothing, random_keys(1, 0))
    with pytest.raises(ValueError, match="at least one block"):
        bloom_insert(nothing, random_keys(1, 1))


def test_unaligned_blocks_and_keys_are_read_and_written_in_place() -> None:
    keys = random_keys(3, 50)
    filled = unaligned(np.zeros((4, 8), dtype=np.uint32))
    filled.flags.writeable = True
    bloom_insert(filled, unaligned(keys))
    filled.flags.writeable = False
    expected = np.zeros((4, 8), dtype=np.uint32)
    bloom_insert(expected, keys)
    assert (filled == expected).all()
    assert bloom_absent([filled], unaligned(keys)).shape == (0,)


def test_read_only_blocks_are_refused_for_insertion() -> None:
    blocks = np.zeros((4, 8), dtype=np.uint32)
    blocks.flags.writeable = False
    with pytest.raises(ValueError, match="blocks: a writable array"):
        bloom_insert(blocks, random_keys(1, 1))


def test_wrong_blocks_and_keys_are_refused_by_name() -> None:
    blocks, keys = np.zeros((4, 8), dtype=np.uint32), random_keys(1, 1)
    with pytest.raises(TypeError, match="keys: dtype uint64 is needed, got int64"):
        bloom_absent([blocks], keys.astype(np.int64))
    with pytest.raises(ValueError, match=r"filters\[1\]: axis 1 must have 8 entries, got 7"):
        bloom_absent([blocks, np.zeros((4, 7), dtype=np.uint32)], keys)
    with pytest.raises(ValueError, match=r"filters\[0\]: 2 dimension\(s\) are needed, got 1"):
        bloom_absent(blocks, keys)  # type: ignore[arg-type]  # one filter is no sequence of them
    with pytest.raises(TypeError, match=r"filters\[0\]: dtype uint32 is needed, got int32"):
        bloom_absent([blocks.view(np.int32)], keys)  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"filters\[0\]: a NumPy array .* is needed, got list"):
        bloom_absent([[0] * 8], keys)  # type: ignore[list-item]
    with pytest.raises(ValueError, match="keys: a C-contiguous array"):
        bloom_absent([blocks], random_keys(1, 4)[::2])
    with pytest.raises(ValueError, match="blocks: axis 1 must have 8 entries, got 7"):
        bloom_insert(np.zeros((4, 7), dtype=np.uint32), keys)


@pytest.mark.parametrize("start", [0, 1, 3])
def test_xxh64_agrees_with_the_reference_library_at_every_length(start: int) -> None:
    text = np.random.default_rng(5).integers(0, 256, 5000, dtype=np.uint8)
    offsets = start + np.cumsum([0, *range(90)], dtype=np.int64)
    expected = [xxhash.xxh64_intdigest(text[a:b].tobytes()) for a, b in pairwise(offsets)]
    assert xxh64(text, offsets).tolist() == expected
    assert xxh64(unaligned(text), unaligned(offsets)).tolist() == expected


def test_xxh64_refuses_offsets_that_leave_the_data() -> None:
    data = np.zeros(4, dtype=np.uint8)
    for wrong in ([], [0, 5], [-1, 2], [3, 2]):
        with pytest.raises(ValueError, match="offsets"):
            xxh64(data, np.array(wrong, dtype=np.int64))
    assert xxh64(data, np.array([2], dtype=np.int64)).shape == (0,)
