"""Which way of searching a graph is taken for which filter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis_server.adapters.embedded.filter_plan import FilterCosts, Way

SIZE, K = 100_000, 100
COSTS = FilterCosts(SIZE, 64, 200)


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
