"""What is said of a ranker can be written as JSON, and read by people, whatever was held out."""

from __future__ import annotations

import json

import numpy as np

from tamis_pipeline.evaluation import markdown
from tamis_pipeline.rankers.calibration import Platt
from tamis_pipeline.rankers.exposures import Exposures
from tamis_pipeline.rankers.objectives import DEFAULT
from tamis_pipeline.rankers.quality import quality
from tamis_server.domain.context import EventKind


def test_an_objective_that_nothing_fulfilled_has_no_auc() -> None:
    rng = np.random.default_rng(0)
    lists = Exposures(
        user_fields=np.zeros((4, 1), np.int32),
        user_dense=np.zeros((4, 1), np.float32),
        items=np.arange(20, dtype=np.int32).reshape(4, 5),
        cross=np.zeros((4, 5, 1), np.float32),
        outcomes=np.full(4, 1 << EventKind.VIEW, np.uint16),  # clicks, and no likes
        history_items=np.zeros((4, 1), np.int32),
        history_kinds=np.zeros((4, 1), np.uint8),
        history_ages=np.zeros((4, 1), np.float32),
    )
    logits = rng.normal(size=(4, 5, 2)).astype(np.float32)
    found = quality(logits, [Platt(1.0, 0.0)] * 2, lists, DEFAULT)
    assert 0 <= found["click"]["AUC"] <= 1
    assert (found["like"]["AUC"], found["like"]["GAUC"]) == (None, None)
    json.dumps(found, allow_nan=False)
    table = markdown.ranker({"ranker": {f"deepfm, {name}": each for name, each in found.items()}})
    assert "| deepfm, like | - | - | " in table
