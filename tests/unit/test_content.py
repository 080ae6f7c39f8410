"""Content vectors on disk come back by item id, whatever the order asked for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tamis_pipeline.content import CARD, Content
from tamis_pipeline.dataset import DatasetRejected
from tamis_server.bundles.manifest import ContentSpec

SPEC = ContentSpec(
    encoder="onnx:test", dim=2, text_weight=1, image_weight=1, image_size=8, max_tokens=6
)


def written(directory: Path) -> Path:
    vectors = np.array([[1, 0], [0, 1], [0, 0]], np.float32)
    Content(vectors, np.array([True, False, False]), SPEC).save(directory, ["a", "b", "c"])
    (directory / CARD).write_text(json.dumps({"spec": SPEC.model_dump()}))
    return directory


def test_vectors_are_aligned_with_the_ids_asked_for(tmp_path: Path) -> None:
    found = Content.load(written(tmp_path), ["b", "new", "a"])
    np.testing.assert_array_equal(found.vectors, [[0, 1], [0, 0], [1, 0]])
    np.testing.assert_array_equal(found.has_image, [False, False, True])
    assert found.spec == SPEC


def test_a_directory_of_something_else_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DatasetRejected, match="not what tamis pipeline embed writes"):
        Content.load(tmp_path, ["a"])


def test_vectors_that_do_not_fit_the_ids_are_refused(tmp_path: Path) -> None:
    directory = written(tmp_path)
    np.save(directory / "content.npy", np.zeros((2, 2), np.float32))
    with pytest.raises(DatasetRejected, match=r"3 ids, but content.npy is \[2, 2\]"):
        Content.load(directory, ["a"])
