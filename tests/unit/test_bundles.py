"""A bundle that is not whole, or not of one piece, is refused with the file and the reason."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tamis_pipeline.bundle import write_bundle
from tamis_pipeline.synthetic import random_parts
from tamis_server.bundles import manifest as fmt
from tamis_server.bundles.loader import load, verify
from tamis_server.domain.errors import BundleRejected


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bundles") / "whole"
    write_bundle(random_parts(items=50), directory)
    return directory


@pytest.fixture
def bundle(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "bundle"))


def reseal(directory: Path, **changes: object) -> None:
    """Bring the manifest's file table up to date with what is there now."""
    manifest = json.loads((directory / fmt.MANIFEST).read_text())
    files = {
        name: fmt.FileEntry(
            sha256=fmt.digest(directory / name), bytes=(directory / name).stat().st_size
        )
        for name in fmt.FILES
    }
    manifest["files"] = {name: entry.model_dump() for name, entry in files.items()}
    manifest["bundle_id"] = fmt.bundle_id(manifest["name"], files)
    manifest.update(changes)
    (directory / fmt.MANIFEST).write_text(json.dumps(manifest))


def refusal(directory: Path) -> BundleRejected:
    with pytest.raises(BundleRejected) as caught:
        load(directory)
    return caught.value


def test_a_whole_bundle_loads_with_its_declared_shapes(whole: Path) -> None:
    loaded = load(whole)
    assert loaded.vectors.shape == (50, loaded.manifest.dim)
    assert not loaded.vectors.flags.writeable
    assert verify(whole).bundle_id.startswith("random-")


def test_the_same_content_makes_the_same_bundle_id(whole: Path, tmp_path: Path) -> None:
    assert (
        write_bundle(random_parts(items=50), tmp_path / "again").bundle_id
        == load(whole).manifest.bundle_id
    )


@pytest.mark.parametrize("name", fmt.FILES)
def test_a_truncated_file_is_refused_by_name(bundle: Path, name: str) -> None:
    path = bundle / name
    path.write_bytes(path.read_bytes()[:-1])
    error = refusal(bundle)
    assert error.file == name
    assert "bytes, the manifest says" in error.reason


@pytest.mark.parametrize("name", fmt.FILES)
def test_a_tampered_file_is_refused_by_name(bundle: Path, name: str) -> None:
    path = bundle / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    error = refusal(bundle)
    assert error.file == name
    assert "sha256" in error.reason


@pytest.mark.parametrize("name", fmt.FILES)
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
        ({"format_version": 2}, "format_version"),
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


def test_a_ranker_of_another_training_run_is_refused(bundle: Path, tmp_path: Path) -> None:
    write_bundle(random_parts(items=50, seed=1), tmp_path / "other")
    shutil.copy(tmp_path / "other" / fmt.RANKER, bundle / fmt.RANKER)
    reseal(bundle)
    error = refusal(bundle)
    assert error.file == fmt.RANKER
    assert "not one training run" in error.reason


def test_an_index_of_other_vectors_is_refused(bundle: Path, tmp_path: Path) -> None:
    write_bundle(random_parts(items=50, seed=1), tmp_path / "other")
    shutil.copy(tmp_path / "other" / fmt.INDEX, bundle / fmt.INDEX)
    reseal(bundle)
    error = refusal(bundle)
    assert error.file == fmt.INDEX
    assert "its vector is not that of row 0" in error.reason


def poison_vectors(directory: Path) -> None:
    vectors = np.load(directory / fmt.VECTORS)
    vectors[3, 0] = np.nan
    np.save(directory / fmt.VECTORS, vectors)


def field_out_of_range(directory: Path) -> None:
    with np.load(directory / fmt.FEATURES) as archive:
        arrays = dict(archive)
    arrays["item_fields"][0, 0] = 99
    np.savez(directory / fmt.FEATURES, **arrays)


def popularity_too_short(directory: Path) -> None:
    np.save(directory / fmt.POPULARITY, np.zeros(7, np.float32))


@pytest.mark.parametrize(
    ("spoil", "file", "reason"),
    [
        (poison_vectors, fmt.VECTORS, "not finite"),
        (field_out_of_range, fmt.FEATURES, "colour: values outside 0..4"),
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


def test_a_failed_write_leaves_the_last_good_bundle(whole: Path, bundle: Path) -> None:
    broken = replace(random_parts(items=50), evaluation={"not": object()})
    with pytest.raises(TypeError):
        write_bundle(broken, bundle)
    assert load(bundle).manifest == load(whole).manifest
    assert [path.name for path in bundle.parent.iterdir()] == [bundle.name]


def test_a_rewrite_replaces_the_bundle(bundle: Path) -> None:
    manifest = write_bundle(random_parts(items=60), bundle)
    assert load(bundle).manifest == manifest
    assert [path.name for path in bundle.parent.iterdir()] == [bundle.name]
