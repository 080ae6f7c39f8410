"""The ranker's stage: what it knows of items, and learning from what retrieval would have found."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from tamis_pipeline import deepfm
from tamis_pipeline.config import RankingConfig
from tamis_pipeline.preparation import Prepared
from tamis_pipeline.twotower import Towers
from tamis_pipeline.vocabulary import ItemFields
from tamis_server.bundles import features
from tamis_server.bundles.manifest import FeatureSchema
from tamis_server.bundles.neighbours import Neighbours

Float32 = npt.NDArray[np.float32]


def rank(
    prepared: Prepared,
    towers: Towers,
    neighbours: Neighbours,
    config: RankingConfig,
    seed: int,
    report: Callable[[str], None],
) -> tuple[dict[str, Float32], float]:
    """The ranker's arrays, and its AUC on the part of the validation events kept aside.

    neighbours: of events before the validation part, as the towers are.
    """
    report("features of what would have been ranked")
    tables = item_tables(prepared, towers, neighbours)
    exposed = deepfm.exposures(
        prepared.parts.train,
        prepared.parts.validation,
        tables,
        towers,
        prepared.popularity,
        config.deepfm,
        np.random.default_rng(seed),
    )
    return deepfm.train(
        exposed, tables, feature_schema(prepared.fields), config.deepfm, seed, report
    )


def item_tables(prepared: Prepared, towers: Towers, neighbours: Neighbours) -> deepfm.ItemTables:
    """Fields and dense features of all items as of the end of the training part."""
    created = prepared.data.items.column("created_at").to_numpy(zero_copy_only=False)
    return deepfm.ItemTables(
        fields=prepared.fields.values,
        dense=features.item_dense(prepared.popularity, created.astype(np.float64), prepared.as_of),
        log_popularity=features.log_popularity(prepared.popularity),
        vectors=towers.vectors,
        neighbours=neighbours,
    )


def feature_schema(fields: ItemFields) -> FeatureSchema:
    """The ranker's inputs, in order."""
    return FeatureSchema(
        user_fields=features.user_field_specs(fields.specs),
        item_fields=fields.specs,
        user_dense=features.USER_DENSE,
        item_dense=features.ITEM_DENSE,
        cross=features.CROSS,
    )
