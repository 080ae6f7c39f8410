"""Puts a bundle's items into a ranking model, so that it is told rows in place of features.

Four bytes a candidate travel then, rather than hundreds; and the model fits this bundle alone, so
its answers say which (``PAIRING``). A catalogue too large for an ONNX file stays out of the model,
which is told features then, as the contract has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from tamis_server.bundles.ranking_contract import BY_ROW, PAIRING, PROBABILITIES, pairing_number

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
_ROWS = {"item": "rows", "history": "history_rows"}
# a protobuf message ends at 2 GiB; the last of it is for what is said about the tables
_LARGEST = 2**31 - 2**20


def knowing_items(model: bytes, item_fields: Int32, item_dense: Float32, pairing_id: str) -> bytes:
    """``model`` with the tables it needs; one that is no ranking model, or that they don't fit in,
    comes back as it is.

    item_fields int32[items, fields]; item_dense float32[items, dense + dim], vectors included.
    """
    loaded = onnx.load_model_from_string(model)
    graph = loaded.graph
    if PROBABILITIES not in {each.name for each in graph.output}:
        return model
    nodes = list(_gathers(graph))
    if not BY_ROW & {each.name for each in graph.input}:
        return model
    first = graph.input[0]
    nodes += [
        helper.make_node("Shape", [first.name], ["users_of_run"], start=0, end=1),
        helper.make_node("Concat", ["users_of_run", "one_number"], ["pairing_shape"], axis=0),
        helper.make_node("Expand", ["pairing_number", "pairing_shape"], [PAIRING]),
    ]
    shape = [*_shape(first)[:1], 1]  # Triton wants a dimension beside the users'
    graph.output.append(helper.make_tensor_value_info(PAIRING, TensorProto.INT64, shape))
    constants: dict[str, npt.NDArray[Any]] = {
        "pairing_number": np.array([[pairing_number(pairing_id)]], np.int64),
        "one_number": np.array([1], np.int64),
        "first_row": np.array(0, np.int32),
        "last_row": np.array(item_fields.shape[0] - 1, np.int32),
        "table_of_fields": item_fields,
        "table_of_dense": item_dense,
    }
    used = {name for node in nodes for name in node.input}
    needed = {name: array for name, array in constants.items() if name in used}
    if len(model) + sum(array.nbytes for array in needed.values()) > _LARGEST:
        return model
    for name, array in needed.items():
        graph.initializer.append(numpy_helper.from_array(array, name))
    own = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *own])  # in the order of computation
    onnx.checker.check_model(loaded, full_check=True)
    return bytes(loaded.SerializeToString(deterministic=True))


def _gathers(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Make inputs of features inputs of rows; the nodes that look the features up."""
    for side, rows in _ROWS.items():
        wanted = [each for each in graph.input if each.name in (f"{side}_fields", f"{side}_dense")]
        if not wanted:
            continue
        shape = _shape(wanted[0])[:2]
        graph.input.append(helper.make_tensor_value_info(rows, TensorProto.INT32, shape))
        # what fills a list up is row -1
        yield helper.make_node("Clip", [rows, "first_row", "last_row"], [f"known_{rows}"])
        for each in wanted:
            table = "table_of_" + each.name.removeprefix(f"{side}_")
            yield helper.make_node("Gather", [table, f"known_{rows}"], [each.name])
            graph.input.remove(each)


def _shape(value: onnx.ValueInfoProto) -> list[int | str]:
    """The dimensions' sizes, or their names where they are free."""
    dimensions = value.type.tensor_type.shape.dim
    return [each.dim_value or each.dim_param for each in dimensions]
