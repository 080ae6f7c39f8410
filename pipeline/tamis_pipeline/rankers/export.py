"""Rankers as ONNX, from the same arrays that are trained and served natively.

One signature for all, made for batching (Triton concatenates along the first axis): b requests of n
candidates each; what belongs to the user is sent once a request and broadcast inside. A request
with fewer candidates is filled up with any item, and what comes out there is thrown away.

=================  ==============================  =================================================
user_fields        int32[b, user fields]           ``features.user_features``
user_dense         float32[b, user dense + dim]    the same, then the query vector
item_fields        int32[b, n, item fields]        the bundle's item_fields at the candidates' rows
item_dense         float32[b, n, item dense + dim] its item_dense there, then the item vectors
cross              float32[b, n, cross]            ``features.cross_features``
history_fields     int32[b, l, item fields]        of the last events' items, the latest first;
history_dense      float32[b, l, item dense + dim] history_*: only where the model reads histories
history_kinds      int32[b, l]                     EventKind, 0 where there are no more events
history_ages       float32[b, l]                   ``features.ages``
probabilities      float32[b, n, objectives]       out: calibrated, in the order of the manifest
=================  ==============================  =================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from tamis_pipeline.rankers.deepfm import offsets
from tamis_pipeline.rankers.transformer import EPSILON, HIDDEN_FROM
from tamis_server.bundles.manifest import FeatureSchema

Float32 = npt.NDArray[np.float32]
OPSET = 17
_CANDIDATES = """
    int32[b, {user_fields}] user_fields, float[b, {user_dense}] user_dense,
    int32[b, n, {item_fields}] item_fields, float[b, n, {item_dense}] item_dense,
    float[b, n, {cross}] cross"""

_DEEPFM = """
<ir_version: 8, opset_import: ["" : {opset}], producer_name: "tamis">
deepfm ({inputs}) => (float[b, n, {objectives}] probabilities)
{{
    user_slots = Add (user_fields, user_offsets)
    item_slots = Add (item_fields, item_offsets)
    user = Gather (user_embedding, user_slots)
    item = Gather (item_embedding, item_slots)

    user_sum = ReduceSum <keepdims = 1> (user, axis_1)
    item_sum = ReduceSum <keepdims = 0> (item, axis_2)
    total = Add (user_sum, item_sum)
    total_squared = Mul (total, total)
    pairs_and_squares = ReduceSum <keepdims = 1> (total_squared, axis_2)
    user_squared = Mul (user, user)
    user_squares = ReduceSum <keepdims = 1> (user_squared, axes_1_2)
    item_squared = Mul (item, item)
    item_squares_each = ReduceSum <keepdims = 0> (item_squared, axis_3)
    item_squares = ReduceSum <keepdims = 1> (item_squares_each, axis_2)
    squares = Add (user_squares, item_squares)
    pairs_twice = Sub (pairs_and_squares, squares)
    pairs = Mul (pairs_twice, half)

    user_first_each = Gather (user_linear, user_slots)
    user_first_fields = ReduceSum <keepdims = 1> (user_first_each, axis_1)
    user_first_dense = MatMul (user_dense, user_dense_linear)
    user_first_row = Add (user_first_fields, user_first_dense)
    user_first = Unsqueeze (user_first_row, axis_1)
    item_first_each = Gather (item_linear, item_slots)
    item_first_fields = ReduceSum <keepdims = 1> (item_first_each, axis_2)
    item_first_dense = MatMul (item_dense, item_dense_linear)
    cross_first = MatMul (cross, cross_linear)
    wide_1 = Add (pairs, user_first)
    wide_2 = Add (wide_1, item_first_fields)
    wide_3 = Add (wide_2, item_first_dense)
    wide_all = Add (wide_3, cross_first)

    user_flat = Reshape (user, flat_user)
    item_flat = Reshape (item, flat_item)
    user_input = Concat <axis = 1> (user_flat, user_dense)
    item_input = Concat <axis = 2> (item_flat, item_dense)
    user_hidden_row = MatMul (user_input, w1_user)
    user_hidden = Unsqueeze (user_hidden_row, axis_1)
    item_hidden = MatMul (item_input, w1_item)
    cross_hidden = MatMul (cross, w1_cross)
    sum_1 = Add (user_hidden, item_hidden)
    sum_2 = Add (sum_1, cross_hidden)
    sum_3 = Add (sum_2, b1)
    layer_1 = Relu (sum_3)
    product_2 = MatMul (layer_1, w2)
    sum_4 = Add (product_2, b2)
    layer_2 = Relu (sum_4)
    product_3 = MatMul (layer_2, w3)
    sum_5 = Add (product_3, b3)
    last = Relu (sum_5)
{heads}
}}
"""

_HISTORY = """,
    int32[b, {history}, {item_fields}] history_fields,
    float[b, {history}, {item_dense}] history_dense,
    int32[b, {history}] history_kinds, float[b, {history}] history_ages"""

# {name}: of the attention; {asking} and {asked}: tokens [b, ., width]
_ATTENTION = """
    {name}_asking = LayerNormalization <axis = -1, epsilon = {epsilon}>
        ({asking}, {name}_norm, {name}_shift)
    {name}_asked = LayerNormalization <axis = -1, epsilon = {epsilon}>
        ({asked}, {name}_norm, {name}_shift)
    {name}_query_flat = MatMul ({name}_asking, {name}_q)
    {name}_query_cut = Reshape ({name}_query_flat, cut)
    {name}_query = Transpose <perm = [0, 2, 1, 3]> ({name}_query_cut)
    {name}_keys_flat = MatMul ({name}_asked, {name}_k)
    {name}_keys_cut = Reshape ({name}_keys_flat, cut)
    {name}_keys = Transpose <perm = [0, 2, 3, 1]> ({name}_keys_cut)
    {name}_values_flat = MatMul ({name}_asked, {name}_v)
    {name}_values_cut = Reshape ({name}_values_flat, cut)
    {name}_values = Transpose <perm = [0, 2, 1, 3]> ({name}_values_cut)
    {name}_products = MatMul ({name}_query, {name}_keys)
    {name}_scaled = Mul ({name}_products, scale)
    {name}_masked = Add ({name}_scaled, hidden)
    {name}_weights = Softmax <axis = -1> ({name}_masked)
    {name}_mixed = MatMul ({name}_weights, {name}_values)
    {name}_back = Transpose <perm = [0, 2, 1, 3]> ({name}_mixed)
    {name}_joined = Reshape ({name}_back, joined)
    {name}_out = MatMul ({name}_joined, {name}_o)"""

_TRANSFORMER = """
<ir_version: 8, opset_import: ["" : {opset}], producer_name: "tamis">
transformer ({inputs}) => (float[b, n, {objectives}] probabilities)
{{
    user_slots = Add (user_fields, user_offsets)
    user_embedded = Gather (user_embedding, user_slots)
    user_sum = ReduceSum <keepdims = 0> (user_embedded, axis_1)
    user_projected = MatMul (user_dense, user_projection)
    user_row = Add (user_sum, user_projected)
    user = Unsqueeze (user_row, axis_1)
    item_slots = Add (item_fields, item_offsets)
    item_embedded = Gather (item_embedding, item_slots)
    item_sum = ReduceSum <keepdims = 0> (item_embedded, axis_2)
    item_projected = MatMul (item_dense, item_projection)
    candidates = Add (item_sum, item_projected)

    past_slots = Add (history_fields, item_offsets)
    past_embedded = Gather (item_embedding, past_slots)
    past_sum = ReduceSum <keepdims = 0> (past_embedded, axis_2)
    past_projected = MatMul (history_dense, item_projection)
    past_items = Add (past_sum, past_projected)
    past_kinds = Gather (kind, history_kinds)
    past_acted = Add (past_items, past_kinds)
    past_placed = Add (past_acted, position)
    past_age = Unsqueeze (history_ages, axis_2)
    past_aged = Mul (past_age, age)
    past_events = Add (past_placed, past_aged)
    requests = Shape <start = 0, end = 1> (history_kinds)
    start_shape = Concat <axis = 0> (requests, one_token)
    start_token = Expand (start, start_shape)
    past = Concat <axis = 1> (past_events, start_token)
    no_kind = Equal (history_kinds, zero_kind)
    no_event = Cast <to = 1> (no_kind)
    hidden_events = Mul (no_event, hidden_from)
    start_mask_shape = Concat <axis = 0> (requests, one)
    start_mask = Expand (zero, start_mask_shape)
    hidden_row = Concat <axis = 1> (hidden_events, start_mask)
    hidden = Unsqueeze (hidden_row, axes_1_2)
{self_attention}
    past_1 = Add (past, self_out)
    past_inner = LayerNormalization <axis = -1, epsilon = {epsilon}>
        (past_1, forward_norm, forward_shift)
    past_wide = MatMul (past_inner, forward_1)
    past_active = Relu (past_wide)
    past_change = MatMul (past_active, forward_2)
    past_2 = Add (past_1, past_change)
{target_attention}

    likeness = Mul (target_out, candidates)
    both = Add (candidates, user)
    mixed = Concat <axis = 2> (target_out, likeness, both, cross)
    product_1 = MatMul (mixed, w1)
    sum_1 = Add (product_1, b1)
    layer_1 = Relu (sum_1)
    product_2 = MatMul (layer_1, w2)
    sum_2 = Add (product_2, b2)
    last = Relu (sum_2)
    wide_cross = MatMul (cross, cross_linear)
    wide_item = MatMul (item_dense, item_linear)
    wide_all = Add (wide_cross, wide_item)
{heads}
}}
"""

_HEADS = """
    head_deep = MatMul (last, w_out)
    head_wide = Mul (wide_all, wide)
    head_sum = Add (head_deep, head_wide)
    logits = Add (head_sum, bias)
    probabilities = Sigmoid (logits)"""


def deepfm(params: Mapping[str, Float32], schema: FeatureSchema) -> bytes:
    """The model that ``RANKER_ARRAYS`` define, as an ONNX file."""
    user_offsets, item_offsets = offsets(schema)
    arrays: dict[str, Any] = {
        **params,
        **{name: params[name][:, None] for name in _COLUMNS},
        "w_out": params["w_out"].T,
        "user_offsets": user_offsets,
        "item_offsets": item_offsets,
        "half": np.float32(0.5),
        "flat_user": np.array([0, -1]),
        "flat_item": np.array([0, 0, -1]),
        **_AXES,
    }
    inputs = _CANDIDATES.format(**_widths(params, schema))
    text = _DEEPFM.format(
        opset=OPSET, inputs=inputs, objectives=params["bias"].shape[0], heads=_HEADS
    )
    return finished(text, arrays)


def transformer(
    params: Mapping[str, Float32], schema: FeatureSchema, attention_heads: int
) -> bytes:
    """The function of ``transformer.Transformer``, as an ONNX file."""
    user_offsets, item_offsets = offsets(schema)
    width = params["start"].shape[0]
    arrays: dict[str, Any] = {
        **params,
        "cross_linear": params["cross_linear"][:, None],
        "item_linear": params["item_linear"][:, None],
        "w_out": params["w_out"].T,
        "user_projection": params["user_dense"],
        "item_projection": params["item_dense"],
        "user_offsets": user_offsets,
        "item_offsets": item_offsets,
        "start": params["start"][None, None],
        "one_token": np.array([1, width]),
        "one": np.array([1]),
        "zero": np.zeros((1, 1), np.float32),
        "zero_kind": np.int32(0),
        "hidden_from": np.float32(HIDDEN_FROM),
        "cut": np.array([0, 0, attention_heads, width // attention_heads]),
        "joined": np.array([0, 0, width]),
        "scale": np.float32((width / attention_heads) ** -0.5),
        **_AXES,
    }
    del arrays["user_dense"], arrays["item_dense"]  # the names of inputs
    widths = {
        "user_fields": len(schema.user_fields),
        "user_dense": params["user_dense"].shape[0],
        "item_fields": len(schema.item_fields),
        "item_dense": params["item_dense"].shape[0],
        "cross": len(schema.cross),
        "history": params["position"].shape[0],
    }
    text = _TRANSFORMER.format(
        opset=OPSET,
        inputs=(_CANDIDATES + _HISTORY).format(**widths),
        objectives=params["bias"].shape[0],
        epsilon=EPSILON,
        self_attention=_ATTENTION.format(name="self", asking="past", asked="past", epsilon=EPSILON),
        target_attention=_ATTENTION.format(
            name="target", asking="candidates", asked="past_2", epsilon=EPSILON
        ),
        heads=_HEADS,
    )
    return finished(text, arrays)


_COLUMNS = ("user_dense_linear", "item_dense_linear", "cross_linear")
_AXES = {f"axis_{axis}": np.array([axis]) for axis in (1, 2, 3)} | {"axes_1_2": np.array([1, 2])}


def _widths(params: Mapping[str, Float32], schema: FeatureSchema) -> dict[str, int]:
    return {
        "user_fields": len(schema.user_fields),
        "user_dense": params["user_dense_linear"].shape[0],
        "item_fields": len(schema.item_fields),
        "item_dense": params["item_dense_linear"].shape[0],
        "cross": len(schema.cross),
    }


def finished(text: str, arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """An ONNX file of a graph in ONNX's own textual form, and of the arrays that it names."""
    model = onnx.parser.parse_model(text)
    for name, array in arrays.items():
        tensor = numpy_helper.from_array(np.ascontiguousarray(array), name)
        model.graph.initializer.append(tensor)
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data
