"""Metrics are what their definitions say: by hand, and beside slow and obvious code."""

from __future__ import annotations

from dataclasses import astuple
from itertools import combinations
from math import log, log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tamis_pipeline.evaluation import confidence, metrics, probabilities, variety

LISTS = np.array([[3, 1, 4, -1], [5, 0, 2, 6]], np.int32)
RELEVANT = [np.array([1, 9], np.int32), np.array([5, 2, 6], np.int32)]
SIZES = np.array([2, 3])


def test_an_item_is_relevant_to_the_user_it_is_relevant_to() -> None:
    expected = [[False, True, False, False], [True, False, True, True]]
    assert metrics.found(LISTS, RELEVANT).tolist() == expected


def test_metrics_by_hand() -> None:
    hits = metrics.found(LISTS, RELEVANT)
    assert metrics.recall(hits, SIZES, 3).tolist() == [1 / 2, 2 / 3]
    assert metrics.precision(hits, 4).tolist() == [1 / 4, 3 / 4]
    assert metrics.hit_rate(hits, 1).tolist() == [0, 1]
    assert metrics.reciprocal_rank(hits).tolist() == [1 / 2, 1]
    first = (1 / log2(3)) / (1 + 1 / log2(3))
    second = (1 + 1 / log2(4)) / (1 + 1 / log2(3) + 1 / log2(4))
    np.testing.assert_allclose(metrics.ndcg(hits, SIZES, 3), [first, second])
    expected = [1 / 2 / 2, (1 + 2 / 3 + 3 / 4) / 3]
    np.testing.assert_allclose(metrics.average_precision(hits, SIZES, 4), expected)


@given(st.integers(0, 2**32 - 1), st.integers(1, 8))
def test_metrics_are_those_of_obvious_loops(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    lists = np.array([rng.permutation(12)[:8] for _ in range(5)], np.int32)
    lists[2, 5:] = -1
    relevant = [
        rng.choice(12, rng.integers(1, 7), replace=False).astype(np.int32) for _ in range(5)
    ]
    sizes = np.array([rows.shape[0] for rows in relevant])
    hits = metrics.found(lists, relevant)
    for user, (row, wanted) in enumerate(zip(lists.tolist(), relevant, strict=True)):
        got = [item >= 0 and item in wanted.tolist() for item in row]
        places = [place for place, hit in enumerate(got) if hit and place < k]
        ideal = sum(1 / log2(2 + place) for place in range(min(k, len(wanted))))
        assert metrics.recall(hits, sizes, k)[user] == len(places) / len(wanted)
        assert metrics.precision(hits, k)[user] == len(places) / k
        assert metrics.hit_rate(hits, k)[user] == bool(places)
        assert metrics.ndcg(hits, sizes, k)[user] == pytest.approx(
            sum(1 / log2(2 + place) for place in places) / ideal
        )
        assert metrics.average_precision(hits, sizes, k)[user] == pytest.approx(
            sum((n + 1) / (place + 1) for n, place in enumerate(places)) / min(k, len(wanted))
        )
        all_places = [place for place, hit in enumerate(got) if hit]
        first = 1 / (1 + all_places[0]) if all_places else 0
        assert metrics.reciprocal_rank(hits)[user] == first


def test_coverage_counts_what_is_shown_to_anybody() -> None:
    assert variety.coverage(LISTS, 10) == 7 / 10


def test_what_everybody_met_is_no_news() -> None:
    counts = np.array([9, 4, 0], np.float32)
    lists = np.array([[0, -1], [1, 2], [-1, -1]], np.int32)
    np.testing.assert_allclose(variety.novelty(lists, counts, 9), [0, (1 + log2(10)) / 2, 0])


@given(st.integers(0, 2**32 - 1))
def test_diversity_is_one_less_the_mean_cosine_of_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(9, 4)).astype(np.float32)
    vectors[3] = 0.0
    lists = np.array([rng.permutation(9)[:5] for _ in range(3)], np.int32)
    lists[1, 2:] = -1
    lists[2, 1:] = -1
    found = variety.diversity(lists, vectors)
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    for user in range(2):
        rows = lists[user][lists[user] >= 0]
        expected = np.mean([1 - unit[a] @ unit[b] for a, b in combinations(rows, 2)])
        assert found[user] == pytest.approx(expected, abs=1e-5)
    assert found[2] == 0


