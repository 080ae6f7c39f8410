"""dot_rows, mmr and dpp, against naive versions in double precision."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided

import tamis_kernels
from support.kernel_arrays import LENGTHS, rows_of, small_integers, unaligned
from tamis_kernels import dot_rows, dpp, mmr
from tamis_kernels.reference_products import inner_products


def naive_mmr(
    vectors: np.ndarray, rows: np.ndarray, relevance: np.ndarray, k: int, trade_off: float
) -> list[int]:
    picked: list[int] = []

    def rank(i: int) -> tuple[bool, float, int, int]:
        value = float(relevance[i])
        if picked:
            products = [
                float(vectors[rows[i]].astype(np.float64) @ vectors[rows[j]].astype(np.float64))
                for j in picked
            ]
            nearest = max(0.0 if math.isnan(p) else p for p in products)
            value = trade_off * value - (1 - trade_off) * nearest
        return math.isnan(value), 0.0 if math.isnan(value) else -value, int(rows[i]), i

    while len(picked) < min(k, len(rows)):
        picked.append(min((i for i in range(len(rows)) if i not in picked), key=rank))
    return picked


@pytest.mark.parametrize("dims", [0, 1, 3, 8, 16, 17, 64, 100])
@pytest.mark.parametrize("length", LENGTHS)
def test_dot_rows_gives_the_inner_products(dims: int, length: int) -> None:
    rng = np.random.default_rng(dims)
    vectors = rng.normal(size=(50, dims)).astype(np.float32)
    queries = rng.normal(size=(3, dims)).astype(np.float32)
    rows = rows_of(rng, 50, length)
    expected = vectors[rows].astype(np.float64) @ queries.astype(np.float64).T
    products = dot_rows(vectors, rows, queries)
    assert products.dtype == np.float32
    assert products.shape == (length, 3)
    np.testing.assert_allclose(products, expected, rtol=1e-5, atol=1e-5)
    again = dot_rows(unaligned(vectors), unaligned(rows), unaligned(queries))
    assert (again == products).all()


def test_vectors_without_dimensions_have_no_product_whatever_lies_where_they_are() -> None:
    rows = as_strided(np.full(2, np.nan, np.float32), shape=(2, 0), strides=(0, 0))
    queries = as_strided(np.ones(2, np.float32), shape=(2, 0), strides=(4, 4))
    assert np.isnan(np.einsum("md,qd->mq", rows, queries)).all()  # why inner_products is there
    np.testing.assert_array_equal(inner_products(rows, queries), np.zeros((2, 2)))
    np.testing.assert_array_equal(dot_rows(rows, np.array([1, 0], np.int32), queries), 0)


@pytest.mark.parametrize("length", LENGTHS)
def test_equal_vectors_get_equal_products_wherever_they_stand(length: int) -> None:
    rng = np.random.default_rng(1)
    vectors = np.tile(rng.normal(size=(1, 61)).astype(np.float32), (5, 1))
    queries = rng.normal(size=(2, 61)).astype(np.float32)
    products = dot_rows(vectors, rows_of(rng, 5, length), queries)
    assert (products == products[:1]).all()


def test_dot_rows_keeps_nan_to_its_row_and_takes_no_queries() -> None:
    vectors = np.ones((3, 20), dtype=np.float32)
    vectors[1, 19] = np.nan
    rows = np.array([0, 1, 2], dtype=np.int32)
    products = dot_rows(vectors, rows, vectors[:1])
    assert np.isnan(products[:, 0]).tolist() == [False, True, False]
    assert dot_rows(vectors, rows, np.zeros((0, 20), dtype=np.float32)).shape == (3, 0)


@pytest.mark.parametrize("row", [-1, 3, 2**31 - 1, -(2**31)])
def test_a_row_outside_the_table_is_named(row: int) -> None:
    vectors = np.ones((3, 4), dtype=np.float32)
    rows = np.array([0, row], dtype=np.int32)
    with pytest.raises(IndexError, match=rf"rows\[1\] is {row}, allowed are 0 to 2"):
        dot_rows(vectors, rows, vectors)
    with pytest.raises(IndexError, match=rf"rows\[1\] is {row}, allowed are 0 to 2"):
        mmr(vectors, rows, np.ones(2, dtype=np.float32), 1, 0.5)


def test_dot_rows_refuses_wrong_shapes_by_name() -> None:
    vectors, rows = np.ones((3, 4), dtype=np.float32), np.zeros(1, dtype=np.int32)
    with pytest.raises(ValueError, match="queries: axis 1 must have 4 entries, got 5"):
        dot_rows(vectors, rows, np.ones((1, 5), dtype=np.float32))
    with pytest.raises(ValueError, match=r"queries: 2 dimension\(s\) are needed, got 1"):
        dot_rows(vectors, rows, np.ones(4, dtype=np.float32))
    with pytest.raises(ValueError, match="vectors: a C-contiguous array"):
        dot_rows(np.asfortranarray(vectors), rows, vectors)
    with pytest.raises(TypeError, match="vectors: dtype float32 is needed"):
        dot_rows(vectors.astype(">f4"), rows, vectors)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("dims", [1, 5, 64])
def test_mmr_picks_what_the_definition_picks(length: int, dims: int) -> None:
    rng = np.random.default_rng(length)
    vectors = small_integers(rng, 200, dims)
    rows = rows_of(rng, 200, length)
    relevance = small_integers(rng, length)
    relevance[3::5] = np.nan
    expected = naive_mmr(vectors, rows, relevance, 20, 0.5)
    picked = mmr(vectors, rows, relevance, 20, 0.5)
    assert picked.dtype == np.int32
    assert picked.tolist() == expected
    again = mmr(unaligned(vectors), unaligned(rows), unaligned(relevance), 20, 0.5)
    assert again.tolist() == expected


@given(seed=st.integers(0, 2**32), length=st.integers(0, 40), quarter=st.integers(0, 4))
def test_mmr_agrees_with_the_definition_at_any_trade_off(
    seed: int, length: int, quarter: int
) -> None:
    rng = np.random.default_rng(seed)
    vectors, relevance = small_integers(rng, 30, 6), small_integers(rng, length)
    rows = rows_of(rng, 30, length)
    picked = mmr(vectors, rows, relevance, 50, quarter / 4)
    assert picked.tolist() == naive_mmr(vectors, rows, relevance, 50, quarter / 4)


def test_mmr_on_trained_like_vectors_agrees_with_the_definition() -> None:
    rng = np.random.default_rng(11)
    vectors = rng.normal(size=(500, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = rng.permutation(500).astype(np.int32)
    relevance = rng.random(500).astype(np.float32)
    expected = naive_mmr(vectors, rows, relevance, 20, 0.7)
    assert mmr(vectors, rows, relevance, 20, 0.7).tolist() == expected


def test_duplicates_of_a_pick_come_after_what_is_different() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
    relevance = np.array([1.0, 1.0, 0.5], dtype=np.float32)
    rows = np.array([1, 0, 2], dtype=np.int32)
    assert mmr(vectors, rows, relevance, 3, 0.5).tolist() == [1, 2, 0]


def test_nan_sinks_and_never_repeats_a_position() -> None:
    vectors = np.ones((4, 3), dtype=np.float32)
    vectors[2] = np.nan
    relevance = np.array([np.nan, 1.0, 3.0, -np.inf, np.nan], dtype=np.float32)
    rows = np.array([3, 0, 2, 1, 1], dtype=np.int32)
    assert mmr(vectors, rows, relevance, 9, 0.5).tolist() == [2, 1, 3, 4, 0]


def test_mmr_refuses_wrong_numbers() -> None:
    vectors, rows = np.ones((1, 3), dtype=np.float32), np.zeros(1, dtype=np.int32)
    relevance = np.ones(1, dtype=np.float32)
    for trade_off in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="trade_off must be between 0 and 1"):
            mmr(vectors, rows, relevance, 1, trade_off)
    with pytest.raises(ValueError, match="k must be 0 or more, got -2"):
        mmr(vectors, rows, relevance, -2, 0.5)
    assert mmr(vectors, rows, relevance, 0, 0.5).tolist() == []


def log_volume(vectors: np.ndarray, picked: list[int]) -> float:
    """log det of the similarities of what is picked."""
    chosen = vectors[picked].astype(np.float64)
    return float(np.linalg.slogdet((1 + chosen @ chosen.T) / 2)[1])


def unit(rng: np.random.Generator, items: int, dims: int) -> np.ndarray:
    vectors = rng.normal(size=(items, dims))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("dims", [8, 17, 64])
@pytest.mark.parametrize("length", [n for n in LENGTHS if n])
@pytest.mark.parametrize("trade_off", [0.0, 0.3, 0.9])
def test_each_pick_of_dpp_raises_relevance_and_volume_together_most(
    length: int, dims: int, trade_off: float
) -> None:
    rng = np.random.default_rng(length)
    rows = rng.permutation(length).astype(np.int32)
    vectors = unit(rng, length, dims)
    relevance = rng.random(length).astype(np.float32)
    picked = dpp(vectors, rows, relevance, 8, trade_off).tolist()
    assert len(set(picked)) == min(8, length)
    assert relevance[picked[0]] == relevance.max()

    def value(positions: list[int]) -> float:
        volume = max(log_volume(vectors, [int(rows[p]) for p in positions]), -300.0)
        return trade_off * float(relevance[positions].sum()) + (1 - trade_off) * volume

    for place in range(1, min(len(picked), dims)):
        before = picked[:place]
        others = rng.permutation([p for p in range(length) if p not in before])[:30]
        best = max(value([*before, int(other)]) for other in others)
        assert value([*before, picked[place]]) >= best - 1e-3


@pytest.mark.parametrize("trade_off", [0.0, 0.3, 0.8, 0.95])
def test_levels_of_dpp_pick_what_the_reference_picks(trade_off: float) -> None:
    rng = np.random.default_rng(4)
    vectors = unit(rng, 2000, 64)
    for _ in range(20):
        rows = rng.permutation(2000)[:300].astype(np.int32)
        relevance = rng.random(300).astype(np.float32)
        picked = dpp(vectors, unaligned(rows), unaligned(relevance), 20, trade_off)
        with tamis_kernels.with_level("reference"):
            expected = dpp(vectors, rows, relevance, 20, trade_off)
        np.testing.assert_array_equal(picked, expected)


def test_with_relevance_alone_dpp_is_the_order_by_relevance() -> None:
    rng = np.random.default_rng(5)
    relevance = rng.random(100).astype(np.float32)
    picked = dpp(unit(rng, 100, 16), np.arange(100, dtype=np.int32), relevance, 100, 1.0)
    np.testing.assert_array_equal(picked, np.argsort(-relevance))


def test_dpp_leaves_duplicates_for_last_then_takes_them_by_relevance() -> None:
    vectors = np.eye(3, dtype=np.float32)[[0, 0, 1, 2, 2]]
    relevance = np.array([0.9, 0.8, 0.1, 0.5, 0.6], np.float32)
    picked = dpp(vectors, np.arange(5, dtype=np.int32), relevance, 5, 0.5)
    assert picked.tolist() == [0, 4, 2, 1, 3]


def test_dpp_takes_what_is_no_number_last_and_breaks_ties_by_row() -> None:
    vectors = np.eye(4, dtype=np.float32)
    vectors[2] = np.nan  # similar to nothing that is known
    rows = np.array([3, 1, 0, 2], np.int32)
    relevance = np.array([np.nan, 0.5, 0.5, 0.5], np.float32)
    picked = dpp(vectors, rows, relevance, 4, 0.5)
    assert sorted(picked.tolist()) == [0, 1, 2, 3]
    assert (picked[0], picked[-1]) == (2, 0)


def test_dpp_refuses_what_mmr_refuses() -> None:
    vectors, rows = np.ones((2, 2), np.float32), np.array([0, 1], np.int32)
    relevance = np.ones(2, np.float32)
    with pytest.raises(ValueError, match="trade_off must be between 0 and 1, got 2"):
        dpp(vectors, rows, relevance, 1, 2.0)
    with pytest.raises(ValueError, match="k must be 0 or more, got -2"):
        dpp(vectors, rows, relevance, -2, 0.5)
    with pytest.raises(IndexError, match=r"rows\[1\] is 2"):
        dpp(vectors, np.array([0, 2], np.int32), relevance, 1, 0.5)
    with pytest.raises(ValueError, match="relevance: axis 0"):
        dpp(vectors, rows, relevance[:1], 1, 0.5)
    assert dpp(vectors, rows, relevance, 0, 0.5).tolist() == []
