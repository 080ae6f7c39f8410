"""Which questions are asked, what ranks an item, and what the published protocols give."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis_pipeline.dataset import DatasetRejected, HeldOut, Interactions
from tamis_pipeline.evaluation import metrics
from tamis_pipeline.evaluation.protocols import (
    best,
    given_candidates,
    given_hits,
    given_places,
    left_out,
    newcomers,
    questions,
    some_questions,
)
from tamis_pipeline.readers import read_dataset
from tamis_pipeline.split import HOW, Split, split
from tamis_server.domain.context import EventKind


def events(*rows: tuple[int, int, float]) -> Interactions:
    users, items, times = zip(*rows, strict=True)
    return Interactions(
        np.array(users, np.int32),
        np.array(items, np.int32),
        np.array(times, np.float64),
        np.full(len(rows), EventKind.VIEW, np.uint8),
    )


@pytest.fixture
def shop() -> Interactions:
    rng = np.random.default_rng(0)
    rows = [(int(rng.integers(20)), int(rng.integers(30)), float(time)) for time in range(400)]
    return events(*rows)


def test_where_nobody_can_be_asked_it_is_said_why() -> None:
    known, later = events((0, 0, 1.0), (1, 0, 2.0)), events((0, 0, 3.0), (2, 1, 4.0), (3, 1, 5.0))
    with pytest.raises(DatasetRejected, match=r"of its 3 users 2 have no past, 1 took to nothing"):
        some_questions(Split(known, known, later, known))
    asked = events((1, 1, 3.0))
    assert [each.user for each in some_questions(Split(known, known, asked, known))] == [1]


@pytest.mark.parametrize("how", [how for how in HOW if how != "given"])
def test_every_event_is_in_one_part(shop: Interactions, how: str) -> None:
    parts = split(shop, how, 0.25, 0.2, seed=3)
    times = np.concatenate([parts.fit.times, parts.validation.times, parts.test.times])
    assert sorted(times) == shop.times.tolist()
    assert len(parts.fit) + len(parts.validation) == len(parts.train)
    assert len(parts.validation)


def test_leave_one_out_tests_the_last_event_of_each_user(shop: Interactions) -> None:
    test = split(shop, "leave-one-out", 0.1, 0.1).test
    assert test.users.shape == np.unique(shop.users).shape
    for user, time in zip(test.users, test.times, strict=True):
        assert time == shop.times[shop.users == user].max()


def test_leave_one_out_keeps_the_only_event_of_a_user_for_training() -> None:
    parts = split(events((0, 0, 1), (1, 0, 2), (1, 1, 3)), "leave-one-out", 0.1, 0.1)
    assert parts.test.users.tolist() == [1]


def test_a_random_split_is_of_the_share_and_of_the_seed(shop: Interactions) -> None:
    one, same, other = (split(shop, "random", 0.25, 0.1, seed).test.times for seed in (1, 1, 2))
    assert one.shape == (100,)
    assert (one == same).all()
    assert (one != other).any()


def test_a_given_split_tests_the_pairs_that_were_given() -> None:
    shop = events((0, 0, 1), (0, 1, 2), (1, 0, 3), (1, 2, 4))
    held_out = HeldOut(*(np.array(column, np.int32) for column in ([0, 1], [1, 0], [[2], [1]])))
    test = split(shop, "given", 0.5, 0.5, held_out=held_out).test
    assert list(zip(test.users, test.items, strict=True)) == [(0, 1), (1, 0)]
    with pytest.raises(DatasetRejected, match="without a test part"):
        split(shop, "given", 0.5, 0.5)


def test_an_unknown_split_is_refused(shop: Interactions) -> None:
    with pytest.raises(DatasetRejected, match=r"by-moon.*leave-one-out"):
        split(shop, "by-moon", 0.1, 0.1)


def test_who_is_asked_and_who_is_not_adds_up() -> None:
    train, test = events((0, 0, 1), (1, 0, 2)), events((0, 1, 5), (1, 0, 6), (2, 1, 7))
    parts = Split(train, train, test, train)
    assert [(q.user, q.relevant.tolist(), q.time) for q in questions(parts)] == [(0, [1], 5.0)]
    assert [q.user for q in newcomers(parts)] == [2]
    assert left_out(parts) == {"no past": 1, "nothing new": 1}


@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_the_best_are_those_of_a_full_sort(seed: int, depth: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (3, 10)).astype(np.float32)  # many ties
    available = rng.random(10) < 0.8
    histories = [rng.integers(0, 10, 2).astype(np.int32) for _ in range(3)]
    for row, history, found in zip(
        scores, histories, best(scores, histories, available, depth), strict=True
    ):
        allowed = [n for n in range(10) if available[n] and n not in history]
        expected = sorted(allowed, key=lambda n: (-row[n], n))[:depth]
        assert found[found >= 0].tolist() == expected


def test_a_tie_is_the_held_out_items_and_its_double_among_the_negatives_is_none() -> None:
    held_out = HeldOut(np.array([0]), np.array([7]), np.array([[7, 3, 4, 5]]))
    assert given_places(np.array([[1.0, 9.0, 1.0, 2.0, 0.0]]), held_out).tolist() == [1]
    with pytest.raises(ValueError, match="not finite"):
        given_places(np.array([[1.0, 9.0, 1.0, np.nan, 0.0]]), held_out)


def test_popularity_comes_out_as_published_for_ncf() -> None:
    """ItemPop .4538 / .2545, which proves reader, split and evaluator together."""
    root = Path(
        os.environ.get("TAMIS_TEST_DATA", Path(__file__).resolve().parents[3] / "shared/data")
    )
    if not (root / "movielens-1m-ncf").is_dir():
        pytest.skip(f"MovieLens 1M with NCF's test is not there: {root / 'movielens-1m-ncf'}")
    data = read_dataset("movielens-1m-ncf", root / "movielens-1m-ncf")
    assert data.held_out is not None
    train = split(data.interactions, "given", 0.0, 0.1, held_out=data.held_out).train
    assert len(train) == 1_000_209 - 6_040
    popularity = np.bincount(train.items, minlength=data.items.num_rows).astype(np.float32)
    places = given_places(popularity[given_candidates(data.held_out)], data.held_out)
    hits = given_hits(places, 10)
    one = np.ones(hits.shape[0], np.int64)
    assert metrics.hit_rate(hits, 10).mean() == pytest.approx(0.4538, abs=5e-5)
    assert metrics.ndcg(hits, one, 10).mean() == pytest.approx(0.2545, abs=5e-5)