scores_and_labels = st.integers(2, 40).flatmap(
    lambda n: st.tuples(
        arrays(np.bool_, n),
        arrays(np.int64, n, elements=st.integers(0, 5)).map(lambda a: a / 5),
        arrays(np.int64, n, elements=st.integers(0, 3)),
    )
)


def pairwise_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    positives, negatives = scores[labels], scores[~labels]
    if not positives.size or not negatives.size:
        return float("nan")
    above = positives[:, None] > negatives
    return float((above + 0.5 * (positives[:, None] == negatives)).mean())


@given(scores_and_labels)
def test_auc_is_the_share_of_pairs_in_order(case: tuple[np.ndarray, ...]) -> None:
    labels, scores, groups = case
    assert probabilities.auc(labels, scores) == pytest.approx(
        pairwise_auc(labels, scores), nan_ok=True
    )
    own = [(pairwise_auc(labels[groups == g], scores[groups == g]), (groups == g).sum())
           for g in np.unique(groups)]  # fmt: skip
    usable = [(value, size) for value, size in own if np.isfinite(value)]
    expected = (
        sum(value * size for value, size in usable) / sum(size for _, size in usable)
        if usable
        else float("nan")
    )
    assert probabilities.gauc(labels, scores, groups) == pytest.approx(expected, nan_ok=True)


def test_logloss_and_calibration_by_hand() -> None:
    labels = np.array([True, False, False, False])
    foretold = np.array([0.8, 0.8, 0.1, 0.1])
    expected = -(log(0.8) + log(0.2) + 2 * log(0.9)) / 4
    assert probabilities.logloss(labels, foretold) == pytest.approx(expected)
    assert probabilities.ece(labels, foretold, bins=2) == pytest.approx((0.3 + 0.1) / 2)


def test_a_calibrated_guess_has_no_calibration_error_though_it_orders_nothing() -> None:
    labels = np.array([True, False, False, False])
    same = np.full(4, 0.25)
    assert probabilities.ece(labels, same) == 0
    assert probabilities.auc(labels, same) == 0.5


@given(scores_and_labels)
def test_bins_hold_everything_once(case: tuple[np.ndarray, ...]) -> None:
    labels, foretold, _ = case
    mean, came, size = probabilities.reliability(labels, foretold, 4)
    assert size.sum() == labels.shape[0]
    assert (size * came).sum() == pytest.approx(labels.sum())
    assert (size * mean).sum() == pytest.approx(foretold.sum())
    assert (np.diff(mean) > 0).all()


def test_an_interval_holds_its_mean_narrows_with_users_and_is_of_the_seed() -> None:
    values = np.random.default_rng(1).random(400)
    few, many = confidence.interval(values[:25]), confidence.interval(values)
    assert many.low < many.mean < many.high
    assert many.high - many.low < few.high - few.low
    assert confidence.interval(values, seed=5) == confidence.interval(values, seed=5)
    assert confidence.interval(values, seed=5) != confidence.interval(values, seed=6)


def test_an_interval_is_the_one_of_statistics() -> None:
    values = np.random.default_rng(2).normal(size=500)
    found = confidence.interval(values, samples=4000)
    error = values.std() / np.sqrt(500)
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)


def test_columns_are_of_the_same_draws() -> None:
    values = np.random.default_rng(3).random((50, 2))
    both = confidence.intervals(values)
    alone = [confidence.interval(values[:, 0]), confidence.interval(values[:, 1])]
    np.testing.assert_allclose([astuple(one) for one in both], [astuple(one) for one in alone])
    with pytest.raises(ValueError, match="no user"):
        confidence.interval(np.empty(0))
