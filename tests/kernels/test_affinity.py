"""Sums of item-to-item weights, against dictionaries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from support.kernel_arrays import unaligned
from tamis_kernels import affine_rows, affinities

ITEMS = 70


def table(
    seed: int, width: int, items: int = ITEMS
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Exact in any order of summation; some entries name nothing."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(-1, items + 3, (items, width)).astype(np.int32)
    return rows, rng.integers(-4, 8, rows.shape).astype(np.float32)


def expected(
    rows: NDArray[np.int32], weights: NDArray[np.float32], history: list[int]
) -> dict[int, float]:
    sums: dict[int, float] = {}
    for item in {item for item in history if 0 <= item < len(rows)}:
        for near, weight in zip(rows[item].tolist(), weights[item].tolist(), strict=True):
            if 0 <= near < len(rows):
                sums[near] = sums.get(near, 0.0) + weight
    return sums


@given(
    seed=st.integers(0, 2**32),
    width=st.sampled_from([0, 1, 3, 17]),
    history=st.lists(st.integers(-2, ITEMS + 2), max_size=40),
    asked=st.lists(st.integers(-2, ITEMS + 2), max_size=40),
)
@settings(deadline=None, max_examples=60)
def test_sums_are_over_the_distinct_items_met(
    seed: int, width: int, history: list[int], asked: list[int]
) -> None:
    rows, weights = table(seed, width)
    sums = expected(rows, weights, history)
    met, rows_asked = np.array(history, np.int32), np.array(asked, np.int32)
    found = affinities(rows, weights, met, rows_asked)
    assert found.dtype == np.float32
    assert found.tolist() == [sums.get(row, 0.0) for row in asked]
    near, scores = affine_rows(rows, weights, met)
    assert (near.dtype, scores.dtype) == (np.int32, np.float32)
    wanted = sorted(row for row, total in sums.items() if total > 0 and row not in history)
    assert near.tolist() == wanted
    assert scores.tolist() == [sums[row] for row in wanted]


def test_one_call_leaves_nothing_to_the_next_or_to_another_table() -> None:
    rows, weights = table(1, 5)
    history, asked = np.arange(30, dtype=np.int32), np.arange(ITEMS, dtype=np.int32)
    before = affinities(rows, weights, history, asked)
    nothing = np.zeros(0, np.int32)
    assert not affinities(rows, weights, nothing, asked).any()
    assert affine_rows(rows, weights, nothing)[0].shape == (0,)
    small = table(2, 4, items=3)
    np.testing.assert_array_equal(
        affinities(*small, np.array([0, 2], np.int32), asked)[3:], np.zeros(ITEMS - 3)
    )
    np.testing.assert_array_equal(affinities(rows, weights, history, asked), before)


def test_nan_stays_where_it_is_and_a_sum_that_is_none_is_not_found() -> None:
    rows = np.array([[1, 2], [-1, -1], [-1, -1]], np.int32)
    weights = np.array([[np.nan, 1.0], [0, 0], [0, 0]], np.float32)
    history, asked = np.zeros(1, np.int32), np.array([1, 2], np.int32)
    found = affinities(rows, weights, history, asked)
    assert np.isnan(found[0])
    assert found[1] == 1
    assert affine_rows(rows, weights, history)[0].tolist() == [2]
    assert affinities(rows, weights, np.ones(1, np.int32), asked).tolist() == [0, 0]


def test_no_table_and_unaligned_arrays_are_taken() -> None:
    none = np.zeros((0, 0), np.int32), np.zeros((0, 0), np.float32)
    some = np.array([0, 5], np.int32)
    assert affinities(*none, some, some).tolist() == [0, 0]
    assert affine_rows(*none, some)[0].shape == (0,)
    rows, weights = table(3, 7)
    np.testing.assert_array_equal(
        affinities(unaligned(rows), unaligned(weights), unaligned(some), unaligned(some)),
        affinities(rows, weights, some, some),
    )


def test_wrong_arguments_are_refused_by_name() -> None:
    rows, weights = table(4, 3)
    some = np.zeros(1, np.int32)
    with pytest.raises(ValueError, match="weights: axis 1 must have 3 entries, got 2"):
        affinities(rows, weights[:, :2].copy(), some, some)
    with pytest.raises(TypeError, match="history: dtype int32 is needed, got int64"):
        affine_rows(rows, weights, some.astype(np.int64))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="asked: dtype int32 is needed, got float64"):
        affinities(rows, weights, some, np.zeros(1))  # type: ignore[arg-type]
