"""The query encoder as ONNX, from the arrays that ``bundles.query_tower`` serves from.

Events come as what the history table says of their items, so that the model serves items that came
after it as well. Requests are batched along the first axis:

=======  ================  =========================================================================
events   float32[b, l, e]  ``history_table`` at the items' rows, the latest first
kinds    int32[b, l]       EventKind, 0 where there are no more events
context  int32[b, s]       slots of ``context_table``, as ``query_tower.context`` gives
query    float32[b, d]     out: unit length; zero where the history says nothing
=======  ================  =========================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tamis_pipeline.rankers.export import OPSET, Float32, finished
from tamis_server.bundles.query_tower import HEARD

PATH = "query_encoder/1/model.onnx"
_GRAPH = """
<ir_version: 8, opset_import: ["" : {opset}], producer_name: "tamis">
query_encoder (float[b, l, {e}] events, int32[b, l] kinds, int32[b, {s}] context)
    => (float[b, {d}] query)
{{
    heard_flat = Gather (heard_by_kind, kinds)
    heard = Unsqueeze (heard_flat, axis_2)
    sought = MatMul (events, seeds)
    of_kind = Gather (kind_bias, kinds)
    length = Shape <start = 1, end = 2> (kinds)
    of_age = Slice (recency_bias, zero, length, zero)
    wanted_1 = Add (sought, of_kind)
    wanted = Add (wanted_1, of_age)
    unheard = Sub (one_float, heard)
    hidden_far = Mul (unheard, far)
    logits = Add (wanted, hidden_far)
    most = ReduceMax <axes = [1], keepdims = 1> (logits)
    below = Sub (logits, most)
    powers_all = Exp (below)
    powers = Mul (powers_all, heard)
    whole_all = ReduceSum <keepdims = 1> (powers, axis_1)
    whole = Max (whole_all, least)
    attention = Div (powers, whole)
    weight_flat = Gather (kind_weight, kinds)
    weight = Unsqueeze (weight_flat, axis_2)
    weighed = Mul (attention, weight)
    by_head = Transpose <perm = [0, 2, 1]> (weighed)
    pooled_heads = MatMul (by_head, events)
    pooled = Reshape (pooled_heads, flat)
    slots = Gather (context_table, context)
    about = ReduceSum <keepdims = 0> (slots, axis_1)
    first_1 = MatMul (pooled, w1)
    first_2 = MatMul (about, w_context)
    first_3 = Add (first_1, first_2)
    first = Add (first_3, b1)
    active = Relu (first)
    straight = MatMul (pooled, skip)
    second = MatMul (active, w2)
    sum = Add (straight, second)
    raw = Add (sum, b2)
    squares = Mul (raw, raw)
    square = ReduceSum <keepdims = 1> (squares, axis_1)
    norm_any = Sqrt (square)
    norm = Max (norm_any, least)
    unit = Div (raw, norm)
    any_heard = ReduceMax <axes = [1], keepdims = 0> (heard)
    query = Mul (unit, any_heard)
}}
"""
_UNUSED = "history_table"  # what of it is needed comes with the events


def query_encoder(encoder: Mapping[str, Float32], profile: int = 0) -> bytes:
    """The function that ``manifest.ENCODER_ARRAYS`` define, as an ONNX file. profile: fields of a
    user that are part of the context."""
    width, heads = encoder["seeds"].shape
    text = _GRAPH.format(opset=OPSET, e=width, s=2 + profile, d=encoder["b2"].shape[0])
    arrays: dict[str, Any] = {
        **{name: array for name, array in encoder.items() if name != _UNUSED},
        "heard_by_kind": HEARD.astype(np.float32),
        "one_float": np.float32(1),
        "far": np.float32(-1e9),
        "least": np.float32(1e-9),
        "zero": np.array([0]),
        "axis_1": np.array([1]),
        "axis_2": np.array([2]),
        "flat": np.array([0, heads * width]),
    }
    return finished(text, arrays)
