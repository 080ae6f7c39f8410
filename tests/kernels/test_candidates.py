"""Choosing among candidates and joining lists of them, against naive plain Python."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.kernel_arrays import LENGTHS, rows_of, unaligned
from tamis_kernels import best_of, best_scaled, fuse_ranks, reference, select, top_k

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
    others = [i for i in range(length) if i not in set(expected)]
    assert select(bits, rows, wanted=False).tolist() == others


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


@pytest.mark.parametrize("distinct", [1, 7, 10_000])
@pytest.mark.parametrize("k", [0, 1, 20, 300, 700, 1400, 1401, 2900])
def test_the_best_of_many_are_the_first_of_all_in_order(distinct: int, k: int) -> None:
    rng = np.random.default_rng(k)
    scores = rng.integers(0, distinct, 2_801).astype(np.float32) - distinct // 2
    scores[::11] = np.nan
    rows = rng.integers(0, 2_000, 2_801).astype(np.int32)
    assert top_k(scores, rows, k).tolist() == reference.top_k(scores, rows, k).tolist()


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


@given(data=st.lists(st.tuples(SCORES, ROWS), max_size=70), k=st.integers(0, 80))
def test_the_best_are_brought_to_0_to_1(data: list[tuple[float, int]], k: int) -> None:
    scores, rows = f32([s for s, _ in data]), i32([r for _, r in data])
    best, scaled = best_scaled(scores, rows, k)
    assert scaled.dtype == np.float32
    assert best.tolist() == top_k(scores, rows, k).tolist()
    chosen = scores[best].astype(np.float64)
    finite = np.isfinite(chosen)
    assert (np.isnan(scaled) == ~finite).all()
    if finite.any():
        low, high = chosen[finite].min(), chosen[finite].max()
        expected = (chosen[finite] - low) / (high - low) if high > low else finite[finite] * 1.0
        # numbers below the normal ones are coarser
        np.testing.assert_allclose(scaled[finite], expected, rtol=1e-6, atol=1e-37)


def test_the_best_scaled_refuse_wrong_arguments_by_name() -> None:
    with pytest.raises(ValueError, match="k must be 0 or more, got -1"):
        best_scaled(f32([]), i32([]), -1)
    with pytest.raises(ValueError, match="rows: axis 0 must have 2 entries, got 1"):
        best_scaled(f32([1, 2]), i32([1]), 1)


Lists = list[list[int]]
WEIGHTS = [1.0, 0.5, 2.0, 1.5, 1.0, 0.25]


def naive_fusion(lists: Lists) -> list[tuple[int, float, int]]:
    found = []
    for row in {row for rows in lists for row in rows if row >= 0}:
        score, sources = np.float32(0), 0
        for s, rows in enumerate(lists):
            if row in rows:
                score += np.float32(WEIGHTS[s]) / np.float32(60 + rows.index(row) + 1)
                sources |= 1 << s + 3
        found.append((row, float(score), sources))
    return sorted(found, key=lambda entry: (-entry[1], entry[0]))


def fused(lists: Lists) -> list[tuple[int, float, int]]:
    numbers = range(3, 3 + len(lists))
    rows, scores, sources = fuse_ranks([i32(rows) for rows in lists], WEIGHTS, numbers, 60)
    assert (rows.dtype, scores.dtype, sources.dtype) == (np.int32, np.float32, np.uint32)
    return list(zip(rows.tolist(), scores.tolist(), sources.tolist(), strict=True))


@given(lists=st.lists(st.lists(ROWS, max_size=70), min_size=6, max_size=6))
def test_ranks_are_fused_each_row_once_best_first(lists: Lists) -> None:
    assert fused(lists) == naive_fusion(lists)


@pytest.mark.parametrize("length", LENGTHS)
def test_lists_of_any_length_are_fused(length: int) -> None:
    rng = np.random.default_rng(length)
    counts = (2**31 - 1, 300, 300, 5, 2000, 1)
    lists = [rows_of(rng, count, length).tolist() for count in counts]
    assert fused(lists) == naive_fusion(lists)


def test_of_32_lists_each_has_its_bit_and_33_are_refused() -> None:
    rows, scores, sources = fuse_ranks([i32([7])] * 32, [2.0] * 32, range(32), 1)
    assert (rows.tolist(), scores.tolist(), sources.tolist()) == ([7], [32.0], [2**32 - 1])
    with pytest.raises(ValueError, match="at most 32 lists are allowed, got 33"):
        fuse_ranks([i32([7])] * 33, [1.0] * 33, [1] * 33, 60)


def test_fusing_names_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="weights: 1 are needed, as in rows, got 0"):
        fuse_ranks([i32([1])], [], [0], 60)
    with pytest.raises(ValueError, match="sources: 1 are needed, as in rows, got 2"):
        fuse_ranks([i32([1])], [1.0], [0, 1], 60)
    with pytest.raises(ValueError, match=r"sources\[0\] is 32, allowed are 0 to 31"):
        fuse_ranks([i32([1])], [1.0], [32], 60)
    with pytest.raises(TypeError, match=r"rows\[0\]: dtype int32 is needed, got int64"):
        fuse_ranks([np.zeros(1, np.int64)], [1.0], [0], 60)


SCORED = st.lists(st.tuples(ROWS, st.one_of(st.just(math.nan), st.floats(width=32))), max_size=60)


def best(lists: list[list[tuple[int, float]]], without: list[int]) -> tuple[list[int], list[float]]:
    rows, scores = best_of(
        [i32([row for row, _ in entries]) for entries in lists],
        [f32([score for _, score in entries]) for entries in lists],
        i32(without),
    )
    assert (rows.dtype, scores.dtype) == (np.int32, np.float32)
    return rows.tolist(), scores.tolist()


@given(lists=st.lists(SCORED, max_size=5), without=st.lists(ROWS, max_size=9))
def test_of_each_row_the_best_score_is_kept_and_some_are_left_out(
    lists: list[list[tuple[int, float]]], without: list[int]
) -> None:
    entries = [(row, score) for each in lists for row, score in each if row >= 0]
    entries = [entry for entry in entries if entry[0] not in without]
    order = naive_top_k([score for _, score in entries], [row for row, _ in entries], 1000)
    expected: dict[int, float] = {}
    for at in order:
        expected.setdefault(*entries[at])
    rows, scores = best(lists, without)
    assert rows == list(expected)
    np.testing.assert_array_equal(f32(scores), f32(list(expected.values())))


@pytest.mark.parametrize("length", LENGTHS)
def test_the_best_of_long_lists_come_in_order(length: int) -> None:
    rng = np.random.default_rng(length)
    rows = [rows_of(rng, 500, length), rows_of(rng, 500, length)]
    scores = [rng.normal(size=length).astype(np.float32) for _ in rows]
    found, values = best_of([unaligned(each) for each in rows], scores, i32([3]))
    assert (np.diff(values) <= 0).all()
    assert set(found.tolist()) == set(np.concatenate(rows).tolist()) - {3}


def test_the_best_of_lists_names_the_list_that_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"scores\[1\]: axis 0 must have 2 entries, got 1"):
        best_of([i32([1]), i32([1, 2])], [f32([1]), f32([1])], i32([]))
    with pytest.raises(ValueError, match="scores: 1 are needed, as in rows, got 0"):
        best_of([i32([1])], [], i32([]))
    with pytest.raises(TypeError, match="without: dtype int32 is needed, got int64"):
        best_of([], [], np.zeros(1, np.int64))
