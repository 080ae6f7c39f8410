"""From a data set to an evaluated bundle, in stages that a later run takes up where one stopped."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis_pipeline import deepfm, evaluate, twotower
from tamis_pipeline.bundle import BundleParts, write_bundle
from tamis_pipeline.dataset import Dataset, Interactions
from tamis_pipeline.progress import Progress
from tamis_pipeline.readers import read_dataset
from tamis_pipeline.split import Split, by_user, split
from tamis_pipeline.vocabulary import ItemFields, item_fields, tokens
from tamis_server.bundles import features
from tamis_server.bundles.manifest import FeatureSchema, IndexSpec, Manifest

T = TypeVar("T")
Float32 = npt.NDArray[np.float32]
DAY = 86_400.0
_INDEX = IndexSpec(m=16, ef_construction=200, ef_search=200)


@dataclass(frozen=True, slots=True)
class BuildConfig:
    """split: global or per-user; half_life_days: how fast popularity fades, None: not at all."""

    dataset: str
    name: str
    seed: int = 0
    split: str = "global"
    test: float = 0.1
    validation: float = 0.15
    half_life_days: float | None = 30.0
    towers: twotower.TwoTowerConfig = field(default_factory=twotower.TwoTowerConfig)
    ranker: deepfm.DeepFMConfig = field(default_factory=deepfm.DeepFMConfig)
    index: IndexSpec = _INDEX


def config_for(dataset: str, name: str, seed: int) -> BuildConfig:
    """The defaults of a data set."""
    config = BuildConfig(dataset=dataset, name=name, seed=seed)
    if dataset == "movielens-small":
        # most of its users rated everything within a day: see docs/own-data.md
        return replace(config, split="per-user", test=0.2, validation=0.1, half_life_days=None)
    return config


def build(config: BuildConfig, source: Path, out: Path, progress: Progress) -> Manifest:
    """Read, split, train, index, write, evaluate through gRPC, and seal the bundle at ``out``.

    Finished stages are kept beside ``out`` under a name made of their inputs, configuration and
    seed, until the bundle is complete. Raises DatasetRejected.
    """
    work = out.absolute().with_name(f".{out.name}.work")
    stages = _Stages(work, _fingerprint(config, source))
    with progress.stage("read"):
        data = read_dataset(config.dataset, source)
        for problem, count in data.problems.items():
            progress.note(f"{count} {problem}: left out")
        parts = split(data.interactions, config.split, config.test, config.validation)
        popularity = decayed_counts(parts.train, data.items.num_rows, config.half_life_days)
        counts = decayed_counts(parts.train, data.items.num_rows, None)
        fields = item_fields(data, counts)
    with progress.stage("two-tower"):
        towers = stages.once(
            "towers",
            lambda: twotower.train(
                fields,
                tokens(data),
                parts.fit,
                parts.validation,
                config.towers,
                config.seed,
                progress.note,
            ),
        )
    tables = _tables(data, parts, popularity, fields, towers)
    schema = _schema(fields)
    with progress.stage("ranker"):
        ranker, validation_auc = stages.once(
            "ranker", lambda: _rank(config, parts, tables, schema, towers, popularity, progress)
        )
    draft = BundleParts(
        name=config.name,
        as_of=float(parts.train.times.max()),
        seed=config.seed,
        items=data.items,
        attributes=data.attributes,
        vectors=towers.vectors,
        item_fields=tables.fields,
        item_dense=tables.dense,
        popularity=popularity,
        features=schema,
        encoder=towers.encoder,
        ranker=ranker,
        users=_users(data, parts.train),
        evaluation={},
        index=config.index,
    )
    with progress.stage("index"):
        write_bundle(draft, work / "draft")
    with progress.stage("evaluate"):
        report = _evaluate(
            config,
            work / "draft",
            data,
            parts,
            tables,
            schema,
            towers,
            ranker,
            popularity,
            progress,
        )
        report["ranker"]["validation AUC"] = validation_auc
        report["left_out"] = dict(data.problems)
    manifest = write_bundle(replace(draft, evaluation=report), out)
    shutil.rmtree(work)
    return manifest


def decayed_counts(events: Interactions, items: int, half_life_days: float | None) -> Float32:
    """float32[items]: positives of each item, one half-life ago counting half."""
    positive = features.is_positive(events.kinds)
    weights = np.ones(int(positive.sum()))
    if half_life_days is not None:
        age = (events.times.max() - events.times[positive]) / DAY
        weights = 0.5 ** (age / half_life_days)
    return np.bincount(events.items[positive], weights, minlength=items).astype(np.float32)


def _rank(
    config: BuildConfig,
    parts: Split,
    tables: deepfm.ItemTables,
    schema: FeatureSchema,
    towers: twotower.Towers,
    popularity: Float32,
    progress: Progress,
) -> tuple[dict[str, Float32], float]:
    rng = np.random.default_rng(config.seed)
    progress.note("features of what would have been ranked")
    exposed = deepfm.exposures(
        parts.train, parts.validation, tables, towers, popularity, config.ranker, rng
    )
    return deepfm.train(exposed, tables, schema, config.ranker, config.seed, progress.note)


def _evaluate(
    config: BuildConfig,
    bundle: Path,
    data: Dataset,
    parts: Split,
    tables: deepfm.ItemTables,
    schema: FeatureSchema,
    towers: twotower.Towers,
    ranker: dict[str, Float32],
    popularity: Float32,
    progress: Progress,
) -> dict[str, Any]:
    asked = evaluate.questions(parts)
    available = data.items.column("available").to_numpy(zero_copy_only=False).astype(np.bool_)
    lists = evaluate.baselines(asked, parts.train, popularity, towers, available)
    with progress.count("requests", len(asked)) as advance:
        item_ids = data.items.column("item_id").to_pylist()
        funnel = evaluate.through_grpc(bundle, asked, data.user_ids, item_ids, advance)
    results = evaluate.table(asked, {"whole funnel": funnel, **lists}, data.items.num_rows)
    rng = np.random.default_rng(config.seed + 1)
    held_out = deepfm.exposures(
        parts.train, _first_positives(parts.test), tables, towers, popularity, config.ranker, rng
    )
    auc = deepfm.auc_of(ranker, held_out, tables, schema)
    progress.note("\n" + evaluate.markdown(results) + f"\n\nAUC of the ranker: {auc:.4f}")
    return {
        "split": {"how": config.split, "test": config.test, "validation": config.validation},
        "users": len(asked),
        "users_left_out": evaluate.left_out(parts),
        "methods": results,
        "ranker": {"AUC": auc, "requests": int(held_out.items.shape[0])},
    }


def _first_positives(events: Interactions) -> Interactions:
    """Each user's first held-out positive: the one whose past is all in the training part."""
    positive = events.take(features.is_positive(events.kinds))
    return positive.take(np.array([own[0] for own in by_user(positive) if own.shape[0]], np.intp))


