"""IvfIndex against its reference and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import tamis_kernels
from support.kernel_arrays import small_integers, unaligned
from tamis_kernels import IvfIndex, scan

Vectors = NDArray[np.float32]
Lists = tuple[NDArray[np.int64], NDArray[np.int32]]


def bits_of(mask: NDArray[np.bool_]) -> NDArray[np.uint64]:
    padded = np.pad(mask, (0, -len(mask) % 64))
    return np.packbits(padded, bitorder="little").view(np.uint64)


def lists_of(assigned: NDArray[np.integer], lists: int) -> Lists:
    """Rows by the list that each is assigned to."""
    starts = np.concatenate([[0], np.cumsum(np.bincount(assigned, minlength=lists))])
    return starts.astype(np.int64), np.argsort(assigned, kind="stable").astype(np.int32)


def clustered(seed: int, items: int, dims: int, lists: int) -> tuple[Vectors, Vectors, Lists]:
    """Unit vectors, centroids and their lists."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(lists, dims))
    vectors = centres[rng.integers(0, lists, items)] + 0.5 * rng.normal(size=(items, dims))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    centroids = (centres / np.linalg.norm(centres, axis=1, keepdims=True)).astype(np.float32)
    return vectors, centroids, lists_of((vectors @ centroids.T).argmax(axis=1), lists)


@given(
    seed=st.integers(0, 2**32),
    items=st.sampled_from([0, 1, 15, 16, 17, 300]),
    dims=st.sampled_from([1, 3, 16, 20, 64, 67]),
    lists=st.sampled_from([1, 2, 17, 40]),
    k=st.integers(0, 40),
    scanned=st.integers(1, 400),
    share=st.sampled_from([None, 0.0, 0.1, 0.5, 1.0]),
    reach=st.sampled_from([np.inf, 0.0, 0.3, 1.0, 3.0]),
)
@settings(deadline=None, max_examples=100)
def test_levels_find_what_the_reference_finds(
    seed: int,
    items: int,
    dims: int,
    lists: int,
    k: int,
    scanned: int,
    share: float | None,
    reach: float,
) -> None:
    rng = np.random.default_rng(seed)
    vectors = unaligned(small_integers(rng, items, dims))
    centroids, queries = small_integers(rng, lists, dims), small_integers(rng, 3, dims)
    starts, rows = lists_of(rng.integers(0, lists, items), lists)
    bits = None if share is None else bits_of(rng.random(items) < share)
    found = IvfIndex(centroids, starts, rows, vectors).search(queries, k, scanned, bits, reach)
    with tamis_kernels.with_level("reference"):
        index = IvfIndex(centroids, starts, rows, vectors)
        expected = index.search(queries, k, scanned, bits, reach)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", ["unlike", "alike", "alike but one"])
@pytest.mark.parametrize("k", [1, 10, 100])
def test_of_more_hits_than_are_kept_the_best_stay(kind: str, k: int) -> None:
    rng = np.random.default_rng(k)
    vectors, queries = small_integers(rng, 4000, 16), small_integers(rng, 3, 16)
    if kind != "unlike":
        vectors[:] = vectors[0]
    if kind == "alike but one":  # next to which all others are one and the same
        vectors[7] = 1000 * queries[0]
    starts, rows = lists_of(rng.integers(0, 3, 4000), 3)
    rows = np.concatenate([rng.permutation(each) for each in np.split(rows, starts[1:-1])])
    centroids = small_integers(rng, 3, 16)
    found = IvfIndex(centroids, starts, rows, vectors).search(queries, k, 4000)
    with tamis_kernels.with_level("reference"):
        expected = IvfIndex(centroids, starts, rows, vectors).search(queries, k, 4000)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@given(
    seed=st.integers(0, 2**32),
    items=st.sampled_from([1, 100, 1000]),
    dims=st.sampled_from([5, 16, 64]),
    width=st.sampled_from([0.0, 1e-6, 0.1, 1.0, 1e4]),
    strange=st.sampled_from([None, np.nan, np.inf]),
)
@settings(deadline=None, max_examples=40)
def test_levels_make_the_same_codes_of_any_numbers(
    seed: int, items: int, dims: int, width: float, strange: float | None
) -> None:
    """Codes decide which rows are scored: were one another, other rows would come."""
    rng = np.random.default_rng(seed)
    centroids = rng.normal(size=(4, dims)).astype(np.float32)
    assigned = rng.integers(0, 4, items)
    vectors = centroids[assigned] + np.float32(width) * rng.normal(size=(items, dims))
    vectors = vectors.astype(np.float32)
    if strange is not None:
        vectors[rng.integers(items), rng.integers(dims)] = strange
    starts, rows = lists_of(assigned, 4)
    queries = rng.normal(size=(6, dims)).astype(np.float32)
    half = items // 2 + 1
    with np.errstate(invalid="ignore"):
        found, scores = IvfIndex(centroids, starts, rows, vectors).search(queries, 10, half)
        with tamis_kernels.with_level("reference"):
            index = IvfIndex(centroids, starts, rows, vectors)
            expected, products = index.search(queries, 10, half)
    np.testing.assert_allclose(scores, products, rtol=1e-5, atol=1e-5 * max(width, 1.0))
    if width >= 0.1:  # below that, what is added up in another order decides
        for one, other in zip(found, expected, strict=True):
            assert set(one.tolist()) == set(other.tolist())


