"""The ranker's stage: what rankers know of items, learning from what retrieval would have found,
and how good they are at requests that none of them has seen."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tamis_pipeline.config import RankingConfig
from tamis_pipeline.dataset import Interactions
from tamis_pipeline.preparation import Prepared
from tamis_pipeline.rankers import boosted, export, precision, training
from tamis_pipeline.rankers.deepfm import DeepFM
from tamis_pipeline.rankers.exposures import Exposures, ItemTables, listed
from tamis_pipeline.rankers.quality import Quality, quality
from tamis_pipeline.rankers.requests import requests
from tamis_pipeline.rankers.simple import Simple
from tamis_pipeline.rankers.training import Lessons
from tamis_pipeline.rankers.transformer import Transformer
from tamis_pipeline.split import by_user
from tamis_pipeline.twotower import Towers
from tamis_server.bundles import features
from tamis_server.bundles.manifest import FeatureSchema
from tamis_server.bundles.neighbours import Neighbours

Float32 = npt.NDArray[np.float32]
Report = Callable[[str], None]
DEEPFM, TRANSFORMER = "deepfm", "transformer"
WEIGHTS = f"{TRANSFORMER}/1/weights.npz"  # in the model repository: what learning goes on from


@dataclass(frozen=True, slots=True)
class Ranked:
    """params: the DeepFM's arrays; models: files of the bundle's model repository;
    validation_gain: the DeepFM's, that stopped its learning (``gain``); requests: how many
    were held out to measure; quality: of each model, of the two-tower's order and of the simple
    one, by objective; precision: what serving the DeepFM at less than float32 costs."""

    params: dict[str, Float32]
    models: dict[str, bytes]
    validation_gain: float
    requests: int
    quality: dict[str, Quality] = field(default_factory=dict)
    precision: dict[str, dict[str, float]] = field(default_factory=dict)


def rank(
    prepared: Prepared,
    towers: Towers,
    neighbours: Neighbours,
    config: RankingConfig,
    seed: int,
    report: Report,
    initial: Mapping[str, Mapping[str, Float32]] | None = None,
    ordered: bool = True,
) -> Ranked:
    """Learn from the validation part, measure on the test part. Raises DatasetRejected where there
    is nothing to learn from.

    neighbours: of events before the validation part, as the towers are;
    ordered: a history is what came before; false: times say nothing (see ``requests``);
    initial: arrays to go on from, of DeepFM and Transformer, by ``DEEPFM`` and ``TRANSFORMER``.
    """
    report("features of what would have been ranked")
    parts, objectives = prepared.parts, config.objectives
    tables = item_tables(prepared, towers, neighbours)
    schema, profiles = feature_schema(prepared), prepared.profiles
    lessons = training.lessons(
        parts.train, parts.validation, profiles, tables, towers, config.exposures, ordered, seed
    )
    report(f"simple order: {_weights(lessons.simple, schema)}")
    asked = requests(parts.train, _first_positives(parts.test), ordered, profiles)
    held_out = listed(asked, tables, towers, config.exposures)

    def learn(
        name: str, model: training.Model, how: training.TrainingConfig
    ) -> tuple[training.Trained, Quality]:
        start = None if initial is None else initial.get(name)
        trained = training.train(model, lessons, tables, objectives, how, seed, report, start)
        logits = training.predict(model, trained.raw, training.item_inputs(tables), held_out)
        return trained, quality(logits, trained.fits, held_out, objectives)

    dim = tables.vectors.shape[1]
    deepfm, measured = learn(
        DEEPFM, DeepFM(schema, dim, len(objectives), config.deepfm), config.deepfm.training
    )
    affinity = features.CROSS.index("affinity")
    found = {
        "two-tower": _by(lambda data: data.cross[..., affinity], lessons, held_out, config),
        "simple": _by(lambda data: lessons.simple.score(data, tables), lessons, held_out, config),
        DEEPFM: measured,
    }
    models = {f"{DEEPFM}/1/model.onnx": export.deepfm(deepfm.params, schema)}
    if TRANSFORMER in config.models:
        history = config.exposures.history
        form = Transformer(schema, dim, history, len(objectives), config.transformer)
        transformer, found[TRANSFORMER] = learn(TRANSFORMER, form, config.transformer.training)
        models[f"{TRANSFORMER}/1/model.onnx"] = export.transformer(
            transformer.params, schema, config.transformer.heads
        )
        models[WEIGHTS] = _npz(transformer.params)
    if "boosted" in config.models:
        found["boosted"] = _boosted(lessons, held_out, tables, schema, config, seed, report)
    cost = precision.losses(deepfm.params, schema, objectives, tables, held_out)
    return Ranked(deepfm.params, models, deepfm.gain, len(held_out), found, cost)


def item_tables(prepared: Prepared, towers: Towers, neighbours: Neighbours) -> ItemTables:
    """Fields and dense features of all items as of the end of the training part."""
    created = prepared.data.items.column("created_at").to_numpy(zero_copy_only=False)
    return ItemTables(
        fields=prepared.fields.values,
        dense=features.item_dense(prepared.popularity, created.astype(np.float64), prepared.as_of),
        popularity=prepared.popularity,
        log_popularity=features.log_popularity(prepared.popularity),
        vectors=towers.vectors,
        neighbours=neighbours,
    )


def feature_schema(prepared: Prepared) -> FeatureSchema:
    """The rankers' inputs, in order."""
    items, profile = prepared.fields.specs, prepared.profiles.fields
    return FeatureSchema(
        user_fields=features.user_field_specs(items, profile),
        item_fields=items,
        profile_fields=profile,
        user_dense=features.USER_DENSE,
        item_dense=features.ITEM_DENSE,
        cross=features.CROSS,
    )


def _first_positives(events: Interactions) -> Interactions:
    """Each user's first held-out positive, the one whose past is all in the training part, and what
    the user did with that item later."""
    positive = events.take(features.is_positive(events.kinds))
    chosen = [
        own[positive.items[own] == positive.items[own[0]]]
        for own in by_user(positive)
        if own.shape[0]
    ]
    return positive.take(np.concatenate(chosen) if chosen else np.empty(0, np.intp))


def _weights(simple: Simple, schema: FeatureSchema) -> str:
    names = (*schema.cross, *schema.item_dense)
    both = np.concatenate([simple.cross, simple.dense]).tolist()
    return ", ".join(f"{name} {weight:.2f}" for name, weight in zip(names, both, strict=True))


def _by(
    score: Callable[[Exposures], Float32],
    lessons: Lessons,
    held_out: Exposures,
    config: RankingConfig,
) -> Quality:
    """Any order float32[n, c], made probabilities as the rankers' are: what they must beat."""

    def logits(data: Exposures) -> Float32:
        return np.repeat(score(data)[..., None], len(config.objectives), axis=2)

    fits = training.calibrated(logits(lessons.lists), lessons.lists, config.objectives)
    return quality(logits(held_out), fits, held_out, config.objectives)


def _boosted(
    lessons: Lessons,
    held_out: Exposures,
    tables: ItemTables,
    schema: FeatureSchema,
    config: RankingConfig,
    seed: int,
    report: Report,
) -> Quality:
    booster = boosted.train(
        lessons, tables, schema, config.objectives, config.boosted, seed, report
    )
    return _by(lambda data: boosted.predict(booster, data, tables), lessons, held_out, config)


def _npz(arrays: Mapping[str, Float32]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type] # names are no keywords of savez
    return file.getvalue()
