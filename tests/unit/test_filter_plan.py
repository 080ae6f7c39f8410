"""Which way is taken for which filter, and that what a way misses is completed."""

from __future__ import annotations

from pathlib import Path

import hnswlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tamis_kernels import scan
from tamis_pipeline.bundle import write_bundle
from tamis_pipeline.synthetic import random_parts
from tamis_server.adapters.embedded.filter_plan import FilterCosts, Way
from tamis_server.adapters.embedded.hnsw import NearestItems
from tamis_server.bundles.loader import Bundle, load
from tamis_server.bundles.manifest import INDEX
from tamis_server.domain.candidates import Vectors
from tamis_server.domain.context import Eligible

SIZE, K = 100_000, 100
COSTS = FilterCosts(SIZE, 64, 200)
ITEMS = 2_000


def eligible(mask: NDArray[np.bool_]) -> Eligible:
    bits = np.packbits(np.pad(mask, (0, -len(mask) % 64)), bitorder="little").view(np.uint64)
    return Eligible(bits, int(mask.sum()))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    directory = tmp_path_factory.mktemp("bundles") / "shop"
    write_bundle(random_parts(items=ITEMS, users=2), directory)
    return load(directory)


@pytest.mark.parametrize(
    ("allowed", "way"),
    [
        (SIZE, Way.GRAPH),
        (SIZE - 1, Way.POST),
        (SIZE - 50, Way.POST),
        (SIZE - 51, Way.FILTERED),
        (SIZE // 2, Way.FILTERED),
        (SIZE // 10, Way.EXACT),
        (SIZE // 100, Way.EXACT),
        (K, Way.EXACT),
        (0, Way.EXACT),
    ],
)
def test_few_allowed_rows_are_scanned_and_many_searched(allowed: int, way: Way) -> None:
    assert COSTS.plan(allowed, K).way is way


@given(
    size=st.integers(1, 10**7),
    share=st.floats(0, 1),
    k=st.integers(1, 1000),
    dims=st.integers(1, 1024),
    ef_search=st.integers(1, 1000),
)
def test_the_cheapest_way_is_taken_and_no_beam_costs_more_than_a_scan(
    size: int, share: float, k: int, dims: int, ef_search: int
) -> None:
    costs, allowed = FilterCosts(size, dims, ef_search), int(size * share)
    plan = costs.plan(allowed, k)
    if plan.way is Way.EXACT:
        assert plan.ef == plan.widest == 0
        return
    assert plan.expected_us < costs.exact_us(allowed)
    assert min(k, allowed) <= plan.ef <= plan.widest <= size
    if plan.way is Way.FILTERED and plan.widest > plan.ef:
        assert costs.beam_us(plan.widest - 1) <= costs.exact_us(allowed)


@given(k=st.integers(1, 500), size=st.integers(1, 10**6))
def test_beyond_the_crossover_nothing_is_scanned(k: int, size: int) -> None:
    costs = FilterCosts(size, 64, 200)
    crossover = costs.crossover(k)
    for allowed in {0, crossover // 2, crossover - 1} - {-1}:
        assert costs.plan(allowed, k).way is Way.EXACT
    for allowed in {crossover, (crossover + size) // 2}:
        if crossover < size:
            assert costs.plan(allowed, k).way is not Way.EXACT


def test_the_setting_overrides_the_costs() -> None:
    costs = FilterCosts(SIZE, 64, 200, exact_below=500)
    assert costs.plan(500, K).way is Way.EXACT
    assert costs.plan(501, K).way is Way.FILTERED
    assert costs.plan(SIZE, K).way is Way.GRAPH


def exact(bundle: Bundle, query: Vectors, mask: NDArray[np.bool_], k: int) -> list[int]:
    rows, _ = scan(bundle.vectors, eligible(mask).bits, query, k)
    return [row for row in rows[0].tolist() if row >= 0]


@pytest.mark.parametrize("share", [1.0, 0.995, 0.9, 0.5, 0.1, 0.01, 0.0])
@pytest.mark.parametrize("exact_below", [0, None])
async def test_recall_is_kept_at_every_selectivity(
    bundle: Bundle, share: float, exact_below: int | None
) -> None:
    nearest = NearestItems(bundle.index, bundle.vectors, ef_search=100, exact_below=exact_below)
    rng = np.random.default_rng(7)
    recalls = []
    for query in bundle.vectors[:40, None]:
        mask = rng.random(ITEMS) < share
        (found,) = nearest.search(query, 20, eligible(mask))
        wanted = exact(bundle, query, mask, 20)
        assert mask[found.rows].all()
        assert len(found.rows) == len(wanted)
        recalls.append(len(set(wanted) & set(found.rows.tolist())) / max(1, len(wanted)))
    if share > 0:
        assert np.mean(recalls) > 0.95
    assert sum(tally.queries for tally in nearest.tallies.values()) == 40


async def test_a_filter_far_from_the_query_is_completed_by_a_scan_and_counted(
    bundle: Bundle,
) -> None:
    nearest = NearestItems(bundle.index, bundle.vectors, ef_search=64, exact_below=0)
    query = bundle.vectors[:1]
    mask = np.zeros(ITEMS, np.bool_)
    mask[np.argsort(bundle.vectors @ query[0])[:200]] = True
    (found,) = nearest.search(query, 20, eligible(mask))
    assert found.rows.tolist() == exact(bundle, query, mask, 20)
    tally = nearest.tallies[Way.FILTERED]
    assert (tally.queries, tally.completed) == (1, 1)
    assert tally.seconds > 0


async def test_more_than_the_graph_reaches_is_completed(tmp_path: Path) -> None:
    # duplicates linked to each other alone cut the graph in parts
    parts = random_parts(items=300, users=2)
    parts.vectors[:] = np.repeat(parts.vectors[:2], 150, axis=0)
    write_bundle(parts, tmp_path / "bundle")
    bundle = load(tmp_path / "bundle")
    nearest = NearestItems(bundle.index, bundle.vectors, ef_search=64, exact_below=0)
    everything = np.ones(300, np.bool_)
    for mask in (everything, np.arange(300) != 7, np.arange(300) % 3 > 0):
        (found,) = nearest.search(bundle.vectors[:1], 300, eligible(mask))
        assert sorted(found.rows.tolist()) == np.flatnonzero(mask).tolist()


@pytest.mark.parametrize("least", [0, 1, 500, ITEMS - 10, ITEMS])
async def test_bits_beyond_the_base_are_not_searched(bundle: Bundle, least: int) -> None:
    nearest = NearestItems(bundle.index, bundle.vectors, ef_search=100)
    assert nearest.size == ITEMS
    beyond = np.arange(ITEMS + 5_000) >= least
    (found,) = nearest.search(bundle.vectors[:1], 2 * ITEMS, eligible(beyond))
    assert sorted(found.rows.tolist()) == list(range(least, ITEMS))


async def test_the_graph_is_searched_as_well_as_by_hnswlib(bundle: Bundle) -> None:
    theirs = hnswlib.Index(space="ip", dim=bundle.manifest.dim)
    theirs.load_index(str(bundle.directory / INDEX))
    theirs.set_ef(64)
    nearest = NearestItems(bundle.index, bundle.vectors, ef_search=64, exact_below=0)
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
