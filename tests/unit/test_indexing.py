"""How indices are built, and which of two is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tamis_kernels import IvfIndex, scan
from tamis_pipeline import indexing
from tamis_pipeline.bundle import write_bundle
from tamis_pipeline.config import PipelineConfig
from tamis_pipeline.indexing import AutoIndex, Lists, Measured, build_index, faster, queries_of
from tamis_pipeline.synthetic import random_parts
from tamis_server.bundles.loader import load
from tamis_server.bundles.manifest import HnswSpec, IvfSpec

AUTO = AutoIndex(kind="auto", recall=0.9)


def lists_of(items: int, lists: int, seed: int = 0) -> Lists:
    vectors = random_parts(items=items, users=1).vectors
    built = build_index(vectors, IvfSpec(kind="ivf", lists=lists, scanned=100), seed)
    assert isinstance(built, Lists)
    return built


def test_every_item_is_in_the_list_of_its_nearest_centroid() -> None:
    vectors = random_parts(items=1000, users=1).vectors
    lists = lists_of(1000, 30)
    assert lists.centroids.shape == (30, vectors.shape[1])
    np.testing.assert_allclose(np.linalg.norm(lists.centroids, axis=1), 1, atol=1e-5)
    assert sorted(lists.rows.tolist()) == list(range(1000))
    assert (lists.starts[0], lists.starts[-1]) == (0, 1000)
    nearest = (vectors @ lists.centroids.T).argmax(axis=1)
    for number in range(30):
        held = lists.rows[lists.starts[number] : lists.starts[number + 1]]
        assert (nearest[held] == number).all()


def test_one_seed_makes_one_index_and_more_lists_than_items_are_as_many_as_items() -> None:
    one, other = lists_of(300, 20, seed=5), lists_of(300, 20, seed=5)
    np.testing.assert_array_equal(one.rows, other.rows)
    np.testing.assert_array_equal(one.centroids, other.centroids)
    assert lists_of(7, 20).centroids.shape[0] == 7


def test_lists_put_what_is_alike_together() -> None:
    vectors = random_parts(items=2000, users=1).vectors
    lists = lists_of(2000, 40)
    index = IvfIndex(lists.centroids, lists.starts, lists.rows, vectors)
    found, _ = index.search(vectors[:50].copy(), 10, 400)
    exact, _ = scan(vectors, None, vectors[:50].copy(), 10)
    pairs = zip(found, exact, strict=True)
    assert np.mean([len(np.intersect1d(*pair)) / 10 for pair in pairs]) > 0.9


def test_of_two_indices_that_reach_the_recall_the_faster_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph, lists = (build_index(np.eye(4, dtype=np.float32), spec, 0) for spec in (
        HnswSpec(), IvfSpec(kind="ivf", lists=2, scanned=4),
    ))  # fmt: skip
    for (graph_recall, graph_us), (lists_recall, lists_us), kept in (
        ((0.95, 10.0), (0.95, 5.0), lists),
        ((0.95, 10.0), (0.99, 20.0), graph),
        ((0.85, 1.0), (0.95, 20.0), lists),
        ((0.85, 10.0), (0.80, 1.0), graph),
    ):
        for name, built, recall, us in (
            ("_least_graph", graph, graph_recall, graph_us),
            ("_least_lists", lists, lists_recall, lists_us),
        ):
            measured = Measured(built, recall, us)
            monkeypatch.setattr(indexing, name, lambda *_, of=measured: of)
        best, other = faster(np.eye(4, dtype=np.float32), np.eye(4, dtype=np.float32), AUTO, 0)
        assert best.built is kept
        assert other.built is not kept


def test_both_are_tried_with_growing_effort_until_they_find_enough() -> None:
    parts = random_parts(items=3000, users=40)
    queries = queries_of(parts.users, parts.encoder, (), parts.as_of, 0)
    assert 20 < queries.shape[0] <= 40
    np.testing.assert_allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-5)
    for measured in faster(parts.vectors, queries, AUTO, 0):
        assert measured.recall >= 0.9
        assert measured.us > 0
        assert "recall@100 0.9" in str(measured) or "recall@100 1.0" in str(measured)
        if isinstance(measured.built, Lists):
            assert measured.built.spec.reach is not None
            assert measured.built.spec.scanned < 3000


def test_both_are_asked_among_all_items_and_among_half_of_them() -> None:
    vectors = random_parts(items=301, users=1).vectors
    half = indexing._half(301, seed=0)
    assert np.bitwise_count(half).sum() == 151
    assert (indexing._half(301, seed=1) != half).any()
    asked = [indexing._Asked.of(vectors, vectors[:20], bits) for bits in (None, half)]
    for each in asked:
        bits = each.bits
        assert each.measure(lambda query, bits: scan(vectors, bits, query, 100)[0])[0] == 1
        assert each.measure(lambda query, bits: scan(vectors, bits, query, 50)[0])[0] == 0.5
        rows = np.unique(each.exact)
        if bits is not None:
            assert (bits[rows >> 6] >> (rows & 63).astype(np.uint64) & np.uint64(1)).all()


@pytest.mark.parametrize("users", [0, 20])
def test_a_bundle_says_which_index_was_kept(tmp_path: Path, users: int) -> None:
    notes: list[str] = []
    parts = replace(random_parts(items=800, users=users, content=8), index=AUTO)
    manifest = write_bundle(parts, tmp_path / "bundle", notes.append)
    (note,) = notes
    assert note.startswith(f"index: kept {manifest.index!r}")
    assert load(tmp_path / "bundle").index.size == 800


def test_the_configuration_takes_either_kind_or_leaves_it_open() -> None:
    def index(**settings: object) -> object:
        return PipelineConfig.model_validate({"index": settings}).index

    assert PipelineConfig().index == HnswSpec()
    assert index(ef_search=64) == HnswSpec(ef_search=64)
    assert index(kind="ivf", lists=4, scanned=9) == IvfSpec(kind="ivf", lists=4, scanned=9)
    assert index(kind="auto", recall=0.9) == AUTO
