"""A bundle that is not whole, or not of one piece, is refused with the file and the reason."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from support.bundles import reseal
from support.clips import write_random_clip
from support.ranking_models import linear_ranker
from tamis_kernels import IvfIndex
from tamis_pipeline.bundle import BundleParts, ItemTowerParts, write_bundle
from tamis_pipeline.synthetic import random_parts
from tamis_server.bundles import manifest as fmt
from tamis_server.bundles.loader import load, verify
from tamis_server.domain.errors import BundleRejected

GRAPHS = {names.hnsw: names.graph for names in (fmt.INDEX, fmt.CONTENT_INDEX)}
OPTIONAL = (
    *(name for group in fmt.TOGETHER for name in group),
    *(fmt.NEIGHBOURS, fmt.CONTENT, *GRAPHS, *GRAPHS.values()),
)
MODEL = "models/deepfm/1/model.onnx"


def full_parts(clip: Path, seed: int = 0) -> BundleParts:
    """All that a bundle can have."""
    parts = random_parts(items=50, content=8, seed=seed)
    assert parts.content is not None
    write_random_clip(clip, dim=8, seed=seed)
    rows = np.full((50, 3), -1, np.int32)
    rows[:, 0] = np.arange(50)[::-1]
    return replace(
        parts,
        content=replace(parts.content, clip=clip),
        item_tower=ItemTowerParts({"w": np.ones(3, np.float32)}, {"words": ["red"]}),
        neighbours={"rows": rows, "weights": np.ones((50, 3), np.float32)},
        models={"deepfm/1/model.onnx": linear_ranker(50, 3, 1)},
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bundles") / "whole"
    write_bundle(full_parts(tmp_path_factory.mktemp("clip")), directory)
    return directory


@pytest.fixture
def bundle(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "bundle"))


def refusal(directory: Path) -> BundleRejected:
    with pytest.raises(BundleRejected) as caught:
        load(directory)
    return caught.value


def test_a_whole_bundle_loads_with_its_declared_shapes(whole: Path) -> None:
    loaded = load(whole)
    assert loaded.vectors.shape == (50, loaded.manifest.dim)
    assert not loaded.vectors.flags.writeable
    assert loaded.content is not None
    assert loaded.content.vectors.shape == (50, 8)
    assert loaded.content.clip == whole / fmt.CLIP
    assert loaded.item_tower is not None
    assert loaded.neighbours.rows.shape == (50, 3)
    assert verify(whole).bundle_id.startswith("random-")
    repository = {
        f"{fmt.MODELS}/{name}/{file}"
        for name in ("deepfm", "clip_text", "clip_vision")
        for file in ("1/model.onnx", "config.pbtxt", "configs/cpu.pbtxt")
    }
    assert {*verify(whole).files} == {*fmt.FILES, *OPTIONAL, *repository}


def test_a_file_system_without_hard_links_gets_the_same_bundle(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    manifest = write_bundle(full_parts(tmp_path / "clip"), tmp_path / "bundle")
    assert manifest.bundle_id == verify(whole).bundle_id == verify(tmp_path / "bundle").bundle_id


def test_a_bundle_may_have_no_more_than_it_must(tmp_path: Path) -> None:
    manifest = write_bundle(replace(random_parts(items=50), neighbours=None), tmp_path / "least")
    loaded = load(tmp_path / "least", spare=5)
    assert {*manifest.files} == {*fmt.FILES, fmt.INDEX.hnsw, fmt.INDEX.graph}
    assert (loaded.content, loaded.item_tower) == (None, None)
    assert loaded.neighbours.rows.shape == (0, 0)


def test_content_has_spare_rows_for_items_that_come_later(whole: Path) -> None:
    loaded = load(whole, spare=7)
    assert loaded.content is not None
    assert loaded.content.vectors.shape == (57, 8)
    assert not loaded.content.vectors[50:].any()


def test_a_file_that_the_manifest_does_not_name_is_no_part_of_the_bundle(bundle: Path) -> None:
    (bundle / "models" / "surprise.onnx").write_bytes(b"x")
    assert load(bundle).manifest == verify(bundle)


@pytest.mark.parametrize(
    "name", ["../escape", "models/../../escape", "/etc/passwd", "models", "notes.txt", "clip/x"]
)
def test_a_file_that_no_bundle_has_is_refused_by_name(bundle: Path, name: str) -> None:
    manifest = json.loads((bundle / fmt.MANIFEST).read_text())
    manifest["files"][name] = manifest["files"][MODEL]
    (bundle / fmt.MANIFEST).write_text(json.dumps(manifest))
    error = refusal(bundle)
    assert error.file == fmt.MANIFEST
    assert repr(name) in error.reason


@pytest.mark.parametrize("name", [group[0] for group in fmt.TOGETHER])
def test_what_is_of_use_only_together_is_refused_alone(bundle: Path, name: str) -> None:
    manifest = json.loads((bundle / fmt.MANIFEST).read_text())
    del manifest["files"][name]
    (bundle / fmt.MANIFEST).write_text(json.dumps(manifest))
    assert refusal(bundle).reason == f"files has no entry for {name}"


@pytest.mark.parametrize("name", GRAPHS)
def test_an_index_must_be_there_for_whatever_has_vectors(bundle: Path, name: str) -> None:
    manifest = json.loads((bundle / fmt.MANIFEST).read_text())
    del manifest["files"][name]
    (bundle / fmt.MANIFEST).write_text(json.dumps(manifest))
    assert refusal(bundle).reason == f"files has no entry for {name}"


def test_an_index_of_another_kind_than_the_manifest_says_is_refused(bundle: Path) -> None:
    reseal(bundle, index={"kind": "ivf", "lists": 3, "scanned": 10})
    assert refusal(bundle).reason == "files names index.hnsw, but index.kind is ivf"


def test_an_index_of_content_without_content_is_refused(bundle: Path) -> None:
    (bundle / fmt.CONTENT).unlink()
    reseal(bundle, content=None)
    assert refusal(bundle).reason == "files names content.hnsw, but no content.npy"


@pytest.fixture(scope="module")
def with_lists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose indices are inverted lists."""
    directory = tmp_path_factory.mktemp("bundles") / "lists"
    parts = full_parts(tmp_path_factory.mktemp("clip"))
    write_bundle(replace(parts, index=fmt.IvfSpec(kind="ivf", lists=5, scanned=20)), directory)
    return directory


