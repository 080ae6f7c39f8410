"""Writes a bundle: everything to a temporary name, synced, then renamed into place."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tamis_pipeline.evaluation.markdown import markdown
from tamis_pipeline.evaluation.page import page
from tamis_pipeline.indexing import AutoIndex, Built, build_index, faster, queries_of
from tamis_pipeline.item_tables import knowing_items
from tamis_pipeline.model_repository import MODEL, configurations
from tamis_server.bundles import manifest as fmt
from tamis_server.bundles.directory import replacing

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class ContentParts:
    """vectors float32[items, c], how they were made, and the directory of the CLIP that did."""

    vectors: Float32
    spec: fmt.ContentSpec
    clip: Path | None = None


@dataclass(frozen=True, slots=True)
class ItemTowerParts:
    """The function that places new items, and the vocabulary it reads them by."""

    arrays: Mapping[str, npt.NDArray[Any]]
    vocabulary: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BundleParts:
    """What a bundle is made of, in memory; the shapes are those of ``bundles.manifest``.

    models: files of the model repository by path within it (``deepfm/1/model.onnx``).
    """

    name: str
    as_of: float
    seed: int
    items: pa.Table
    attributes: tuple[fmt.Attribute, ...]
    vectors: Float32
    item_fields: Int32
    item_dense: Float32
    popularity: Float32
    features: fmt.FeatureSchema
    objectives: tuple[fmt.Objective, ...]
    encoder: Mapping[str, npt.NDArray[Any]]
    ranker: Mapping[str, npt.NDArray[Any]]
    users: pa.Table
    evaluation: Mapping[str, Any]
    index: fmt.IndexSpec | AutoIndex
    content: ContentParts | None = None
    item_tower: ItemTowerParts | None = None
    neighbours: Mapping[str, npt.NDArray[Any]] | None = None
    models: Mapping[str, bytes] = field(default_factory=dict)


def write_bundle(
    parts: BundleParts, out: Path, note: Callable[[str], None] = lambda _: None
) -> fmt.Manifest:
    """Write ``parts`` to ``out``, replacing what was there only once all is on disk. note: told
    which index was kept, where that was left open."""
    with replacing(out) as temporary:
        return _fill(temporary, parts, _built(parts, note))


def seal(
    draft: Path,
    evaluation: Mapping[str, Any],
    out: Path,
    beside: Callable[[fmt.Manifest], Mapping[str, str]],
) -> fmt.Manifest:
    """Put the bundle ``draft`` to ``out`` as ``write_bundle`` would, with what was measured.

    beside: texts by the name of a file that lies in the directory but is no part of the bundle.
    """
    with replacing(out) as temporary:
        shutil.copytree(draft, temporary, dirs_exist_ok=True)
        write_report(temporary, evaluation)
        manifest = fmt.read_manifest(draft)
        measured = (fmt.EVALUATION, fmt.REPORT_TEXT, fmt.REPORT_PAGE)
        files = {**manifest.files, **{name: _entry(temporary / name) for name in measured}}
        manifest = manifest.model_copy(
            update={"files": files, "bundle_id": fmt.bundle_id(manifest.name, files)}
        )
        _write_manifest(temporary, manifest)
        for name, text in beside(manifest).items():
            (temporary / name).write_text(text, "utf-8")
        return manifest


def with_users(bundle: Path, users: pa.Table, out: Path) -> None:
    """``bundle`` with other histories, into the empty directory ``out``; by a second name for each
    file that is the same, where the file system allows it."""
    for path in sorted(bundle.rglob("*")):
        copy = out / path.relative_to(bundle)
        if path.is_dir():
            copy.mkdir()
        elif copy.name not in (fmt.USERS, fmt.MANIFEST):
            _link(path, copy)
    pq.write_table(users, out / fmt.USERS, compression="zstd")
    manifest = fmt.read_manifest(bundle)
    files = {**manifest.files, fmt.USERS: _entry(out / fmt.USERS)}
    changed = {
        "files": files,
        "users": users.num_rows,
        "bundle_id": fmt.bundle_id(manifest.name, files),
    }
    _write_manifest(out, manifest.model_copy(update=changed))


def _link(path: Path, copy: Path) -> None:
    """A second name for ``path``; a second file where the file system has no hard links, or
    ``copy`` is on another one."""
    try:
        os.link(path, copy)
    except OSError:
        shutil.copyfile(path, copy)


def write_report(directory: Path, evaluation: Mapping[str, Any]) -> None:
    """evaluation.json, report.md and report.html into ``directory``, made where absent."""
    directory.mkdir(parents=True, exist_ok=True)
    _write_evaluation(directory, evaluation)
    (directory / fmt.REPORT_TEXT).write_text(markdown(evaluation), "utf-8")
    (directory / fmt.REPORT_PAGE).write_text(page(evaluation), "utf-8")


def _fill(directory: Path, parts: BundleParts, index: Built) -> fmt.Manifest:
    pq.write_table(parts.items, directory / fmt.ITEMS, compression="zstd")
    np.save(directory / fmt.VECTORS, parts.vectors)
    pairing = fmt.pairing_id(directory / fmt.VECTORS)
    index.save(directory, fmt.INDEX, pairing)
    np.savez(directory / fmt.FEATURES, item_fields=parts.item_fields, item_dense=parts.item_dense)
    np.save(directory / fmt.POPULARITY, parts.popularity)
    _save(directory / fmt.ENCODER, pairing, parts.encoder)
    _save(directory / fmt.RANKER, pairing, parts.ranker)
    pq.write_table(parts.users, directory / fmt.USERS, compression="zstd")
    _write_evaluation(directory, parts.evaluation)
    _fill_optional(directory, parts, index.spec, pairing)
    files = {
        path.relative_to(directory).as_posix(): _entry(path)
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
    manifest = fmt.Manifest(
        format_version=fmt.FORMAT_VERSION,
        bundle_id=fmt.bundle_id(parts.name, files),
        name=parts.name,
        as_of=parts.as_of,
        items=parts.vectors.shape[0],
        users=parts.users.num_rows,
        dim=parts.vectors.shape[1],
        metric="ip",
        pairing_id=pairing,
        attributes=parts.attributes,
        features=parts.features,
        objectives=parts.objectives,
        index=index.spec,
        content=None if parts.content is None else parts.content.spec,
        seed=parts.seed,
        files=files,
    )
    fmt.check_files(manifest)
    _write_manifest(directory, manifest)
    return manifest


def _built(parts: BundleParts, note: Callable[[str], None]) -> Built:
    if not isinstance(parts.index, AutoIndex):
        return build_index(parts.vectors, parts.index, parts.seed)
    queries = queries_of(
        parts.users, parts.encoder, parts.features.profile_fields, parts.as_of, parts.seed
    )
    kept, other = faster(parts.vectors, queries, parts.index, parts.seed)
    note(f"index: kept {kept}; not {other}")
    return kept.built


def _entry(path: Path) -> fmt.FileEntry:
    return fmt.FileEntry(sha256=fmt.digest(path), bytes=path.stat().st_size)


def _write_evaluation(directory: Path, evaluation: Mapping[str, Any]) -> None:
    text = json.dumps(evaluation, indent=2)
    (directory / fmt.EVALUATION).write_text(text + "\n", "utf-8")


def _write_manifest(directory: Path, manifest: fmt.Manifest) -> None:
    (directory / fmt.MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", "utf-8")


def _fill_optional(directory: Path, parts: BundleParts, spec: fmt.IndexSpec, pairing: str) -> None:
    if parts.content is not None:
        np.save(directory / fmt.CONTENT, parts.content.vectors)
        built = build_index(parts.content.vectors, spec, parts.seed)
        built.save(directory, fmt.CONTENT_INDEX, fmt.pairing_id(directory / fmt.CONTENT))
        if parts.content.clip is not None:
            (directory / fmt.CLIP).mkdir()
            for name in fmt.CLIP_FILES:
                shutil.copyfile(parts.content.clip / Path(name).name, directory / name)
    if parts.item_tower is not None:
        _save(directory / fmt.ITEM_TOWER, pairing, parts.item_tower.arrays)
        vocabulary = json.dumps(parts.item_tower.vocabulary, sort_keys=True)
        (directory / fmt.VOCABULARY).write_text(vocabulary + "\n", "utf-8")
    if parts.neighbours is not None:
        _save(directory / fmt.NEIGHBOURS, pairing, parts.neighbours)
    _fill_models(directory, parts, pairing)


def _fill_models(directory: Path, parts: BundleParts, pairing: str) -> None:
    """The model repository. The towers of CLIP are in it by a second name, not a second time, where
    the file system allows it."""
    dense = np.concatenate([parts.item_dense, parts.vectors], axis=1)
    models = {
        path: knowing_items(model, parts.item_fields, dense, pairing)
        for path, model in parts.models.items()
    }
    towers: dict[str, str] = {}
    if parts.content is not None and parts.content.clip is not None:
        towers = {
            f"clip_{side}/1/{MODEL}": f"{fmt.CLIP}/{side}.onnx" for side in ("text", "vision")
        }
        models.update((path, (directory / file).read_bytes()) for path, file in towers.items())
    for name, content in {**models, **configurations(models)}.items():
        path = directory / fmt.MODELS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name in towers:
            _link(directory / towers[name], path)
        else:
            path.write_bytes(content)


def _save(path: Path, pairing: str, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    named: dict[str, Any] = {**arrays, "pairing_id": np.array(pairing)}
    np.savez(path, **named)
