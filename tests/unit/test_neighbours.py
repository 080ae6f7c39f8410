"""Item-to-item weights against the formulas written out over dense matrices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis_pipeline import neighbours
from tamis_pipeline.dataset import Interactions
from tamis_pipeline.neighbours import NeighboursConfig, fit, learn
from tamis_pipeline.split import split
from tamis_server.bundles.neighbours import Neighbours

ITEMS = 9
pairs = st.lists(st.tuples(st.integers(0, 11), st.integers(0, ITEMS - 1)), min_size=1, max_size=60)


def events(of: list[tuple[int, int]], kind: int = 2) -> Interactions:
    users, items = np.array(of, np.int32).reshape(-1, 2).T
    times = np.arange(users.shape[0], dtype=np.float64)
    return Interactions(users.copy(), items.copy(), times, np.full(users.shape[0], kind, np.uint8))


def dense(found: Neighbours) -> np.ndarray:
    weights = np.zeros((ITEMS, ITEMS))
    for row in range(ITEMS):
        for near, weight in zip(found.rows[row], found.weights[row], strict=True):
            if near >= 0:
                weights[row, near] = weight
    return weights


def taken(of: list[tuple[int, int]]) -> np.ndarray:
    matrix = np.zeros((12, ITEMS))
    for user, item in of:
        matrix[user, item] = 1
    return matrix


@given(of=pairs)
@settings(max_examples=60, deadline=None)
def test_with_all_items_as_support_it_is_ease(of: list[tuple[int, int]]) -> None:
    matrix = taken(of)
    inverse = np.linalg.inv(matrix.T @ matrix + 3.0 * np.eye(ITEMS))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0)
    found = fit(events(of), ITEMS, NeighboursConfig(support=ITEMS, width=ITEMS), 3.0)
    np.testing.assert_allclose(dense(found), expected, atol=1e-5)


@given(of=pairs, support=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_each_item_is_the_ridge_regression_on_its_support(
    of: list[tuple[int, int]], support: int
) -> None:
    matrix = taken(of)
    config = NeighboursConfig(support=support, width=ITEMS)
    weights = dense(fit(events(of), ITEMS, config, 2.0))
    for item in range(ITEMS):
        chosen = np.flatnonzero(weights[:, item])
        assert chosen.shape[0] <= support
        assert item not in chosen
        if chosen.shape[0] == support:
            x = matrix[:, chosen]
            solved = np.linalg.solve(x.T @ x + 2.0 * np.eye(support), x.T @ matrix[:, item])
            np.testing.assert_allclose(weights[chosen, item], solved, atol=1e-5)


@given(of=pairs)
@settings(max_examples=60, deadline=None)
def test_a_large_catalogue_has_shrunk_cosines(of: list[tuple[int, int]]) -> None:
    matrix = taken(of)
    counts = matrix.sum(axis=0)
    expected = (matrix.T @ matrix) / (np.sqrt(np.outer(counts, counts)) + 2.0)
    np.fill_diagonal(expected, 0)
    found = fit(events(of), ITEMS, NeighboursConfig(width=ITEMS, dense=0, shrink=2.0), 1.0)
    np.testing.assert_allclose(dense(found), expected, atol=1e-6)


def test_only_the_strongest_of_an_item_are_kept() -> None:
    of = [(user, 0) for user in range(8)]
    of += [(user, item) for item in range(1, 6) for user in range(item)]
    found = fit(events(of), ITEMS, NeighboursConfig(width=2, dense=0), 1.0)
    assert found.rows[0].tolist() == [4, 5]


@pytest.mark.parametrize("kind", [0, 6, 7, 8])
def test_what_does_not_speak_for_an_item_makes_no_neighbours(kind: int) -> None:
    found = fit(events([(0, 1), (0, 2)], kind), ITEMS, NeighboursConfig(), 1.0)
    assert (found.rows == -1).all()


def test_items_nobody_met_and_a_catalogue_of_one_have_no_neighbours() -> None:
    assert (fit(events([(0, 3)]), ITEMS, NeighboursConfig(), 1.0).rows == -1).all()
    found = fit(events([(0, 3), (0, 4), (1, 3)]), ITEMS, NeighboursConfig(width=3), 1.0)
    assert (found.rows[[0, 1, 2, 5]] == -1).all()


@st.composite
def tables(draw: st.DrawFn) -> Neighbours:
    width = draw(st.integers(0, 3))
    rows = draw(
        st.lists(
            st.lists(st.integers(-1, ITEMS - 1), min_size=width, max_size=width),
            min_size=ITEMS,
            max_size=ITEMS,
        )
    )
    found = np.array(rows, np.int32).reshape(ITEMS, width)
    weights = np.linspace(-1, 2, found.size, dtype=np.float32).reshape(found.shape)
    return Neighbours(found, np.where(found < 0, 0, weights).astype(np.float32))


@given(
    table=tables(),
    history=st.lists(st.integers(0, ITEMS + 2), max_size=8),
    candidates=st.lists(st.integers(0, ITEMS + 2), max_size=8),
)
def test_affinity_is_the_sum_over_the_distinct_items_met(
    table: Neighbours, history: list[int], candidates: list[int]
) -> None:
    expected = np.zeros(ITEMS + 3)
    for item in {item for item in history if item < ITEMS}:
        for near, weight in zip(table.rows[item], table.weights[item], strict=True):
            if near >= 0:
                expected[near] += weight
    rows = np.array(history, np.int32)
    towards = table.towards(rows, np.array(candidates, np.int32))
    np.testing.assert_allclose(towards, expected[candidates], atol=1e-5)
    found, scores = table.around(rows)
    unmet = [row for row in range(ITEMS) if row not in history and expected[row] > 1e-5]
    assert set(unmet) <= {*found.tolist()}
    assert not {*found.tolist()} & {*history}
    np.testing.assert_allclose(scores, expected[found], atol=1e-5)


def test_without_a_table_nothing_goes_with_anything() -> None:
    nothing, rows = Neighbours.none(), np.array([1, 2], np.int32)
    assert nothing.towards(rows, rows).tolist() == [0, 0]
    assert nothing.around(rows)[0].shape == (0,)


def test_the_ridge_that_ranks_best_what_validates_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(40), 4)
    crowd = users % 2 * 4
    of = list(zip((users % 12).tolist(), (crowd + rng.integers(0, 4, 160)).tolist(), strict=True))
    parts = split(events(of), "random", 0.2, 0.3)
    config = NeighboursConfig(support=4, width=4, ridges=(5.0, 1.0, 3.0))
    worths = iter([0.1, 0.3, 0.2])
    monkeypatch.setattr(neighbours, "worth", lambda *_: next(worths))
    found = learn(parts, ITEMS, config, seed=0)
    for known, each in zip((parts.fit, parts.train), found, strict=True):
        expected = fit(known, ITEMS, config, 1.0)
        np.testing.assert_array_equal(each.weights, expected.weights)
