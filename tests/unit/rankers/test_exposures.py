"""What would have been ranked: the positive first, nothing the user met, features as of then."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tamis_pipeline.dataset import DatasetRejected, Interactions
from tamis_pipeline.rankers.exposures import ExposureConfig, Exposures, ItemTables, listed, sampled
from tamis_pipeline.rankers.objectives import DEFAULT, labels
from tamis_pipeline.rankers.requests import Requests, requests
from tamis_pipeline.twotower import Towers
from tamis_server.bundles import features
from tamis_server.bundles.neighbours import Neighbours
from tamis_server.bundles.query_tower import HOURS, WEEKDAYS
from tamis_server.domain.context import EventKind

ITEMS, USERS, DIM = 60, 12, 8
CONFIG = ExposureConfig(personal=15, together=5, popular=5, history=4)


def world(seed: int) -> tuple[Requests, ItemTables, Towers, Interactions]:
    rng = np.random.default_rng(seed)
    n = 300
    events = Interactions(
        rng.integers(0, USERS, n).astype(np.int32),
        rng.integers(0, ITEMS, n).astype(np.int32),
        np.sort(rng.uniform(0, 1e6, n)),
        rng.choice([1, 2, 4, 5, 6], n).astype(np.uint8),
    )
    vectors = rng.normal(size=(ITEMS, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    popularity = np.bincount(events.items, minlength=ITEMS).astype(np.float32)
    tables = ItemTables(
        fields=rng.integers(0, 4, (ITEMS, 2)).astype(np.int32),
        dense=rng.normal(size=(ITEMS, 2)).astype(np.float32),
        popularity=popularity,
        log_popularity=features.log_popularity(popularity),
        vectors=vectors,
    )
    encoder = {
        "history_table": vectors,
        "kind_weight": np.array([0, 1, 1, 1, 1, 1, -1, 0, -1], np.float32),
        "seeds": np.zeros((DIM, 1), np.float32),
        "kind_bias": np.zeros((9, 1), np.float32),
        "recency_bias": np.log(0.9) * np.arange(6, dtype=np.float32)[:, None],
        "context_table": np.zeros((HOURS + WEEKDAYS, DIM), np.float32),
        "w_context": np.zeros((DIM, 2), np.float32),
        "skip": np.eye(DIM, dtype=np.float32),
        "w1": np.zeros((DIM, 2), np.float32),
        "b1": np.zeros(2, np.float32),
        "w2": np.zeros((2, DIM), np.float32),
        "b2": np.zeros(DIM, np.float32),
    }
    late = events.times > 7e5
    return requests(events, events.take(late)), tables, Towers(vectors, encoder), events


def request_of(asked: Requests, exposed: Exposures, row: int) -> int:
    """Which request an exposure belongs to: some were left out."""
    same = (asked.targets == exposed.items[row, 0]) & (asked.outcomes == exposed.outcomes[row])
    history = exposed.history_items[row]
    for i in np.flatnonzero(same):
        before = asked.past.items[asked.begin[i] : asked.end[i]][::-1][: history.shape[0]]
        if before.tolist() == history[: before.shape[0]].tolist():
            return int(i)
    raise AssertionError("no such request")


@pytest.mark.parametrize("seed", range(3))
def test_candidates_are_the_positive_and_items_the_user_never_meets(seed: int) -> None:
    asked, tables, towers, _ = world(seed)
    few = sampled(asked, tables, towers, CONFIG, np.random.default_rng(seed))
    whole = listed(asked, tables, towers, CONFIG)
    assert len(few) == len(whole) > 0
    assert few.items.shape[1] == 1 + 32 + 6 + 2
    assert (few.items >= 0).all()
    for exposed in (few, whole):
        for row in range(len(exposed)):
            i = request_of(asked, exposed, row)
            others = exposed.items[row, 1:]
            others = others[others >= 0]
            met = asked.past.items[asked.begin[i] : asked.last[i]]
            assert not np.isin(others, met).any()
            assert exposed.items[row, 0] == asked.targets[i]
            assert asked.targets[i] not in others
    for row in range(len(whole)):
        there = whole.items[row][whole.items[row] >= 0]
        assert np.unique(there).shape == there.shape, "each item once"


def test_features_are_those_that_serving_computes_from_what_was_known() -> None:
    asked, tables, towers, _ = world(1)
    exposed = listed(asked, tables, towers, CONFIG)
    for row in range(len(exposed)):
        i = request_of(asked, exposed, row)
        known = slice(asked.begin[i], asked.end[i])
        rows, kinds = asked.past.items[known], asked.past.kinds[known]
        fields, dense = features.user_features(
            rows,
            asked.past.times[known],
            kinds,
            float(asked.times[i]),
            tables.fields,
            tables.log_popularity,
        )
        query = exposed.user_dense[row, dense.shape[0] :]
        assert exposed.user_fields[row].tolist() == fields.tolist()
        assert exposed.user_dense[row, : dense.shape[0]].tolist() == dense.tolist()
        there = exposed.items[row] >= 0
        near = features.cross_features(
            tables.vectors,
            tables.neighbours,
            exposed.items[row, there],
            query if query.any() else None,
            rows,
            kinds,
        )
        np.testing.assert_array_equal(exposed.cross[row, there], near)


def test_later_events_change_nothing_but_what_is_no_negative() -> None:
    asked, tables, towers, events = world(2)
    shuffled = np.random.default_rng(0).permutation(ITEMS).astype(np.int32)
    moment = float(np.median(asked.times))
    later = events.times >= moment
    changed = replace(events, items=np.where(later, shuffled[events.items], events.items))
    early = Interactions(
        events.users[~later], events.items[~later], events.times[~later], events.kinds[~later]
    )
    then = early.take(early.times > 7e5)
    first = listed(requests(events, then), tables, towers, CONFIG)
    second = listed(requests(changed, then), tables, towers, CONFIG)
    np.testing.assert_array_equal(first.user_fields, second.user_fields)
    np.testing.assert_array_equal(first.user_dense, second.user_dense)
    np.testing.assert_array_equal(first.history_items, second.history_items)


def test_the_same_seed_draws_the_same_negatives() -> None:
    asked, tables, towers, _ = world(3)
    first, second = (
        sampled(asked, tables, towers, CONFIG, np.random.default_rng(7)) for _ in range(2)
    )
    np.testing.assert_array_equal(first.items, second.items)


def test_a_positive_that_retrieval_would_miss_teaches_nothing() -> None:
    asked, tables, towers, _ = world(4)
    exposed = listed(asked, tables, towers, ExposureConfig(personal=2, together=0, popular=0))
    assert len(exposed) < len(asked)
    for row in range(len(exposed)):
        scores = tables.vectors @ exposed.user_dense[row, -DIM:]
        i = request_of(asked, exposed, row)
        met = asked.past.items[asked.begin[i] : asked.last[i]]
        unmet = np.setdiff1d(np.arange(ITEMS), np.setdiff1d(met, asked.targets[i]))
        assert (scores[unmet] > scores[asked.targets[i]]).sum() < 2


def test_what_goes_with_the_history_is_a_candidate_and_what_most_sources_find_comes_first() -> None:
    asked, tables, towers, _ = world(6)
    rows = np.full((ITEMS, 2), -1, np.int32)
    rows[:, 0] = (np.arange(ITEMS) + 1) % ITEMS
    rows[:, 1] = (np.arange(ITEMS) + 2) % ITEMS
    weights = np.tile(np.array([2, 1], np.float32), (ITEMS, 1))
    tables = replace(tables, neighbours=Neighbours(rows, weights))
    together = ExposureConfig(personal=0, together=ITEMS, popular=0, candidates=ITEMS)
    exposed = listed(asked, tables, towers, together)
    for row in range(len(exposed)):
        i = request_of(asked, exposed, row)
        known = slice(asked.begin[i], asked.end[i])
        taken = asked.past.items[known][features.is_positive(asked.past.kinds[known])]
        near, scores = tables.neighbours.around(taken)
        met = asked.past.items[asked.begin[i] : asked.last[i]]
        expected = {each for each in near.tolist() if each not in met}
        found = exposed.items[row, 1:]
        assert {*found[found >= 0].tolist()} == expected
        order = dict(zip(near.tolist(), scores.tolist(), strict=True))
        by_score = [order[each] for each in found[found >= 0].tolist()]
        assert by_score == sorted(by_score, reverse=True)
    two = ExposureConfig(personal=ITEMS, together=ITEMS, popular=0, candidates=5)
    best = listed(asked, tables, towers, two)
    assert best.items.shape[1] == 1 + 5


def test_nothing_to_learn_from_is_said() -> None:
    asked, tables, towers, _ = world(5)
    with pytest.raises(DatasetRejected, match="no positive event to learn ranking from"):
        listed(asked.take(np.empty(0, np.intp)), tables, towers, CONFIG)


def test_labels_say_which_objectives_the_positive_fulfilled() -> None:
    outcomes = np.array([1 << EventKind.VIEW, 1 << EventKind.VIEW | 1 << EventKind.LIKE], np.uint16)
    assert [objective.name for objective in DEFAULT] == ["click", "like"]
    assert labels(outcomes, DEFAULT).tolist() == [[1, 0], [1, 1]]
