"""Rankers learn what there is to learn, go on where they were, and say probabilities."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tamis_pipeline.rankers import boosted, training
from tamis_pipeline.rankers.deepfm import DeepFM, DeepFMConfig
from tamis_pipeline.rankers.exposures import Exposures, ItemTables
from tamis_pipeline.rankers.gain import gain, surely_better
from tamis_pipeline.rankers.objectives import DEFAULT
from tamis_pipeline.rankers.quality import quality
from tamis_pipeline.rankers.simple import Simple, simple
from tamis_pipeline.rankers.training import Lessons, TrainingConfig
from tamis_pipeline.synthetic import random_parts
from tamis_server.bundles import features
from tamis_server.bundles.manifest import FeatureSchema
from tamis_server.domain.context import EventKind

ITEMS, CANDIDATES, PLACES = 80, 12, 10


@pytest.fixture(scope="module")
def world() -> tuple[FeatureSchema, ItemTables, Lessons]:
    """Users take the candidate whose last cross feature is highest; two in three like it."""
    parts = random_parts(items=ITEMS)
    tables = ItemTables(
        parts.item_fields,
        parts.item_dense,
        parts.popularity,
        features.log_popularity(parts.popularity),
        parts.vectors,
    )
    rng = np.random.default_rng(0)

    def draw(n: int) -> Exposures:
        cross = rng.normal(size=(n, CANDIDATES, len(features.CROSS))).astype(np.float32)
        cross[:, :, 0] *= 0.05  # the two-tower says little
        best = cross[:, :, -1].argmax(axis=1)
        rows = np.arange(n)
        cross[rows, 0], cross[rows, best] = cross[rows, best], cross[rows, 0].copy()
        liked = np.where(rng.random(n) < 2 / 3, 1 << EventKind.LIKE, 1 << EventKind.VIEW)
        dim = tables.vectors.shape[1]
        width = len(parts.features.user_dense) + dim
        return Exposures(
            np.zeros((n, len(parts.features.user_fields)), np.int32),
            np.zeros((n, width), np.float32),
            rng.integers(0, ITEMS, (n, CANDIDATES)).astype(np.int32),
            cross,
            liked.astype(np.uint16),
            np.full((n, 4), -1, np.int32),
            np.zeros((n, 4), np.uint8),
            np.zeros((n, 4), np.float32),
        )

    nothing = Simple(np.zeros(len(features.CROSS), np.float32), np.zeros(2, np.float32), 0.0)
    return parts.features, tables, Lessons(draw(600), draw(150), nothing, PLACES)


def test_a_deepfm_learns_calibrates_and_goes_on_where_it_was(
    world: tuple[FeatureSchema, ItemTables, Lessons],
) -> None:
    schema, tables, lessons = world
    model = DeepFM(schema, tables.vectors.shape[1], 2, DeepFMConfig(embedding=4, hidden=(16, 8, 8)))
    how = TrainingConfig(batch=600, epochs=6, rate=5e-3)
    said: list[str] = []
    learned = training.train(model, lessons, tables, DEFAULT, how, 0, said.append)
    assert float(said[0].rsplit(maxsplit=1)[1]) < 0.5, "nothing is known to begin with"
    assert learned.gain > 0.9
    items = training.item_inputs(tables)
    found = quality(
        training.predict(model, learned.raw, items, lessons.lists),
        learned.fits,
        lessons.lists,
        DEFAULT,
    )
    for head in ("click", "like"):
        assert found[head]["ECE"] < min(0.03, found[head]["ECE uncalibrated"])
    np.testing.assert_allclose(
        training.predict(model, learned.params, items, lessons.lists),
        training.predict(model, learned.raw, items, lessons.lists)
        * [fit.scale for fit in learned.fits]
        + [fit.shift for fit in learned.fits],
        rtol=1e-3,
        atol=1e-3,
    )
    said.clear()
    no_more = replace(how, epochs=0)
    again = training.train(model, lessons, tables, DEFAULT, no_more, 1, said.append, learned.params)
    assert again.gain == pytest.approx(learned.gain, abs=1e-3)


def test_an_epoch_is_kept_only_if_it_is_surely_better_than_what_was_kept(
    world: tuple[FeatureSchema, ItemTables, Lessons], monkeypatch: pytest.MonkeyPatch
) -> None:
    schema, tables, lessons = world
    model = DeepFM(schema, tables.vectors.shape[1], 2, DeepFMConfig(embedding=4, hidden=(16, 8, 8)))
    start = np.full(len(lessons.lists), 0.5)
    noise = np.tile([0.37, -0.33], len(start) // 2)  # on average more, but not for sure

    def kept(*gains: np.ndarray) -> int:
        """Which epoch is kept, 0 being what learning began with, if these are their gains."""
        orders: list[np.ndarray] = []

        def measured(scores: np.ndarray, *_: object) -> np.ndarray:
            orders.append(scores)
            return gains[len(orders) - 1]

        how = TrainingConfig(batch=600, epochs=len(gains) - 1, patience=2)
        with monkeypatch.context() as patched:
            patched.setattr(training, "gains", measured)
            learned = training.train(model, lessons, tables, DEFAULT, how, 0, lambda _: None)
        found = training.predict(model, learned.raw, training.item_inputs(tables), lessons.lists)
        [epoch] = [at for at, order in enumerate(orders) if (order == found[..., 0]).all()]
        return epoch

    assert kept(start, start + noise / 10, start + noise) == 0
    assert kept(start, start + noise, start + 0.2, start + 0.2 + noise) == 2


def test_a_gain_within_its_standard_error_is_none() -> None:
    best = np.array([0.5, 0.5, 0.5, 0.5])
    assert surely_better(best + np.array([0.1, 0.1, 0.1, 0.1]), best)
    assert surely_better(best + np.array([0.4, 0.0, 0.1, 0.1]), best)
    assert not surely_better(best + np.array([0.4, -0.2, 0.0, 0.0]), best)
    assert not surely_better(best, best)
    assert not surely_better(best - 0.1, best)


def test_boosted_trees_learn_it_too(world: tuple[FeatureSchema, ItemTables, Lessons]) -> None:
    schema, tables, lessons = world
    config = boosted.BoostedConfig(trees=30, threads=1)
    booster = boosted.train(lessons, tables, schema, DEFAULT, config, 0, lambda _: None)
    scores = boosted.predict(booster, lessons.lists, tables)
    assert gain(scores, lessons.lists.items, PLACES) > 0.8


def test_the_simple_order_is_that_of_the_best_feature_and_learning_begins_with_it(
    world: tuple[FeatureSchema, ItemTables, Lessons],
) -> None:
    schema, tables, lessons = world
    found = simple(lessons.learned, lessons.lists, tables, PLACES)
    last = lessons.lists.cross[..., -1]
    assert gain(found.score(lessons.lists, tables), lessons.lists.items, PLACES) == gain(
        last, lessons.lists.items, PLACES
    )
    model = DeepFM(schema, tables.vectors.shape[1], 2, DeepFMConfig(embedding=4, hidden=(16, 8, 8)))
    params = {name: np.asarray(value) for name, value in model.initial(0, found).items()}
    params["user_embedding"] = np.zeros_like(params["user_embedding"])
    params["item_embedding"] = np.zeros_like(params["item_embedding"])
    logits = training.predict(model, params, training.item_inputs(tables), lessons.lists)
    expected = found.score(lessons.lists, tables) + found.bias
    np.testing.assert_allclose(logits[..., 0], expected, rtol=1e-4, atol=1e-4)


def test_gain_is_ndcg_of_one_item_and_a_place_too_far_counts_nothing() -> None:
    items = np.array([[0, 1, 2, -1]] * 4, np.int32)
    scores = np.array([[3, 2, 1, 9], [2, 3, 1, 9], [1, 3, 2, 9], [2, 2, 1, 9]], np.float32)
    places = [gain(scores[n : n + 1], items[n : n + 1], 2) for n in range(4)]
    assert places == pytest.approx([1, 1 / np.log2(3), 0, 1 / np.log2(2.5)])
