"""HnswGraph against hnswlib's file and brute force; scan against NumPy."""

from __future__ import annotations

import struct
from pathlib import Path

import hnswlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import tamis_kernels
from support.kernel_arrays import LENGTHS, small_integers, unaligned
from tamis_kernels import HnswGraph, scan

Vectors = NDArray[np.float32]
ITEMS = 600


def saved(
    path: Path,
    vectors: Vectors,
    labels: NDArray[np.int64] | None = None,
    deleted: tuple[int, ...] = (),
    m: int = 8,
    ef_construction: int = 100,
) -> Path:
    """An index of ``vectors``, row r under label r, added in the order of ``labels``."""
    index = hnswlib.Index(space="ip", dim=vectors.shape[1])
    index.init_index(max(1, len(vectors)), M=m, ef_construction=ef_construction, random_seed=1)
    order = np.arange(len(vectors)) if labels is None else labels
    if len(vectors):
        index.add_items(vectors[order], order, num_threads=1)
    for row in deleted:
        index.mark_deleted(row)
    index.save_index(str(path))
    return path


def bits_of(mask: NDArray[np.bool_]) -> NDArray[np.uint64]:
    padded = np.pad(mask, (0, -len(mask) % 64))
    return np.packbits(padded, bitorder="little").view(np.uint64)