@given(
    seed=st.integers(0, 2**32),
    items=st.integers(1, 60),
    k=st.integers(30, 60),
    share=st.sampled_from([0.02, 0.5, 1.0]),
)
@settings(deadline=None, max_examples=30)
def test_where_all_that_is_allowed_is_scored_it_is_an_exact_search(
    seed: int, items: int, k: int, share: float
) -> None:
    rng = np.random.default_rng(seed)
    vectors, queries = small_integers(rng, items, 24), small_integers(rng, 4, 24)
    mask = rng.random(items) < share
    starts, rows = lists_of(rng.integers(0, 5, items), 5)
    index = IvfIndex(small_integers(rng, 5, 24), starts, rows, vectors)
    assert index.size == items
    found = index.search(queries, k, items, bits_of(mask))
    for one, other in zip(found, scan(vectors, bits_of(mask), queries, k), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("width", [0.0, 1e-4, 0.3, 1.0])
def test_in_all_lists_codes_find_nearly_all_that_is_nearest(width: float) -> None:
    rng = np.random.default_rng(4)
    centroids = rng.normal(size=(30, 64)).astype(np.float32)
    assigned = rng.integers(0, 30, 6000)
    vectors = centroids[assigned] + np.float32(width) * rng.normal(size=(6000, 64))
    vectors = vectors.astype(np.float32)
    queries = rng.normal(size=(20, 64)).astype(np.float32)
    index = IvfIndex(centroids, *lists_of(assigned, 30), vectors)
    _, scores = index.search(queries, 100, 6000)
    _, exact = scan(vectors, None, queries, 100)
    # by scores: where lists have next to no width, rows are next to equal
    kept = [np.mean(each >= least - 0.01) for each, least in zip(scores, exact[:, -1], strict=True)]
    assert np.mean(kept) > 0.99


@pytest.mark.parametrize("share", [1.0, 0.5, 0.1])
def test_few_of_many_lists_hold_most_of_what_is_near(share: float) -> None:
    vectors, centroids, (starts, rows) = clustered(3, 5000, 48, 60)
    mask = np.random.default_rng(1).random(5000) < share
    index = IvfIndex(centroids, starts, rows, vectors)
    found, scores = index.search(vectors[::100].copy(), 10, 1000, bits_of(mask))
    exact, _ = scan(vectors, bits_of(mask), vectors[::100].copy(), 10)
    pairs = zip(found, exact, strict=True)
    assert np.mean([len(np.intersect1d(*pair)) / 10 for pair in pairs]) > 0.95
    assert mask[found].all(), "only allowed rows"
    assert (np.diff(scores, axis=1) <= 0).all(), "best first"


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_a_reach_ends_a_search_at_some_list(share: float) -> None:
    vectors, centroids, (starts, rows) = clustered(9, 5000, 48, 60)
    mask = np.random.default_rng(2).random(5000) < share
    sizes = [np.count_nonzero(mask[each]) for each in np.split(rows, starts[1:-1])]
    index, bits = IvfIndex(centroids, starts, rows, vectors), bits_of(mask)
    looked_at = []
    for reach in (0.0, 1.5, 3.0):
        found, _ = index.search(vectors[:5].copy(), 10, 5000, bits, reach)
        for query, each in zip(vectors[:5], found, strict=True):
            nearest = np.argsort(-(centroids @ query))
            lengths = np.cumsum(np.array(sizes)[nearest])
            ended = [
                int(length)
                for length in lengths
                if (index.search(query[None], 10, max(1, int(length)), bits)[0][0] == each).all()
            ]
            assert ended, "as if so many had been asked for"
            looked_at.append(ended[0])
    nearer, near, far = np.array(looked_at).reshape(3, 5)
    assert (nearer <= near).all()
    assert (near <= far).all()
    assert (nearer < mask.sum() / 4).all()


@pytest.mark.parametrize("share", [1.0, 0.5, 0.1])
def test_with_a_reach_each_search_is_as_long_as_its_query_needs(share: float) -> None:
    """Queries that are items find their neighbours in a list or two, others in many."""
    vectors, centroids, (starts, rows) = clustered(3, 5000, 48, 60)
    rng = np.random.default_rng(1)
    bits = bits_of(rng.random(5000) < share)
    index = IvfIndex(centroids, starts, rows, vectors)
    mixed = vectors[rng.integers(0, 5000, (40, 6))].mean(axis=1)
    for queries, least in ((vectors[::100].copy(), 0.95), (mixed, 0.9)):
        found, _ = index.search(queries, 10, 5000, bits, 2.5)
        exact, _ = scan(vectors, bits, queries, 10)
        pairs = zip(found, exact, strict=True)
        assert np.mean([len(np.intersect1d(*pair)) / 10 for pair in pairs]) > least


def test_queries_of_one_call_do_not_disturb_each_other() -> None:
    vectors, centroids, (starts, rows) = clustered(5, 400, 20, 9)
    index = IvfIndex(centroids, starts, rows, vectors)
    together = index.search(vectors[:5].copy(), 7, 100)
    for each in range(5):
        alone = index.search(vectors[each : each + 1].copy(), 7, 100)
        for one, other in zip(together, alone, strict=True):
            np.testing.assert_array_equal(one[each : each + 1], other)


def test_empty_lists_are_passed_over_and_rows_outside_of_all_are_never_found() -> None:
    vectors = np.eye(6, 4, dtype=np.float32)
    starts = np.array([0, 0, 2, 2, 3], np.int64)
    index = IvfIndex(np.eye(4, dtype=np.float32), starts, np.array([4, 1, 0], np.int32), vectors)
    # the nearest list holds nothing, the others are equally far: the first of them is looked into
    rows, scores = index.search(vectors[:1].copy(), 5, 1)
    assert rows.tolist() == [[1, 4, -1, -1, -1]]
    assert scores[0, :2].tolist() == [0.0, 0.0]
    everything, _ = index.search(vectors[:1].copy(), 5, 6)
    assert sorted(everything[0].tolist()) == [-1, -1, 0, 1, 4]


def test_without_rows_or_lists_nothing_is_found() -> None:
    none = np.empty(0, np.int32)
    for lists in (0, 3):
        index = IvfIndex(
            np.ones((lists, 4), np.float32),
            np.zeros(lists + 1, np.int64),
            none,
            np.ones((2, 4), np.float32),
        )
        rows, scores = index.search(np.ones((1, 4), np.float32), 2, 10)
        assert rows.tolist() == [[-1, -1]]
        assert np.isneginf(scores).all()


def test_numbers_that_are_none_come_last_and_disturb_nothing_else() -> None:
    vectors, centroids, (starts, rows) = clustered(7, 200, 8, 4)
    vectors[3, 2] = np.nan
    index = IvfIndex(centroids, starts, rows, vectors)
    found, scores = index.search(np.ones((1, 8), np.float32), 200, 200)
    assert sorted(found[0].tolist()) == list(range(200))
    assert found[0, -1] == 3
    assert np.isnan(scores[0, -1])
    strange = np.full((1, 8), np.nan, np.float32)
    assert sorted(index.search(strange, 200, 200)[0][0].tolist()) == list(range(200))


def test_what_it_cannot_be_given_is_refused_by_name() -> None:
    vectors, centroids, (starts, rows) = clustered(1, 50, 4, 3)

    def refused(error: type[Exception], message: str, **changed: object) -> None:
        given = {"centroids": centroids, "starts": starts, "rows": rows, "vectors": vectors}
        with pytest.raises(error, match=message):
            IvfIndex(**{**given, **changed})  # type: ignore[arg-type]

    refused(ValueError, "centroids: axis 1", centroids=np.ones((3, 5), np.float32))
    refused(TypeError, "centroids: dtype float32", centroids=centroids.astype(np.float64))
    refused(ValueError, "starts: axis 0", starts=starts[:-1].copy())
    refused(ValueError, "starts: must ascend", starts=starts[::-1].copy())
    refused(ValueError, "starts: must ascend", starts=starts + 1)
    refused(ValueError, "starts: must ascend", starts=np.minimum(starts, 49))
    for row, error, message in (
        (50, IndexError, r"rows\[0\] is 50"),
        (-1, IndexError, r"rows\[0\] is -1"),
        (int(rows[1]), ValueError, f"rows: {rows[1]} is there twice"),
    ):
        refused(error, message, rows=np.concatenate([np.array([row], np.int32), rows[1:]]))
    index = IvfIndex(centroids, starts, rows, vectors)
    with pytest.raises(ValueError, match="queries: axis 1"):
        index.search(np.ones((1, 3), np.float32), 1, 1)
    with pytest.raises(ValueError, match="k must be 0 or more, got -1"):
        index.search(vectors[:1].copy(), -1, 1)
    with pytest.raises(ValueError, match="scanned must be 1 or more, got 0"):
        index.search(vectors[:1].copy(), 1, 0)
    for reach, said in ((-0.5, r"-0\.500000"), (np.nan, "nan")):
        with pytest.raises(ValueError, match=f"reach must be 0 or more, got {said}"):
            index.search(vectors[:1].copy(), 1, 1, None, reach)
    with pytest.raises(ValueError, match="bits: at least 1 words are needed, got 0"):
        index.search(vectors[:1].copy(), 1, 1, np.zeros(0, np.uint64))