@pytest.mark.parametrize("spare", [0, 7])
def test_inverted_lists_hold_every_item_of_a_bundle(with_lists: Path, spare: int) -> None:
    loaded = load(with_lists, spare)
    assert loaded.manifest.index == fmt.IvfSpec(kind="ivf", lists=5, scanned=20)
    assert loaded.content is not None
    for index, vectors in (
        (loaded.index, loaded.vectors),
        (loaded.content.index, loaded.content.vectors),
    ):
        assert isinstance(index, IvfIndex)
        rows, _ = index.search(vectors[:1].copy(), 50, 50)
        assert sorted(rows[0].tolist()) == list(range(50))


def repeated_row(arrays: dict[str, np.ndarray]) -> None:
    arrays["rows"][0] = arrays["rows"][1]


def row_that_is_no_item(arrays: dict[str, np.ndarray]) -> None:
    arrays["rows"][0] = 50


def missing_rows(arrays: dict[str, np.ndarray]) -> None:
    arrays["rows"] = arrays["rows"][:-1]
    arrays["starts"] = np.minimum(arrays["starts"], 49)


def other_vectors(arrays: dict[str, np.ndarray]) -> None:
    arrays["pairing_id"] = np.array("0123456789abcdef")


def no_starts(arrays: dict[str, np.ndarray]) -> None:
    del arrays["starts"]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (repeated_row, "is there twice"),
        (row_that_is_no_item, "rows[0] is 50"),
        (missing_rows, "holds 49 items, the manifest says 50"),
        (other_vectors, "is of another vectors.npy"),
        (no_starts, "lacks starts"),
    ],
)
def test_lists_that_are_not_those_of_the_items_are_refused(
    with_lists: Path,
    tmp_path: Path,
    spoil: Callable[[dict[str, np.ndarray]], None],
    reason: str,
) -> None:
    bundle = Path(shutil.copytree(with_lists, tmp_path / "bundle"))
    with np.load(bundle / fmt.INDEX.lists) as archive:
        arrays = dict(archive)
    spoil(arrays)
    np.savez(bundle / fmt.INDEX.lists, **arrays)
    reseal(bundle)
    error = refusal(bundle)
    assert error.file == fmt.INDEX.lists
    assert reason in error.reason