def clustered(seed: int, items: int, dims: int) -> tuple[Vectors, NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(max(1, items // 30), dims))
    cluster = rng.integers(0, len(centres), items)
    vectors = centres[cluster] + 0.6 * rng.normal(size=(items, dims))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), cluster


def brute_force(vectors: Vectors, query: Vectors, mask: NDArray[np.bool_], k: int) -> list[int]:
    rows = np.flatnonzero(mask)
    scores = vectors[rows].astype(np.float64) @ query.astype(np.float64)
    best: list[int] = rows[np.lexsort((rows, -scores))][:k].tolist()
    return best


def recall(vectors: Vectors, queries: Vectors, mask: NDArray[np.bool_], rows: object) -> float:
    shares = []
    for query, found in zip(queries, np.asarray(rows), strict=True):
        wanted = brute_force(vectors, query, mask, len(found))
        shares.append(len(set(wanted) & set(found.tolist())) / max(1, len(wanted)))
    return float(np.mean(shares))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("graphs")


@pytest.fixture(scope="module")
def integers(directory: Path) -> tuple[Vectors, Path]:
    """Scores that are exact in any order of summation, with many ties."""
    vectors = small_integers(np.random.default_rng(5), ITEMS, 13)
    return vectors, saved(directory / "integers", vectors, m=6)


@pytest.fixture(scope="module")
def clusters(directory: Path) -> tuple[Vectors, NDArray[np.int64], Path]:
    vectors, cluster = clustered(3, ITEMS, 20)
    return vectors, cluster, saved(directory / "clusters", vectors)


@pytest.mark.parametrize("dims", [1, 3, 16, 17, 64])
def test_a_beam_over_the_whole_graph_finds_what_brute_force_finds(
    tmp_path: Path, dims: int
) -> None:
    vectors, _ = clustered(dims, 200, dims)
    graph = HnswGraph(saved(tmp_path / "index", vectors), vectors)
    rows, scores = graph.search(vectors[:20], 10, 200)
    assert (rows.dtype, scores.dtype) == (np.int32, np.float32)
    assert (rows.shape, scores.shape) == ((20, 10), (20, 10))
    exact, exact_scores = scan(vectors, None, vectors[:20], 10)
    np.testing.assert_array_equal(rows, exact)
    np.testing.assert_array_equal(scores, exact_scores)


@pytest.mark.parametrize("share", [0.8, 0.5, 0.2, 0.1, 0.02])
@pytest.mark.parametrize("correlated", [False, True])
def test_a_filter_inside_the_search_keeps_recall(
    clusters: tuple[Vectors, NDArray[np.int64], Path], share: float, correlated: bool
) -> None:
    vectors, cluster, path = clusters
    rng = np.random.default_rng(1)
    mask = rng.random(ITEMS) < share
    if correlated:
        mask = (rng.random(cluster.max() + 1) < share)[cluster]
        mask[:5] = True
    queries = vectors[::20].copy()
    k = min(10, int(mask.sum()))
    rows, scores = HnswGraph(path, vectors).search(queries, k, 40, bits_of(mask))
    assert mask[rows[rows >= 0]].all(), "only allowed rows"
    assert (np.diff(scores, axis=1) <= 0).all(), "best first"
    assert recall(vectors, queries, mask, rows) > 0.95


@given(
    seed=st.integers(0, 2**32),
    k=st.integers(0, 40),
    ef=st.integers(1, 80),
    widest=st.integers(0, 300),
    share=st.sampled_from([None, 0.0, 0.05, 0.5, 1.0]),
)
@settings(deadline=None, max_examples=40)
def test_every_level_walks_the_graph_as_the_reference_does(
    integers: tuple[Vectors, Path], seed: int, k: int, ef: int, widest: int, share: float | None
) -> None:
    vectors, path = integers
    rng = np.random.default_rng(seed)
    queries = small_integers(rng, 2, vectors.shape[1])
    bits = None if share is None else bits_of(rng.random(ITEMS) < share)
    found = HnswGraph(path, vectors).search(queries, k, ef, bits, widest)
    with tamis_kernels.with_level("reference"):
        expected = HnswGraph(path, vectors).search(queries, k, ef, bits, widest)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


@given(seed=st.integers(0, 2**32), share=st.floats(0, 1), k=st.integers(1, 30))
@settings(deadline=None, max_examples=40)
def test_results_are_allowed_distinct_and_ordered_by_score_then_row(
    integers: tuple[Vectors, Path], seed: int, share: float, k: int
) -> None:
    vectors, path = integers
    rng = np.random.default_rng(seed)
    mask = rng.random(ITEMS) < share
    query = small_integers(rng, 1, vectors.shape[1])
    (rows,), (scores,) = HnswGraph(path, vectors).search(query, k, 50, bits_of(mask))
    found = rows[rows >= 0]
    assert (rows[len(found) :] == -1).all()
    assert np.isneginf(scores[len(found) :]).all()
    assert mask[found].all()
    assert len(set(found.tolist())) == len(found)
    np.testing.assert_array_equal(scores[: len(found)], vectors[found] @ query[0])
    order = np.lexsort((found, -scores[: len(found)]))
    assert order.tolist() == list(range(len(found)))


def test_labels_added_in_any_order_are_rows(tmp_path: Path) -> None:
    vectors, _ = clustered(9, 150, 8)
    shuffled = np.random.default_rng(2).permutation(150)
    graph = HnswGraph(saved(tmp_path / "index", vectors, shuffled), vectors)
    rows, _ = graph.search(vectors, 1, 150)
    np.testing.assert_array_equal(rows, scan(vectors, None, vectors, 1)[0])


def test_rows_marked_deleted_lead_the_way_and_are_no_results(tmp_path: Path) -> None:
    vectors, _ = clustered(4, 200, 8)
    gone = tuple(range(0, 200, 3))
    graph = HnswGraph(saved(tmp_path / "index", vectors, deleted=gone), vectors)
    assert graph.size == 200
    live = np.ones(200, np.bool_)
    live[list(gone)] = False
    rows, _ = graph.search(vectors[:10], 20, 200)
    np.testing.assert_array_equal(rows, scan(vectors, bits_of(live), vectors[:10], 20)[0])
    half = np.arange(200) % 2 == 0
    rows, _ = graph.search(vectors[:10], 20, 200, bits_of(half))
    np.testing.assert_array_equal(rows, scan(vectors, bits_of(live & half), vectors[:10], 20)[0])


def test_vectors_and_bits_may_go_on_beyond_the_graph(tmp_path: Path) -> None:
    vectors, _ = clustered(4, 100, 8)
    path = saved(tmp_path / "index", vectors)
    longer = np.concatenate([vectors, vectors])
    graph = HnswGraph(path, unaligned(longer))
    assert graph.size == 100
    rows, _ = graph.search(vectors[:5], 200, 200, bits_of(np.ones(300, np.bool_)))
    assert (np.sort(rows[:, :100]) == np.arange(100)).all()
    assert (rows[:, 100:] == -1).all()


def test_more_than_there_are_nothing_allowed_and_nothing_asked(
    integers: tuple[Vectors, Path],
) -> None:
    vectors, path = integers
    graph = HnswGraph(path, vectors)
    rows, scores = graph.search(vectors[:2], ITEMS + 5, 1)
    assert (rows[:, ITEMS:] == -1).all()
    assert np.isneginf(scores[:, ITEMS:]).all()
    rows, scores = graph.search(vectors[:2], 3, 10, bits_of(np.zeros(ITEMS, np.bool_)))
    assert (rows == -1).all()
    assert np.isneginf(scores).all()
    assert graph.search(vectors[:2], 0, 10)[0].shape == (2, 0)
    assert graph.search(vectors[:0], 3, 10)[0].shape == (0, 3)


def test_an_index_without_elements_finds_nothing(tmp_path: Path) -> None:
    none = np.zeros((0, 4), np.float32)
    graph = HnswGraph(saved(tmp_path / "index", none), none)
    assert graph.size == 0
    assert graph.search(np.ones((1, 4), np.float32), 2, 10)[0].tolist() == [[-1, -1]]


def test_a_nan_query_gives_nan_scores_by_row_and_harms_no_other(
    integers: tuple[Vectors, Path],
) -> None:
    vectors, path = integers
    graph = HnswGraph(path, vectors)
    queries = vectors[:2].copy()
    queries[0, 0] = np.nan
    rows, scores = graph.search(queries, 10, 50)
    assert np.isnan(scores[0]).all()
    assert (np.diff(rows[0]) > 0).all()
    alone = graph.search(queries[1:], 10, 50)
    np.testing.assert_array_equal(rows[1:], alone[0])
    np.testing.assert_array_equal(scores[1:], alone[1])


def test_a_graph_that_duplicates_cut_gives_what_it_reaches(tmp_path: Path) -> None:
    vectors = np.repeat(np.eye(2, 4, dtype=np.float32), 100, axis=0)
    graph = HnswGraph(saved(tmp_path / "index", vectors, m=2), vectors)
    rows, scores = graph.search(np.eye(1, 4, dtype=np.float32), 200, 200)
    found = rows[rows >= 0]
    assert len(set(found.tolist())) == len(found) > 0
    np.testing.assert_array_equal(scores[0, : len(found)], vectors[found, 0])


def test_a_narrow_beam_gives_up_rather_than_search_everything(
    clusters: tuple[Vectors, NDArray[np.int64], Path],
) -> None:
    vectors, _, path = clusters
    far = np.zeros(ITEMS, np.bool_)
    far[np.argsort(vectors @ vectors[0])[:10]] = True
    graph = HnswGraph(path, vectors)
    assert (graph.search(vectors[:1], 5, 5, bits_of(far), 20)[0] == -1).all()
    assert far[graph.search(vectors[:1], 5, 5, bits_of(far))[0]].all()


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("share", [None, 0.0, 0.3, 1.0])
def test_scan_is_exact(length: int, share: float | None) -> None:
    rng = np.random.default_rng(length)
    vectors, queries = small_integers(rng, length, 11), small_integers(rng, 3, 11)
    mask = rng.random(length) < (1 if share is None else share)
    bits = None if share is None else bits_of(mask)
    for k in (0, 1, 5, 2000):
        rows, scores = scan(unaligned(vectors), bits, unaligned(queries), k)
        assert rows.shape == scores.shape == (3, k)
        for query, found, score in zip(queries, rows, scores, strict=True):
            wanted = brute_force(vectors, query, mask, k)
            assert found.tolist() == wanted + [-1] * (k - len(wanted))
            np.testing.assert_array_equal(score[: len(wanted)], vectors[wanted] @ query)
            assert np.isneginf(score[len(wanted) :]).all()


def test_scan_puts_nan_after_every_number() -> None:
    vectors = np.ones((1000, 2), np.float32)
    vectors[::2, 0] = np.nan
    vectors[1, 0] = -np.inf
    rows, scores = scan(vectors, None, np.ones((1, 2), np.float32), 502)
    assert rows[0].tolist() == [*range(3, 1000, 2), 1, 0, 2]
    assert np.isnan(scores[0, 500:]).all()
    short = np.array([5], np.uint64)
    assert scan(vectors, short, np.ones((1, 2), np.float32), 3)[0].tolist() == [[0, 2, -1]]


@pytest.fixture(scope="module")
def small(directory: Path) -> tuple[Vectors, bytes]:
    vectors, _ = clustered(8, 60, 5)
    return vectors, saved(directory / "small", vectors, m=4).read_bytes()


def refused(path: Path, content: bytes, vectors: Vectors) -> str:
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r".") as caught:
        HnswGraph(path, vectors)
    return str(caught.value)


def test_an_index_truncated_anywhere_is_refused(
    small: tuple[Vectors, bytes], tmp_path: Path
) -> None:
    vectors, content = small
    for length in {*range(0, len(content), 37), 95, 96, len(content) - 1}:
        assert refused(tmp_path / "index", content[:length], vectors)
    assert "1 bytes more than" in refused(tmp_path / "index", content + b"\0", vectors)


def test_an_index_with_any_byte_changed_is_refused_or_searched_safely(
    small: tuple[Vectors, bytes], tmp_path: Path
) -> None:
    vectors, content = small
    path = tmp_path / "index"
    for offset in [*range(96), *range(96, len(content), 23)]:
        for flipped in (0x01, 0x80, 0xFF):
            spoiled = bytearray(content)
            spoiled[offset] ^= flipped
            path.write_bytes(spoiled)
            try:
                graph = HnswGraph(path, vectors)
            except ValueError:
                continue
            rows, _ = graph.search(vectors[:3], 60, 60)
            assert rows.max() < 60


RECORD = 4 + 4 * 8 + 4 * 5 + 8  # of `small`: count, links, vector, label


@pytest.mark.parametrize(
    ("offset", "form", "value", "reason"),
    [
        (0, "<Q", 1, "its header is not that of an hnswlib index"),
        (64, "<Q", 9, "its header is not that of an hnswlib index"),
        (16, "<Q", 61, "holds 61 elements, with room for 60"),
        (48, "<i", 77, "entry point .* is not an element of level 77"),
        (52, "<I", 60, "entry point 60 is not an element of level"),
        (96, "<H", 9, "element 0: 9 links, allowed are 8"),
        (96 + RECORD + 4, "<I", 60, "element 1: links to 60 of 60"),
        (96 + RECORD - 8, "<Q", 60, "element 0: label 60 is no row of 60"),
        (96 + 2 * RECORD - 8, "<Q", 0, "element 1: label 0 stands twice"),
        (96 + RECORD - 12, "<f", 9.0, "element 0: its vector is not that of row 0"),
        (96 + 60 * RECORD, "<I", 7, "element 0: 7 bytes of links above level 0"),
        (96 + 60 * RECORD, "<I", 20 * 10**6, "element 0: 20000000 bytes of links above level 0"),
    ],
)
def test_what_is_wrong_with_an_index_is_named(
    small: tuple[Vectors, bytes], tmp_path: Path, offset: int, form: str, value: float, reason: str
) -> None:
    vectors, content = small
    spoiled = bytearray(content)
    struct.pack_into(form, spoiled, offset, value)
    (tmp_path / "index").write_bytes(spoiled)
    with pytest.raises(ValueError, match=reason):
        HnswGraph(tmp_path / "index", vectors)


def test_an_upper_link_to_an_element_that_ends_below_is_refused(
    small: tuple[Vectors, bytes], tmp_path: Path
) -> None:
    vectors, content = small
    at, linked, low = 96 + 60 * RECORD, 0, 0
    for element in range(60):
        (length,) = struct.unpack_from("<I", content, at)
        if length and struct.unpack_from("<H", content, at + 4)[0]:
            linked = at + 8
        elif not length:
            low = element
        at += 4 + length
    assert linked, "the index has a link above level 0"
    spoiled = bytearray(content)
    struct.pack_into("<I", spoiled, linked, low)
    assert "at level 1, which that does not reach" in refused(tmp_path / "i", spoiled, vectors)


@pytest.fixture(scope="module")
def graph_file(directory: Path) -> tuple[Vectors, bytes, Path]:
    """A graph with deleted rows, written by the reference."""
    vectors, _ = clustered(8, 60, 5)
    index = saved(directory / "deleting", vectors, deleted=(3, 59), m=4)
    with tamis_kernels.with_level("reference"):
        HnswGraph(index, vectors).save(directory / "graph")
    return vectors, (directory / "graph").read_bytes(), index


def test_a_graph_saved_is_the_graph_at_every_level(
    graph_file: tuple[Vectors, bytes, Path], tmp_path: Path
) -> None:
    vectors, content, index = graph_file
    path = tmp_path / "graph"
    built = HnswGraph(index, vectors)
    built.save(path)
    assert path.read_bytes() == content
    again = HnswGraph(path, np.concatenate([vectors, vectors]))
    assert again.size == 60
    again.save(path)
    assert path.read_bytes() == content
    bits = bits_of(np.arange(60) % 2 == 0)
    for asked in ((vectors, 60, 60), (vectors, 5, 12), (vectors, 5, 12, bits, 20)):
        for found, expected in zip(again.search(*asked), built.search(*asked), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_an_empty_graph_can_be_saved(tmp_path: Path) -> None:
    none = np.zeros((0, 4), np.float32)
    HnswGraph(saved(tmp_path / "index", none), none).save(tmp_path / "graph")
    assert HnswGraph(tmp_path / "graph", none).size == 0


def test_a_graph_that_cannot_be_written_is_an_os_error(
    graph_file: tuple[Vectors, bytes, Path], tmp_path: Path
) -> None:
    vectors, _, index = graph_file
    with pytest.raises(FileNotFoundError, match="nowhere"):
        HnswGraph(index, vectors).save(tmp_path / "nowhere" / "graph")


def test_a_graph_file_truncated_or_spoiled_anywhere_is_refused_or_searched_safely(
    graph_file: tuple[Vectors, bytes, Path], tmp_path: Path
) -> None:
    vectors, content, _ = graph_file
    path = tmp_path / "graph"
    for length in {*range(0, len(content), 64), 63, len(content) - 1}:
        assert refused(path, content[:length], vectors)
    assert "64 bytes more than" in refused(path, content + bytes(64), vectors)
    for offset in [*range(64), *range(64, len(content), 23)]:
        for flipped in (0x01, 0x80, 0xFF):
            spoiled = bytearray(content)
            spoiled[offset] ^= flipped
            path.write_bytes(spoiled)
            try:
                graph = HnswGraph(path, vectors)
            except ValueError:
                continue
            rows, _ = graph.search(vectors[:3], 60, 60)
            assert rows.max() < 60


GROUND = 64 + 60 * 16 * 4  # header and links of level 0


@pytest.mark.parametrize(
    ("offset", "form", "value", "reason"),
    [
        (8, "<Q", 61, "holds 61 rows, there are 60 vectors"),
        (16, "<Q", 6, "is of 6 dimensions, the vectors have 5"),
        (24, "<Q", 24, "its header is not that of a graph"),
        (24, "<Q", 1024, "too short for the 60 rows"),
        (40, "<Q", 1, "is of other vectors"),
        (56, "<i", 77, "entry point .* is not a row of level 77"),
        (56, "<i", -1, "its header is not that of a graph"),
        (60, "<I", 60, "entry point 60 is not a row of level"),
        (64, "<I", 60, "row 0: links to 60 of 60"),
        (GROUND, "<B", 200, "too short for the .* lists above level 0"),
    ],
)
def test_what_is_wrong_with_a_graph_file_is_named(
    graph_file: tuple[Vectors, bytes, Path],
    tmp_path: Path,
    offset: int,
    form: str,
    value: int,
    reason: str,
) -> None:
    vectors, content, _ = graph_file
    spoiled = bytearray(content)
    struct.pack_into(form, spoiled, offset, value)
    (tmp_path / "graph").write_bytes(spoiled)
    with pytest.raises(ValueError, match=reason):
        HnswGraph(tmp_path / "graph", vectors)


def test_a_graph_of_other_vectors_is_refused(
    graph_file: tuple[Vectors, bytes, Path], tmp_path: Path
) -> None:
    vectors, content, _ = graph_file
    assert "is of other vectors" in refused(tmp_path / "graph", content, vectors + 1)


@pytest.mark.parametrize("dims", [16, 48, 64, 80, 128])
def test_codes_lose_next_to_no_recall(tmp_path: Path, dims: int) -> None:
    vectors, _ = clustered(dims, 2000, dims)
    path = saved(tmp_path / "index", vectors)
    queries, everything = vectors[:40].copy(), np.ones(2000, np.bool_)
    index = hnswlib.Index(space="ip", dim=dims)
    index.load_index(str(path))
    index.set_ef(60)
    theirs = recall(vectors, queries, everything, index.knn_query(queries, k=20)[0])
    rows, _ = HnswGraph(path, vectors).search(queries, 20, 60)
    assert recall(vectors, queries, everything, rows) > theirs - 0.01


def test_an_index_of_other_vectors_or_of_other_dimensions_is_refused(
    small: tuple[Vectors, bytes], tmp_path: Path
) -> None:
    vectors, content = small
    path = tmp_path / "index"
    assert "its vector is not that of row" in refused(path, content, vectors + 1)
    assert "take 20 bytes, 4 dimensions take 16" in refused(path, content, vectors[:, :4].copy())
    assert "there are 59 vectors" in refused(path, content, vectors[:59])


def test_a_missing_index_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        HnswGraph(tmp_path / "nowhere", np.ones((1, 2), np.float32))


def test_wrong_arguments_are_refused_by_name(integers: tuple[Vectors, Path]) -> None:
    vectors, path = integers
    graph = HnswGraph(path, vectors)
    with pytest.raises(ValueError, match="queries: axis 1 must have 13 entries, got 3"):
        graph.search(vectors[:, :3].copy(), 1, 1)
    with pytest.raises(TypeError, match="queries: dtype float32 is needed, got float64"):
        graph.search(vectors.astype(np.float64), 1, 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="k must be 0 or more, got -1"):
        graph.search(vectors[:1], -1, 1)
    with pytest.raises(ValueError, match="ef must be 1 or more, got 0"):
        graph.search(vectors[:1], 1, 0)
    with pytest.raises(ValueError, match="widest must be 0 or more, got -1"):
        graph.search(vectors[:1], 1, 1, None, -1)
    with pytest.raises(ValueError, match="bits: at least 10 words are needed, got 9"):
        graph.search(vectors[:1], 1, 1, np.zeros(9, np.uint64))
    with pytest.raises(TypeError, match="bits: dtype uint64 is needed, got bool"):
        scan(vectors, np.zeros(ITEMS, np.bool_), vectors[:1], 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="k must be 0 or more, got -3"):
        scan(vectors, None, vectors[:1], -3)
