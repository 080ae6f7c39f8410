"""A CLIP of random weights in the layout of ``bundles.clip``: a few kilobytes, made in a moment.

Words and mean colours go through one random matrix each: no model that knows anything, but equal
texts, and equal pictures, come out equal.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace

from tamis_server.bundles.clip import TEXT, TOKENIZER, VISION, write_card
from tamis_server.bundles.pictures import PREPROCESSOR

PAD, UNKNOWN = "[PAD]", "[UNK]"
WORDS = ("red", "blue", "green", "shoe", "shirt", "dress", "summer", "winter", "a", "b", "c")
IMAGE_SIZE = 8
MAX_TOKENS = 6


def write_random_clip(directory: Path, dim: int = 16, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    directory.mkdir(parents=True, exist_ok=True)
    vocabulary = {word: number for number, word in enumerate((PAD, UNKNOWN, *WORDS))}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.enable_padding(pad_id=0, pad_token=PAD)
    tokenizer.save(str(directory / TOKENIZER))
    table = rng.normal(size=(len(vocabulary), dim)).astype(np.float32)
    table[0] = 0  # so that padding adds nothing
    _save(directory / TEXT, _words(table))
    _save(directory / VISION, _colours(rng.normal(size=(3, dim)).astype(np.float32)))
    preprocessing = {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        "do_center_crop": False,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.25, 0.25, 0.25],
        "resample": 2,
    }
    (directory / PREPROCESSOR).write_text(json.dumps(preprocessing))
    write_card(directory, dim, MAX_TOKENS, IMAGE_SIZE)
    return directory


def _words(table: npt.NDArray[np.float32]) -> onnx.GraphProto:
    return helper.make_graph(
        [
            helper.make_node("Gather", ["table", "input_ids"], ["words"]),
            helper.make_node("ReduceSum", ["words", "axis"], ["text_embeds"], keepdims=0),
        ],
        "text",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["n", "length"])],
        [helper.make_tensor_value_info("text_embeds", TensorProto.FLOAT, ["n", table.shape[1]])],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(np.array([1], np.int64), "axis"),
        ],
    )


def _colours(matrix: npt.NDArray[np.float32]) -> onnx.GraphProto:
    size = ["n", 3, IMAGE_SIZE, IMAGE_SIZE]
    return helper.make_graph(
        [
            helper.make_node("ReduceMean", ["pixel_values", "axes"], ["mean"], keepdims=0),
            helper.make_node("MatMul", ["mean", "matrix"], ["image_embeds"]),
        ],
        "vision",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, size)],
        [helper.make_tensor_value_info("image_embeds", TensorProto.FLOAT, ["n", matrix.shape[1]])],
        [
            numpy_helper.from_array(matrix, "matrix"),
            numpy_helper.from_array(np.array([2, 3], np.int64), "axes"),
        ],
    )


def _save(path: Path, graph: onnx.GraphProto) -> None:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
