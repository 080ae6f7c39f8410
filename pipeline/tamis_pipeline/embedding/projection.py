"""Narrower vectors: the directions in which a catalogue's vectors differ, built into the towers.

The served towers then give narrow vectors by themselves, and nothing else needs to know.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tamis_pipeline.dataset import DatasetRejected
from tamis_pipeline.encoders.port import Float32
from tamis_server.bundles.clip import TEXT, VISION, read_card, write_card


def principal(vectors: Float32, width: int) -> Float32:
    """float32[c, width]: orthonormal, the first singular directions of vectors [n, c].

    Not centred: the origin is the same for texts, for pictures and for what is fused of both.
    Raises DatasetRejected for a width beyond what the vectors span.
    """
    most = min(vectors.shape)
    if not 1 <= width <= most:
        raise DatasetRejected(
            f"projection to {width}: {vectors.shape[0]} vectors of width {vectors.shape[1]} "
            f"can be projected to 1 to {most}"
        )
    _, directions = np.linalg.eigh(vectors.T.astype(np.float64) @ vectors)
    # an eigenvector's sign is anybody's choice: the largest entry is made positive
    found = directions[:, ::-1][:, :width]
    signs = np.sign(found[np.abs(found).argmax(axis=0), np.arange(width)])
    return np.ascontiguousarray(found * signs, np.float32)


def project_towers(directory: Path, matrix: Float32) -> None:
    """Append the product with matrix [c, width] to both towers of ``directory``."""
    card = read_card(directory)
    for name in (TEXT, VISION):
        model = onnx.load(str(directory / name))
        before = model.graph.output[0].name
        model.graph.initializer.append(numpy_helper.from_array(matrix, "projection"))
        model.graph.node.append(helper.make_node("MatMul", [before, "projection"], ["projected"]))
        del model.graph.output[:]
        model.graph.output.append(
            helper.make_tensor_value_info(
                "projected", onnx.TensorProto.FLOAT, ["n", matrix.shape[1]]
            )
        )
        onnx.save(model, str(directory / name))
    write_card(directory, matrix.shape[1], card.max_tokens, card.image_size)
