"""LambdaMART (Burges, 2010) by LightGBM on the same features: what the neural rankers must beat.

It orders; its scores become probabilities only by calibration. It isn't served.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import lightgbm
import numpy as np
import numpy.typing as npt

from tamis_pipeline.rankers.exposures import Exposures, ItemTables
from tamis_pipeline.rankers.objectives import labels
from tamis_pipeline.rankers.training import Lessons
from tamis_server.bundles.manifest import FeatureSchema, Objective

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class BoostedConfig:
    """trees: at most; patience: trees without gain on whole lists kept aside before it
    stops."""

    trees: int = 300
    leaves: int = 31
    rate: float = 0.05
    patience: int = 30
    threads: int = 0


def train(
    lessons: Lessons,
    tables: ItemTables,
    schema: FeatureSchema,
    objectives: Sequence[Objective],
    config: BoostedConfig,
    seed: int,
    report: Callable[[str], None],
) -> lightgbm.Booster:
    """The gain of a positive is the number of objectives that it fulfilled.

    Rows are given last first: LightGBM counts equal scores in the order of rows, and with the
    positive before the others a model that says nothing would seem perfect.
    """
    categorical = list(range(len(schema.user_fields) + len(schema.item_fields)))
    parts = [
        lightgbm.Dataset(
            inputs(data, tables)[::-1],
            _gains(data, objectives)[::-1],
            group=(data.items >= 0).sum(axis=1)[::-1],
            categorical_feature=categorical,
            free_raw_data=False,
        )
        for data in (lessons.learned, lessons.lists)
    ]
    parts[1].reference = parts[0]
    booster = lightgbm.train(
        {
            "objective": "lambdarank",
            "metric": "ndcg",
            "eval_at": [10],
            "num_leaves": config.leaves,
            "learning_rate": config.rate,
            "num_threads": config.threads,
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        },
        parts[0],
        config.trees,
        valid_sets=[parts[1]],
        callbacks=[lightgbm.early_stopping(config.patience, verbose=False)],
    )
    report(f"boosted trees: {booster.best_iteration}")
    return booster


def predict(booster: lightgbm.Booster, data: Exposures, tables: ItemTables) -> Float32:
    """Scores float32[n, c], of any scale; 0 where there is no candidate."""
    scores = np.zeros(data.items.shape, np.float32)
    scores[data.items >= 0] = booster.predict(inputs(data, tables))
    return scores


def inputs(data: Exposures, tables: ItemTables) -> Float32:
    """float32[candidates, features]: fields of the user and of the item, then dense ones. Vectors
    are left out: trees can't use them, and what they say of each other is in the cross features."""
    own, at = np.nonzero(data.items >= 0)
    rows = data.items[own, at]
    dense = data.user_dense[:, : -tables.vectors.shape[1]]
    return np.concatenate(
        [
            data.user_fields[own],
            tables.fields[rows],
            dense[own],
            tables.dense[rows],
            data.cross[own, at],
        ],
        axis=1,
        dtype=np.float32,
    )


def _gains(data: Exposures, objectives: Sequence[Objective]) -> npt.NDArray[np.int32]:
    gains = np.zeros(data.items.shape, np.int32)
    gains[:, 0] = labels(data.outcomes, objectives).sum(axis=1)
    return gains[data.items >= 0]
