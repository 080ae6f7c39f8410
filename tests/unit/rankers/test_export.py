"""A Transformer in onnxruntime gives what it gives in JAX."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from tamis_pipeline.rankers import export, training
from tamis_pipeline.rankers.exposures import Exposures, ItemTables
from tamis_pipeline.rankers.simple import Simple
from tamis_pipeline.rankers.transformer import Transformer, TransformerConfig
from tamis_pipeline.synthetic import random_parts
from tamis_server.bundles import features

ITEMS, HISTORY, REQUESTS, CANDIDATES = 50, 6, 8, 30


@pytest.mark.parametrize("heads", [1, 4])
def test_a_transformer_in_onnxruntime_gives_the_probabilities_of_jax(heads: int) -> None:
    parts = random_parts(items=ITEMS)
    schema, dim = parts.features, parts.vectors.shape[1]
    tables = ItemTables(
        parts.item_fields,
        parts.item_dense,
        parts.popularity,
        features.log_popularity(parts.popularity),
        parts.vectors,
    )
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    lengths = np.array([0, 1, 2, 3, 4, 5, 6, 6])[:, None]
    there = np.arange(HISTORY) < lengths  # the first has no history at all
    data = Exposures(
        user_fields=rng.integers(0, 3, (REQUESTS, len(schema.user_fields))).astype(np.int32),
        user_dense=normal(REQUESTS, len(schema.user_dense) + dim),
        items=rng.integers(0, ITEMS, (REQUESTS, CANDIDATES)).astype(np.int32),
        cross=normal(REQUESTS, CANDIDATES, len(schema.cross)),
        outcomes=np.zeros(REQUESTS, np.uint16),
        history_items=np.where(there, rng.integers(0, ITEMS, there.shape), -1).astype(np.int32),
        history_kinds=np.where(there, rng.integers(1, 9, there.shape), 0).astype(np.uint8),
        history_ages=np.abs(normal(*there.shape)),
    )
    model = Transformer(schema, dim, HISTORY, 2, TransformerConfig(width=16, heads=heads))
    start = Simple(normal(len(schema.cross)), normal(len(schema.item_dense)), 0.0)
    params = {
        name: np.asarray(array) + 0.1 * normal(*array.shape)
        for name, array in model.initial(0, start).items()
    }
    logits = training.predict(model, params, training.item_inputs(tables), data)
    session = onnxruntime.InferenceSession(export.transformer(params, schema, heads))
    past = np.maximum(data.history_items, 0)
    (exported,) = session.run(
        None,
        {
            "user_fields": data.user_fields,
            "user_dense": data.user_dense,
            "item_fields": tables.fields[data.items],
            "item_dense": tables.all_dense()[data.items],
            "cross": data.cross,
            "history_fields": tables.fields[past],
            "history_dense": tables.all_dense()[past],
            "history_kinds": data.history_kinds.astype(np.int32),
            "history_ages": data.history_ages,
        },
    )
    np.testing.assert_allclose(exported, 1 / (1 + np.exp(-logits)), atol=1e-4)
    assert exported.std() > 0.05, "it says something of its inputs"