@pytest.mark.parametrize("names", [(fmt.CONTENT, *fmt.CONTENT_INDEX[:2]), ()])
def test_content_without_its_specification_or_the_other_way_round_is_refused(
    bundle: Path, names: tuple[str, ...]
) -> None:
    manifest = json.loads((bundle / fmt.MANIFEST).read_text())
    for name in names:
        del manifest["files"][name]
    if not names:
        manifest["content"] = None
    (bundle / fmt.MANIFEST).write_text(json.dumps(manifest))
    assert "go together" in refusal(bundle).reason


def test_the_same_content_makes_the_same_bundle_id(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    again = write_bundle(full_parts(tmp_path / "clip"), tmp_path / "again")
    assert again.bundle_id == load(whole).manifest.bundle_id


@pytest.mark.parametrize("name", [*fmt.FILES, *OPTIONAL, MODEL])
def test_a_truncated_file_is_refused_by_name(bundle: Path, name: str) -> None:
    path = bundle / name
    path.write_bytes(path.read_bytes()[:-1])
    error = refusal(bundle)
    assert error.file == name
    assert "bytes, the manifest says" in error.reason


@pytest.mark.parametrize("name", [*fmt.FILES, *OPTIONAL, MODEL])
def test_a_tampered_file_is_refused_by_name(bundle: Path, name: str) -> None:
    path = bundle / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    error = refusal(bundle)
    assert error.file == name
    assert "sha256" in error.reason


@pytest.mark.parametrize("name", [*fmt.FILES, *OPTIONAL, MODEL])
def test_a_missing_file_is_refused_by_name(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    assert refusal(bundle).file == name


def test_a_directory_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    error = refusal(tmp_path)
    assert error.file == fmt.MANIFEST
    assert "not found" in error.reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format_version": 1}, "format_version"),
        ({"items": 0}, "items"),
        ({"surprise": 1}, "surprise"),
        ({"name": "another"}, "bundle_id"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused_with_its_field(
    bundle: Path, change: dict[str, object], reason: str
) -> None:
    manifest = json.loads((bundle / fmt.MANIFEST).read_text())
    (bundle / fmt.MANIFEST).write_text(json.dumps(manifest | change))
    error = refusal(bundle)
    assert error.file == fmt.MANIFEST
    assert reason in error.reason


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bundles") / "other"
    write_bundle(full_parts(tmp_path_factory.mktemp("clip"), seed=1), directory)
    return directory


@pytest.mark.parametrize("name", [fmt.ENCODER, fmt.RANKER, fmt.ITEM_TOWER])
def test_a_model_of_another_training_run_is_refused(bundle: Path, other: Path, name: str) -> None:
    shutil.copy(other / name, bundle / name)
    reseal(bundle)
    error = refusal(bundle)
    assert error.file == name
    assert "not one training run" in error.reason


@pytest.mark.parametrize("name", GRAPHS)
def test_an_index_of_other_vectors_is_refused(bundle: Path, other: Path, name: str) -> None:
    (bundle / GRAPHS[name]).unlink()
    shutil.copy(other / name, bundle / name)
    reseal(bundle)
    error = refusal(bundle)
    assert error.file == name
    assert "its vector is not that of row 0" in error.reason


@pytest.mark.parametrize("name", GRAPHS.values())
def test_a_graph_of_other_vectors_is_refused(bundle: Path, other: Path, name: str) -> None:
    shutil.copy(other / name, bundle / name)
    reseal(bundle)
    error = refusal(bundle)
    assert error.file == name
    assert error.reason == "is of other vectors"


@pytest.mark.parametrize("spare", [0, 7])
def test_a_bundle_without_graphs_finds_the_same(bundle: Path, spare: int) -> None:
    def found() -> list[np.ndarray]:
        loaded = load(bundle, spare)
        assert loaded.content is not None
        return [
            *loaded.index.search(loaded.vectors[:9].copy(), 20, 30),
            *loaded.content.index.search(loaded.content.vectors[:9].copy(), 20, 30),
        ]

    by_graph = found()
    for name in GRAPHS.values():
        (bundle / name).unlink()
    reseal(bundle)
    for one, other in zip(found(), by_graph, strict=True):
        np.testing.assert_array_equal(one, other)


def poison_vectors(directory: Path) -> None:
    vectors = np.load(directory / fmt.VECTORS)
    vectors[3, 0] = np.nan
    np.save(directory / fmt.VECTORS, vectors)


def vectors_not_of_unit_length(directory: Path) -> None:
    vectors = np.load(directory / fmt.VECTORS)
    vectors[5] *= 2
    np.save(directory / fmt.VECTORS, vectors)


def field_out_of_range(directory: Path) -> None:
    with np.load(directory / fmt.FEATURES) as archive:
        arrays = dict(archive)
    arrays["item_fields"][0, 0] = 99
    np.savez(directory / fmt.FEATURES, **arrays)


def content_not_of_unit_length(directory: Path) -> None:
    content = np.load(directory / fmt.CONTENT)
    content[:] = 0.0
    content[7] = 0.5
    np.save(directory / fmt.CONTENT, content)


def content_of_another_width(directory: Path) -> None:
    np.save(directory / fmt.CONTENT, np.zeros((50, 9), np.float32))


def neighbour_that_is_no_item(directory: Path) -> None:
    with np.load(directory / fmt.NEIGHBOURS) as archive:
        arrays = dict(archive)
    arrays["rows"][0, 0] = 50
    np.savez(directory / fmt.NEIGHBOURS, **arrays)


def popularity_too_short(directory: Path) -> None:
    np.save(directory / fmt.POPULARITY, np.zeros(7, np.float32))


def user_without_id(directory: Path) -> None:
    users = pq.read_table(directory / fmt.USERS)
    ids = [None, *users.column("user_id").to_pylist()[1:]]
    pq.write_table(users.set_column(0, "user_id", pa.array(ids)), directory / fmt.USERS)


def items_without_ids(directory: Path) -> None:
    items = pq.read_table(directory / fmt.ITEMS)
    pq.write_table(items.drop_columns(["item_id"]), directory / fmt.ITEMS)


def rewrite_history(directory: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    with np.load(directory / fmt.ENCODER) as archive:
        arrays = dict(archive)
    arrays["history_table"] = change(arrays["history_table"])
    np.savez(directory / fmt.ENCODER, **arrays)


def history_too_short(directory: Path) -> None:
    rewrite_history(directory, lambda table: table[:7])


def history_of_doubles(directory: Path) -> None:
    rewrite_history(directory, lambda table: table.astype(np.float64))


def history_beyond_halves(directory: Path) -> None:
    rewrite_history(directory, lambda table: table.astype(np.float32) + np.float32(7e4))


@pytest.mark.parametrize(
    ("spoil", "file", "reason"),
    [
        (user_without_id, fmt.USERS, "1 rows have no user_id"),
        (items_without_ids, fmt.ITEMS, "lacks the column item_id"),
        (history_too_short, fmt.ENCODER, "is float16(7, 64) where float16(50, e) is declared"),
        (history_of_doubles, fmt.ENCODER, "is float64(50, 64) where float16(50, e) is declared"),
        (history_beyond_halves, fmt.ENCODER, "history_table holds values that are not finite, or"),
        (poison_vectors, fmt.VECTORS, "not finite"),
        (vectors_not_of_unit_length, fmt.VECTORS, "row 5 has length 2.0000, not 1"),
        (field_out_of_range, fmt.FEATURES, "colour: values outside 0..4"),
        (content_not_of_unit_length, fmt.CONTENT, "row 7 has length 1.4142, not 1 or 0"),
        (content_of_another_width, fmt.CONTENT, "float32(50, 9) where float32(50, 8) is declared"),
        (neighbour_that_is_no_item, fmt.NEIGHBOURS, "names rows outside -1..49"),
        (popularity_too_short, fmt.POPULARITY, "float32(7,) where float32(50,) is declared"),
    ],
)
def test_content_that_does_not_fit_is_refused_even_under_a_good_seal(
    bundle: Path, spoil: Callable[[Path], None], file: str, reason: str
) -> None:
    spoil(bundle)
    reseal(bundle)
    error = refusal(bundle)
    assert error.file == file
    assert reason in error.reason


@pytest.mark.parametrize("spare", [0, 7])
def test_a_history_table_in_floats_is_served_in_halves(bundle: Path, spare: int) -> None:
    halves = load(bundle, spare).encoder["history_table"]
    rewrite_history(bundle, lambda table: table.astype(np.float32))
    reseal(bundle)
    found = load(bundle, spare).encoder["history_table"]
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, halves)


def profiles_of(codes: list[list[int] | None]) -> pa.Array:
    return pa.array(codes, pa.list_(pa.int32()))


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (None, "lacks the column profile"),
        (profiles_of([[1, 2]] * 19 + [[1]]), "profile: not 2 codes in every row"),
        (profiles_of([[1, 2]] * 19 + [None]), "profile: not 2 codes in every row"),
        (profiles_of([[1, 2]] * 19 + [[1, 8]]), "profile: profile_age outside 0..7"),
        (profiles_of([[1, 2]] * 19 + [[-1, 7]]), "profile: profile_plan outside 0..3"),
    ],
)
def test_profiles_that_do_not_fit_are_refused(
    tmp_path: Path, column: pa.Array | None, reason: str
) -> None:
    directory = tmp_path / "bundle"
    write_bundle(random_parts(items=50, users=20, profiled=True), directory)
    assert load(directory).profiles.codes.shape == (20, 2)
    users = pq.read_table(directory / fmt.USERS).drop_columns("profile")
    pq.write_table(
        users if column is None else users.append_column("profile", column), directory / fmt.USERS
    )
    reseal(directory)
    error = refusal(directory)
    assert (error.file, error.reason) == (fmt.USERS, reason)


def test_more_threads_load_the_same(whole: Path) -> None:
    one, more = load(whole, 7), load(whole, 7, threads=4)
    np.testing.assert_array_equal(one.vectors, more.vectors)
    np.testing.assert_array_equal(one.item_fields, more.item_fields)
    np.testing.assert_array_equal(one.neighbours.rows, more.neighbours.rows)
    assert one.items.equals(more.items)
    assert one.users.equals(more.users)


def test_a_failed_write_leaves_the_last_good_bundle(whole: Path, bundle: Path) -> None:
    broken = replace(random_parts(items=60), evaluation={"not": object()})
    with pytest.raises(TypeError):
        write_bundle(broken, bundle)
    assert load(bundle).manifest == load(whole).manifest
    assert [path.name for path in bundle.parent.iterdir()] == [bundle.name]


def test_a_rewrite_replaces_the_bundle(bundle: Path) -> None:
    manifest = write_bundle(random_parts(items=60), bundle)
    assert load(bundle).manifest == manifest
    assert [path.name for path in bundle.parent.iterdir()] == [bundle.name]
