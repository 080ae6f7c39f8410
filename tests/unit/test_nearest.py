"""What every index must find among the allowed items, whichever way it takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import hnswlib
import numpy as np
import pytest
from numpy.typing import NDArray

from tamis_kernels import HnswGraph, IvfIndex, scan
from tamis_pipeline.bundle import write_bundle
from tamis_pipeline.synthetic import random_parts
from tamis_server.adapters.embedded.filter_plan import Way
from tamis_server.adapters.embedded.hnsw import GraphSearcher
from tamis_server.adapters.embedded.ivf import ListSearcher
from tamis_server.adapters.embedded.nearest import NearestItems
from tamis_server.bundles.loader import Bundle, load
from tamis_server.bundles.manifest import INDEX, HnswSpec, IvfSpec
from tamis_server.domain.candidates import Vectors
from tamis_server.domain.context import Eligible

ITEMS = 2_000
KINDS = {
    "graph": HnswSpec(m=8, ef_construction=64, ef_search=64),
    "lists": IvfSpec(kind="ivf", lists=60, scanned=1000),
    "lists within reach": IvfSpec(kind="ivf", lists=60, scanned=2000, reach=3.0),
}
Nearest = Callable[..., NearestItems]


def eligible(mask: NDArray[np.bool_]) -> Eligible:
    bits = np.packbits(np.pad(mask, (0, -len(mask) % 64)), bitorder="little").view(np.uint64)
    return Eligible(bits, int(mask.sum()))


def nearest_of(bundle: Bundle, exact_below: int | None = None) -> NearestItems:
    vectors = bundle.vectors
    if isinstance(bundle.index, HnswGraph):
        graph = GraphSearcher(
            bundle.index, vectors.shape[1], ef_search=100, exact_below=exact_below
        )
        return NearestItems(graph, vectors)
    spec = bundle.manifest.index
    assert isinstance(bundle.index, IvfIndex)
    assert isinstance(spec, IvfSpec)
    lists = ListSearcher(
        bundle.index, vectors, scanned=spec.scanned, reach=spec.reach, exact_below=exact_below
    )
    return NearestItems(lists, vectors)


@pytest.fixture(scope="module", params=KINDS)
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    directory = tmp_path_factory.mktemp("bundles") / "shop"
    write_bundle(random_parts(items=ITEMS, users=2, index=KINDS[request.param]), directory)
    return load(directory)


def exact(bundle: Bundle, query: Vectors, mask: NDArray[np.bool_], k: int) -> list[int]:
    rows, _ = scan(bundle.vectors, eligible(mask).bits, query, k)
    return [row for row in rows[0].tolist() if row >= 0]


@pytest.mark.parametrize("share", [1.0, 0.995, 0.9, 0.5, 0.1, 0.01, 0.0])
@pytest.mark.parametrize("exact_below", [0, None])
def test_recall_is_kept_at_every_selectivity(
    bundle: Bundle, share: float, exact_below: int | None
) -> None:
    nearest = nearest_of(bundle, exact_below)
    rng = np.random.default_rng(7)
    recalls = []
    for query in bundle.vectors[:40, None]:
        mask = rng.random(ITEMS) < share
        (found,) = nearest.search(query, 20, eligible(mask))
        wanted = exact(bundle, query, mask, 20)
        assert mask[found.rows].all()
        assert len(found.rows) == len(wanted)
        assert (np.diff(found.scores) <= 0).all()
        recalls.append(len(set(wanted) & set(found.rows.tolist())) / max(1, len(wanted)))
    if share > 0:
        assert np.mean(recalls) > 0.95
    assert sum(tally.queries for tally in nearest.tallies.values()) == 40


@pytest.mark.parametrize("exact_below", [0, None])
def test_a_filter_far_from_the_query_loses_nothing(bundle: Bundle, exact_below: int | None) -> None:
    query = bundle.vectors[:1]
    mask = np.zeros(ITEMS, np.bool_)
    mask[np.argsort(bundle.vectors @ query[0])[:200]] = True
    nearest = nearest_of(bundle, exact_below)
    (found,) = nearest.search(query, 20, eligible(mask))
    assert found.rows.tolist() == exact(bundle, query, mask, 20)
    (tally,) = [tally for tally in nearest.tallies.values() if tally.queries]
    assert tally.queries == 1
    assert tally.seconds > 0


@pytest.mark.parametrize(
    ("reach", "share", "way"),
    [
        (None, 0.5, Way.LISTS),
        (None, 0.04, Way.EXACT),
        (3.0, 0.04, Way.LISTS),
        (3.0, 0.005, Way.EXACT),
    ],
)
def test_few_allowed_rows_are_scanned_and_within_a_reach_fewer(
    tmp_path: Path, reach: float | None, share: float, way: Way
) -> None:
    write_bundle(random_parts(items=ITEMS, users=2, index=KINDS["lists"]), tmp_path / "bundle")
    bundle = load(tmp_path / "bundle")
    assert isinstance(bundle.index, IvfIndex)
    allowed = eligible(np.random.default_rng(3).random(ITEMS) < share)
    searcher = ListSearcher(bundle.index, bundle.vectors, scanned=500, reach=reach)
    assert searcher.search(bundle.vectors[:1], 100, allowed.bits, allowed.count).way is way


def test_what_a_graph_misses_is_scanned_and_counted(tmp_path: Path) -> None:
    # all that is allowed is alike, and unlike all else: links lead elsewhere
    parts = random_parts(items=3000, users=2, index=KINDS["graph"])
    parts.vectors[:] = np.eye(16, dtype=np.float32)[0]
    parts.vectors[:300] = -np.eye(16, dtype=np.float32)[0]
    write_bundle(parts, tmp_path / "bundle")
    nearest = nearest_of(load(tmp_path / "bundle"), exact_below=0)
    mask = np.arange(3000) < 300
    (found,) = nearest.search(parts.vectors[-1:].copy(), 250, eligible(mask))
    assert found.rows.tolist() == list(range(250))
    tally = nearest.tallies[Way.FILTERED]
    assert (tally.queries, tally.completed) == (1, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_all_is_found_of_items_that_are_all_alike(tmp_path: Path, kind: str) -> None:
    # duplicates linked to each other alone cut the graph in parts
    parts = random_parts(items=300, users=2, index=KINDS[kind])
    parts.vectors[:] = np.repeat(parts.vectors[:2], 150, axis=0)
    write_bundle(parts, tmp_path / "bundle")
    nearest = nearest_of(load(tmp_path / "bundle"), exact_below=0)
    everything = np.ones(300, np.bool_)
    for mask in (everything, np.arange(300) != 7, np.arange(300) % 3 > 0):
        (found,) = nearest.search(parts.vectors[:1], 300, eligible(mask))
        assert sorted(found.rows.tolist()) == np.flatnonzero(mask).tolist()


@pytest.mark.parametrize("least", [0, 1, 500, ITEMS - 10, ITEMS])
def test_bits_beyond_the_base_are_not_searched(bundle: Bundle, least: int) -> None:
    nearest = nearest_of(bundle)
    assert nearest.size == ITEMS
    beyond = np.arange(ITEMS + 5_000) >= least
    (found,) = nearest.search(bundle.vectors[:1], 2 * ITEMS, eligible(beyond))
    assert sorted(found.rows.tolist()) == list(range(least, ITEMS))


def test_the_nearest_of_all_are_those_that_a_search_without_a_filter_finds(
    bundle: Bundle,
) -> None:
    nearest = nearest_of(bundle)
    queries = bundle.vectors[:3].copy()
    for one, other in zip(
        nearest.neighbours(queries, 8), nearest.search(queries, 8, None), strict=True
    ):
        np.testing.assert_array_equal(one.rows, other.rows)
        assert one.rows.shape == (8,)


def test_the_graph_is_searched_as_well_as_by_hnswlib(tmp_path: Path) -> None:
    write_bundle(random_parts(items=ITEMS, users=2, index=KINDS["graph"]), tmp_path / "bundle")
    bundle = load(tmp_path / "bundle")
    theirs = hnswlib.Index(space="ip", dim=bundle.manifest.dim)
    theirs.load_index(str(bundle.directory / INDEX.hnsw))
    theirs.set_ef(64)
    assert isinstance(bundle.index, HnswGraph)
    searcher = GraphSearcher(bundle.index, bundle.manifest.dim, ef_search=64, exact_below=0)
    nearest = NearestItems(searcher, bundle.vectors)
    queries = np.ascontiguousarray(bundle.vectors[::40] + np.float32(0.1))
    labels, _ = theirs.knn_query(queries, k=20)
    found = nearest.search(queries, 20, None)
    everything = np.ones(ITEMS, np.bool_)
    hits = {"ours": 0, "theirs": 0}
    for query, ours, label in zip(queries[:, None], found, labels, strict=True):
        wanted = set(exact(bundle, query, everything, 20))
        hits["ours"] += len(wanted & set(ours.rows.tolist()))
        hits["theirs"] += len(wanted & set(label.tolist()))
    assert hits["ours"] >= 0.99 * hits["theirs"]
