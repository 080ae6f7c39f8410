"""Writes trained towers in the layout of ``tamis_server.bundles.clip``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from tamis_pipeline.clip.towers import NOTHING, Float32, read, see
from tamis_pipeline.clip.training import MEAN, STD, Trained
from tamis_server.bundles.clip import TEXT, TOKENIZER, VISION, Card, write_card
from tamis_server.bundles.pictures import PREPROCESSOR

_OPSET, _IR = 18, 10
_BICUBIC = 3


def preprocessing(image_size: int) -> dict[str, Any]:
    """preprocessor_config.json: the whole picture, whatever its shape, made square."""
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"height": image_size, "width": image_size},
        "resample": _BICUBIC,
        "do_center_crop": False,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [MEAN] * 3,
        "image_std": [STD] * 3,
    }


def export(trained: Trained, directory: Path) -> Card:
    """Into an existing directory."""
    config = trained.config
    size, length = config.image_size, config.max_tokens
    vision = OnnxOps(trained.weights)
    pixels = helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["n", 3, size, size])
    found = see(vision, vision.names, "pixel_values", len(config.channels))
    vision.save(directory / VISION, [pixels], found, "image_embeds", config.dim)
    text = OnnxOps(trained.weights)
    given = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "length"])
        for name in ("input_ids", "attention_mask")
    ]
    mask = text.node("Cast", "attention_mask", to=TensorProto.FLOAT)
    text.save(
        directory / TEXT,
        given,
        read(text, text.names, "input_ids", mask),
        "text_embeds",
        config.dim,
    )
    trained.tokenizer.save(str(directory / TOKENIZER))
    (directory / PREPROCESSOR).write_text(json.dumps(preprocessing(size), indent=2) + "\n")
    return write_card(directory, config.dim, length, size)


class OnnxOps:
    """``towers.Ops`` on names in a graph, pictures with channels first."""

    def __init__(self, weights: Mapping[str, Float32]) -> None:
        self._weights = weights
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, npt.NDArray[Any]] = {}

    @property
    def names(self) -> Mapping[str, str]:
        """A weight's name in the graph is its own."""
        return {name: name for name in self._weights}

    def convolve(self, x: str, kernel: str, bias: str, stride: int) -> str:
        edge = self._weights[kernel].shape[0] // 2
        self._constants[kernel] = self._weights[kernel].transpose(3, 2, 0, 1)
        return self.node("Conv", x, kernel, self._used(bias), strides=[stride] * 2, pads=[edge] * 4)

    def dense(self, x: str, matrix: str) -> str:
        return self.node("MatMul", x, self._used(matrix))

    def add(self, x: str, y: str) -> str:
        return self.node("Add", x, self._used(y))

    def relu(self, x: str) -> str:
        return self.node("Relu", x)

    def tanh(self, x: str) -> str:
        return self.node("Tanh", x)

    def spatial_mean(self, x: str) -> str:
        return self.node("ReduceMean", x, self._constant("spatial", [2, 3]), keepdims=0)

    def lookup(self, table: str, ids: str) -> str:
        return self.node("Gather", self._used(table), ids)

    def attend(self, values: str, scores: str, mask: str) -> str:
        absent = self.node("Sub", self._constant("one", 1.0), self._column(mask))
        masked = self.node("Mul", absent, self._constant("nothing", NOTHING))
        shares = self.node("Softmax", self.node("Add", scores, masked), axis=1)
        weighed = self.node("Mul", shares, values)
        return self.node("ReduceSum", weighed, self._constant("middle", [1]), keepdims=0)

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def save(
        self, path: Path, given: list[onnx.ValueInfoProto], found: str, name: str, dim: int
    ) -> None:
        """The graph so far as a model; ``found`` is what it gives, under ``name``."""
        self._nodes.append(helper.make_node("Identity", [found], [name]))
        graph = helper.make_graph(
            self._nodes,
            path.stem,
            given,
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", dim])],
            [numpy_helper.from_array(array, key) for key, array in self._constants.items()],
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR
        )
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, str(path))

    def _used(self, name: str) -> str:
        if name in self._weights:
            self._constants[name] = self._weights[name]
        return name

    def _column(self, mask: str) -> str:
        return self.node("Unsqueeze", mask, self._constant("last", [2]))

    def _constant(self, name: str, value: float | list[int]) -> str:
        kind = np.float32 if isinstance(value, float) else np.int64
        self._constants[name] = np.array(value, kind)
        return name
