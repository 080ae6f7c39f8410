"""select, top_k and merge, against a naive third version in plain Python."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.kernel_arrays import LENGTHS, rows_of, unaligned
from tamis_kernels import merge, select, top_k

SCORES = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, math.nan, math.inf, -math.inf]), st.floats(width=32)
)
ROWS = st.integers(-2, 40)


def naive_top_k(scores: list[float], rows: list[int], k: int) -> list[int]:
    def beats(i: int, j: int) -> bool:
        if math.isnan(scores[i]) or math.isnan(scores[j]):
            if math.isnan(scores[i]) != math.isnan(scores[j]):
                return math.isnan(scores[j])
        elif scores[i] != scores[j]:
            return scores[i] > scores[j]
        return rows[i] < rows[j]

    left, best = list(range(len(scores))), []
    while left and len(best) < k:
        first = left[0]
        for i in left[1:]:
            if beats(i, first):
                first = i
        best.append(first)
        left.remove(first)
    return best


def f32(values: list[float]) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def i32(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.int32)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("words", [0, 1, 5])
def test_select_keeps_the_positions_whose_bit_is_set(length: int, words: int) -> None:
    rng = np.random.default_rng(length)
    bits = rng.integers(0, 2**64, words, dtype=np.uint64)
    rows = rng.integers(-20, 64 * words + 20, length).astype(np.int32)
    expected = [
        i
        for i, row in enumerate(rows.tolist())
        if 0 <= row < 64 * words and int(bits[row // 64]) >> row % 64 & 1
    ]
    selected = select(bits, rows)
    assert selected.dtype == np.int32
    assert selected.tolist() == expected
    assert select(unaligned(bits), unaligned(rows)).tolist() == expected


def test_select_takes_extreme_rows_for_unselected() -> None:
    ones = np.full(2, 2**64 - 1, dtype=np.uint64)
    rows = i32([-(2**31), 2**31 - 1, -1, 0, 127, 128, 63, 64] * 3)
    assert select(ones, rows).tolist() == [p for p in range(24) if p % 8 in (3, 4, 6, 7)]


@given(data=st.lists(st.tuples(SCORES, ROWS), max_size=70), k=st.integers(0, 80))
def test_top_k_is_what_repeated_selection_gives(data: list[tuple[float, int]], k: int) -> None:
    scores, rows = [s for s, _ in data], [r for _, r in data]
    assert top_k(f32(scores), i32(rows), k).tolist() == naive_top_k(scores, rows, k)


@pytest.mark.parametrize("length", LENGTHS)
def test_top_k_orders_any_length(length: int) -> None:
    rng = np.random.default_rng(length)
    scores = rng.integers(0, 20, length).astype(np.float32)
    scores[::7] = np.nan
    rows = rng.permutation(length).astype(np.int32)
    expected = naive_top_k(scores.tolist(), rows.tolist(), 40)
    assert top_k(unaligned(scores), unaligned(rows), 40).tolist() == expected


def test_top_k_breaks_ties_by_row_and_sinks_nan() -> None:
    scores = f32([math.nan, -0.0, 0.0, -math.inf, math.nan, 0.0])
    assert top_k(scores, i32([9, 5, 4, 3, 2, 4]), 6).tolist() == [2, 5, 1, 3, 4, 0]


def test_top_k_refuses_wrong_arguments_by_name() -> None:
    with pytest.raises(ValueError, match="k must be 0 or more, got -1"):
        top_k(f32([]), i32([]), -1)
    with pytest.raises(ValueError, match="rows: axis 0 must have 2 entries, got 1"):
        top_k(f32([1, 2]), i32([1]), 1)
    with pytest.raises(TypeError, match="scores: dtype float32 is needed, got float64"):
        top_k(np.zeros(1), i32([1]), 1)
    with pytest.raises(TypeError, match="rows: a NumPy array of int32 is needed, got list"):
        top_k(f32([1]), [1], 1)  # type: ignore[arg-type]


Lists = list[list[tuple[int, float]]]


def naive_merge(lists: Lists) -> list[tuple[int, float, int]]:
    order: list[int] = []
    for entries in lists:
        for row, score in entries:
            if row >= 0 and not math.isnan(score) and row not in order:
                order.append(row)
    merged = []
    for row in order:
        total, sources = np.float32(0), 0
        for s, entries in enumerate(lists):
            given_scores = [x for r, x in entries if r == row and not math.isnan(x)]
            if given_scores:
                total, sources = total + np.float32(given_scores[0]), sources | 1 << s
        merged.append((row, float(total), sources))
    return merged


def merged(lists: Lists) -> list[tuple[int, float, int]]:
    rows, scores, sources = merge(
        [i32([r for r, _ in entries]) for entries in lists],
        [f32([s for _, s in entries]) for entries in lists],
    )
    assert (rows.dtype, scores.dtype, sources.dtype) == (np.int32, np.float32, np.uint32)
    return list(zip(rows.tolist(), scores.tolist(), sources.tolist(), strict=True))


FINITE = st.one_of(st.just(math.nan), st.floats(-1e6, 1e6, width=32))


@given(lists=st.lists(st.lists(st.tuples(ROWS, FINITE), max_size=40), max_size=6))
def test_merge_joins_duplicates_in_order_of_first_appearance(lists: Lists) -> None:
    assert merged(lists) == naive_merge(lists)


@pytest.mark.parametrize("length", LENGTHS)
def test_merge_takes_lists_of_any_length(length: int) -> None:
    rng = np.random.default_rng(length)
    lists = [
        list(zip(rows_of(rng, 2**31 - 1, length).tolist(), range(length), strict=True)),
        list(zip(rows_of(rng, 300, length).tolist(), range(length), strict=True)),
        list(zip(rows_of(rng, 300, length).tolist(), range(length), strict=True)),
    ]
    assert merged(lists) == naive_merge(lists)  # type: ignore[arg-type]


def test_merge_marks_all_of_32_lists_and_refuses_33() -> None:
    assert merged([[(7, 1.0)]] * 32) == [(7, 32.0, 2**32 - 1)]
    with pytest.raises(ValueError, match="at most 32 lists are allowed, got 33"):
        merged([[(7, 1.0)]] * 33)


def test_merge_reads_unaligned_lists() -> None:
    rows, scores = unaligned(i32([3, 1, 3])), unaligned(f32([1, 2, 3]))
    assert [a.tolist() for a in merge([rows], [scores])] == [[3, 1], [1.0, 2.0], [1, 1]]


def test_merge_names_the_list_that_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"scores\[1\]: axis 0 must have 2 entries, got 1"):
        merge([i32([1]), i32([1, 2])], [f32([1]), f32([1])])
    with pytest.raises(TypeError, match=r"rows\[0\]: dtype int32 is needed, got int64"):
        merge([np.zeros(1, dtype=np.int64)], [f32([1])])
    with pytest.raises(ValueError, match="scores: 1 lists are needed, as in rows, got 0"):
        merge([i32([1])], [])
