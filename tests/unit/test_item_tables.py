"""A ranking model holds the bundle's items, as long as a file of ONNX's can."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tamis_pipeline.bundle import BundleParts
from tamis_pipeline.item_tables import knowing_items
from tamis_pipeline.rankers import export
from tamis_pipeline.synthetic import random_parts


@pytest.fixture(scope="module")
def parts() -> BundleParts:
    return random_parts(items=50)


@pytest.fixture(scope="module")
def ranker(parts: BundleParts) -> bytes:
    params = {name: np.asarray(array, np.float32) for name, array in parts.ranker.items()}
    return export.deepfm(params, parts.features)


def test_a_model_that_holds_the_items_is_told_rows(parts: BundleParts, ranker: bytes) -> None:
    dense = np.concatenate([parts.item_dense, parts.vectors], axis=1)
    model = onnx.load_model_from_string(knowing_items(ranker, parts.item_fields, dense, "a1"))
    inputs = {each.name for each in model.graph.input}
    assert inputs == {"user_fields", "user_dense", "cross", "rows"}


def test_items_that_an_onnx_file_has_no_room_for_stay_out_of_the_model(
    parts: BundleParts, ranker: bytes
) -> None:
    width = parts.item_dense.shape[1] + parts.vectors.shape[1]
    many = 2**31 // (4 * width)  # tables of 2 GiB, of one row in memory
    fields = np.broadcast_to(parts.item_fields[:1], (many, parts.item_fields.shape[1]))
    dense = np.broadcast_to(np.float32(0), (many, width))
    assert knowing_items(ranker, fields, dense, "a1") == ranker
