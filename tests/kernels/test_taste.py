"""What a user took to: sums of item-to-item weights against dictionaries, features against sums."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from support.kernel_arrays import unaligned
from tamis_kernels import affine_rows, affinities, cross_features, user_features

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
    assert sorted(near.tolist()) == wanted
    assert scores.tolist() == [sums[row] for row in near.tolist()]


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


EVENT = st.tuples(st.integers(0, 9), st.booleans(), st.floats(0, 1e9))


@given(
    values=st.lists(st.tuples(st.integers(-2, 6), st.integers(0, 3)), min_size=10, max_size=10),
    events=st.lists(EVENT, max_size=40),
    recent=st.integers(0, 25),
    now=st.floats(0, 2e9),
    tail=st.lists(st.integers(-5, 5), max_size=3),
)
@settings(deadline=None)
def test_a_users_features_are_of_the_last_positive_events(
    values: list[tuple[int, int]],
    events: list[tuple[int, bool, float]],
    recent: int,
    now: float,
    tail: list[int],
) -> None:
    table = np.array(values, np.int32)
    popularity = np.linspace(0, 1, 12, dtype=np.float32)
    rows, positive, times = ([event[part] for event in events] for part in range(3))
    found, dense = user_features(
        np.array(rows, np.int32),
        np.array(times, np.float64),
        np.array(positive, np.bool_),
        now,
        recent,
        table,
        popularity,
        np.array(tail, np.int32),
    )
    chosen = [row for row, is_positive in zip(rows, positive, strict=True) if is_positive]
    chosen = chosen[max(0, len(chosen) - recent) :]
    top = []
    for column in range(2):
        seen = [values[row][column] for row in chosen if values[row][column] > 0]
        top.append(min(seen, key=lambda value: (-seen.count(value), value), default=0))
    assert (found.dtype, dense.dtype) == (np.int32, np.float32)
    assert found.tolist() == [*top, *(values[chosen[-1]] if chosen else (0, 0)), *tail]
    expected = [0.0] * 4
    if rows:
        expected[0] = math.log1p(len(rows)) / 5
        expected[1] = math.log1p(max(now - times[-1], 0) / 86_400) / 5
        expected[2] = float(popularity[chosen].mean()) if chosen else 0.0
        expected[3] = sum(positive) / len(rows)
    np.testing.assert_allclose(dense, expected, rtol=1e-6, atol=1e-30)


def test_what_a_users_features_cannot_be_made_of_is_refused_by_name() -> None:
    def refused(error: type[Exception], message: str, **changed: object) -> None:
        given = {
            "rows": np.array([1], np.int32),
            "times": np.zeros(1),
            "positive": np.ones(1, np.bool_),
            "now": 0.0,
            "recent": 3,
            "item_fields": np.zeros((2, 3), np.int32),
            "popularity": np.zeros(2, np.float32),
            "tail": np.zeros(0, np.int32),
        }
        with pytest.raises(error, match=message):
            user_features(**{**given, **changed})  # type: ignore[arg-type]

    refused(IndexError, r"rows\[0\] is 2, allowed are 0 to 1", rows=np.array([2], np.int32))
    refused(ValueError, "times: axis 0 must have 1 entries, got 2", times=np.zeros(2))
    refused(ValueError, "positive: axis 0 must have 1", positive=np.ones(0, np.bool_))
    refused(ValueError, "popularity: at least 2", popularity=np.zeros(1, np.float32))
    refused(TypeError, "positive: dtype bool", positive=np.ones(1, np.uint8))


@pytest.mark.parametrize("dims", [0, 1, 17, 64])
@pytest.mark.parametrize("events", [0, 1, 3, 30])
@pytest.mark.parametrize("known", [False, True])
def test_candidates_are_compared_with_the_query_and_what_was_taken(
    dims: int, events: int, known: bool
) -> None:
    rng = np.random.default_rng(events)
    rows, weights = table(6, 5)
    spare = ITEMS + 4
    vectors = rng.normal(size=(spare, dims)).astype(np.float32)
    learnt_as = rng.integers(-1, ITEMS + 2, spare).astype(np.int32) if known else None
    query = rng.normal(size=dims).astype(np.float32) if known else None
    taken = rng.integers(0, spare, events).astype(np.int32)
    asked = rng.integers(0, spare, 50).astype(np.int32)
    cross = cross_features(vectors, asked, query, taken, 7, rows, weights, learnt_as)
    assert (cross.dtype, cross.shape) == (np.float32, (50, 4))
    candidates = vectors[asked].astype(np.float64)
    probes = np.zeros((3, dims))
    if query is not None:
        probes[0] = query
    if events:
        probes[1], probes[2] = vectors[taken[-1]], vectors[taken[-7:]].mean(axis=0)
    np.testing.assert_allclose(cross[:, :3], candidates @ probes.T, rtol=1e-4, atol=1e-5)
    of = learnt_as if learnt_as is not None else np.arange(spare, dtype=np.int32)
    sums = expected(rows, weights, of[taken].tolist())
    assert cross[:, 3].tolist() == [sums.get(row, 0.0) for row in of[asked].tolist()]
    again = cross_features(unaligned(vectors), asked, query, taken, 7, rows, weights, learnt_as)
    assert (again == cross).all()


def test_wrong_arguments_of_cross_features_are_refused_by_name() -> None:
    rows, weights = table(7, 3)
    vectors, some = np.zeros((ITEMS, 4), np.float32), np.zeros(2, np.int32)
    outside = np.array([0, ITEMS], np.int32)
    with pytest.raises(IndexError, match=r"rows\[1\] is 70, allowed are 0 to 69"):
        cross_features(vectors, outside, None, some, 1, rows, weights, None)
    with pytest.raises(IndexError, match=r"taken\[1\] is 70, allowed are 0 to 69"):
        cross_features(vectors, some, None, outside, 1, rows, weights, None)
    with pytest.raises(ValueError, match="query: axis 0 must have 4 entries, got 3"):
        cross_features(vectors, some, np.zeros(3, np.float32), some, 1, rows, weights, None)
    with pytest.raises(ValueError, match="learnt_as: at least 70 entries are needed, got 2"):
        cross_features(vectors, some, None, some, 1, rows, weights, some)
    with pytest.raises(ValueError, match="near_weights: axis 1 must have 3 entries, got 2"):
        cross_features(vectors, some, None, some, 1, rows, weights[:, :2].copy(), None)
