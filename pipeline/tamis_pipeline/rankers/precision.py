"""What the precisions that the DeepFM is served at cost, on lists that it did not learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tamis_pipeline.rankers.exposures import Exposures, ItemTables
from tamis_server.bundles.factorised import PRECISIONS, FactorisedDeepFM
from tamis_server.bundles.manifest import FeatureSchema, Objective

Float32 = npt.NDArray[np.float32]
_PAGE = 20
_LISTS = 1_000  # spread evenly; more say nothing new


def losses(
    params: Mapping[str, Float32],
    schema: FeatureSchema,
    objectives: Sequence[Objective],
    tables: ItemTables,
    lists: Exposures,
) -> dict[str, dict[str, float]]:
    """By precision, against float32: the largest and the mean error of a probability, the share of
    the first 20 by score that are the same, and the bytes of an item's parts."""
    models = {
        name: FactorisedDeepFM(params, schema, tables.fields.shape[0], name) for name in PRECISIONS
    }
    everything = np.arange(tables.fields.shape[0], dtype=np.int32)
    for model in models.values():
        model.put(everything, tables.fields, tables.all_dense())
    weights = np.array([objective.weight for objective in objectives], np.float32)
    errors: dict[str, list[Float32]] = {name: [] for name in models}
    overlaps: dict[str, list[float]] = {name: [] for name in models}
    for at in np.unique(np.linspace(0, len(lists) - 1, _LISTS).astype(np.intp)):
        there = lists.items[at] >= 0
        asked = (
            lists.user_fields[at],
            lists.user_dense[at],
            lists.items[at][there],
            lists.cross[at][there],
        )
        found = {name: model.score(*asked) for name, model in models.items()}
        exact = found["f32"]
        for name, probabilities in found.items():
            errors[name].append(np.abs(probabilities - exact).ravel())
            overlaps[name].append(_overlap(probabilities @ weights, exact @ weights))
    return {
        name: {
            "largest error": float(np.concatenate(errors[name]).max(initial=0)),
            "mean error": float(np.concatenate(errors[name]).mean()),
            f"top-{_PAGE} overlap": float(np.mean(overlaps[name])),
            "bytes an item": models[name].item_bytes,
        }
        for name in models
    }


def _overlap(scores: Float32, exact: Float32) -> float:
    first = [set(np.argsort(-each, kind="stable")[:_PAGE].tolist()) for each in (scores, exact)]
    return len(first[0] & first[1]) / len(first[1])
