"""Small ranking models in the contract of docs/ranking.md, and Triton repositories of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tamis_pipeline.model_repository import configurations

OPSET = 17


def linear_ranker(items: int, cross: int, objectives: int, seed: int = 0) -> bytes:
    """probabilities = sigmoid(table[rows] + cross @ weights): rows INT32[b, c], cross FP32[b, c, x]
    to probabilities FP32[b, c, o]."""
    rng = np.random.default_rng(seed)
    constants = {
        "table": rng.normal(size=(items, objectives)).astype(np.float32),
        "weights": rng.normal(size=(cross, objectives)).astype(np.float32),
        "least": np.array(0, np.int32),
        "most": np.array(items - 1, np.int32),
    }
    nodes = [
        helper.make_node("Clip", ["rows", "least", "most"], ["known"]),
        helper.make_node("Gather", ["table", "known"], ["item"]),
        helper.make_node("MatMul", ["cross", "weights"], ["taste"]),
        helper.make_node("Add", ["item", "taste"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["probabilities"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [
            helper.make_tensor_value_info("rows", TensorProto.INT32, ["b", "c"]),
            helper.make_tensor_value_info("cross", TensorProto.FLOAT, ["b", "c", cross]),
        ],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["b", "c", objectives])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def write_repository(directory: Path, models: Mapping[str, bytes]) -> Path:
    """A model repository of ``models``, by path (``NAME/VERSION/model.onnx``)."""
    for path, content in {**models, **configurations(models)}.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(content)
    return directory