def _tables(
    data: Dataset, parts: Split, popularity: Float32, fields: ItemFields, towers: twotower.Towers
) -> deepfm.ItemTables:
    created = data.items.column("created_at").to_numpy(zero_copy_only=False).astype(np.float64)
    return deepfm.ItemTables(
        fields=fields.values,
        dense=features.item_dense(popularity, created, float(parts.train.times.max())),
        log_popularity=features.log_popularity(popularity),
        vectors=towers.vectors,
    )


def _schema(fields: ItemFields) -> FeatureSchema:
    return FeatureSchema(
        user_fields=features.user_field_specs(fields.specs),
        item_fields=fields.specs,
        user_dense=features.USER_DENSE,
        item_dense=features.ITEM_DENSE,
        cross=features.CROSS,
    )


def _users(data: Dataset, train: Interactions) -> pa.Table:
    histories = by_user(train, len(data.user_ids))
    return pa.table(
        {
            "user_id": pa.array(data.user_ids, pa.string()),
            "rows": pa.array([train.items[own] for own in histories], pa.list_(pa.int32())),
            "times": pa.array([train.times[own] for own in histories], pa.list_(pa.float64())),
            "kinds": pa.array([train.kinds[own] for own in histories], pa.list_(pa.uint8())),
        }
    )


class _Stages:
    """Results of finished stages, on disk until the whole is done."""

    def __init__(self, directory: Path, fingerprint: str) -> None:
        self._directory = directory
        self._fingerprint = fingerprint

    def once(self, name: str, make: Callable[[], T]) -> T:
        path = self._directory / f"{name}-{self._fingerprint}.pickle"
        if path.is_file():
            result: T = pickle.loads(path.read_bytes())  # noqa: S301 written by this program
            return result
        result = make()
        self._directory.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".partial")
        with temporary.open("wb") as file:
            pickle.dump(result, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
        return result


def _fingerprint(config: BuildConfig, source: Path) -> str:
    """Changes with the configuration, with the input and with the code that makes the stages."""
    found = hashlib.sha256(json.dumps(asdict(config), sort_keys=True, default=str).encode())
    code = sorted(Path(__file__).parent.glob("*.py"))
    for path in (*sorted(path for path in source.glob("*") if path.is_file()), *code):
        found.update(path.name.encode())
        found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()[:16]
