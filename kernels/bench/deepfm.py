"""The native DeepFM beside the same model in onnxruntime, one thread each, 500 candidates.

Usage: python kernels/bench/deepfm.py [--json]. 12 user and 18 item fields x 16-d, 32 + 64 dense
features, MLP 256-128-64, 2 objectives, 100,000 items; random weights, other inputs each time. The
ways take turns, so that what else the machine does is shared out; CPU time of the thread, medians,
and the median of the ratios within a turn. onnxruntime runs two graphs of the one function:

bundle    the bundle's own models/deepfm: the user's part once, broadcast inside
exported  as a trainer exports it: fields and dense features of user and item side by side, a row a
          candidate, one first layer over all of them

Neither is charged for reading item features from their table: the native kernel's time has that.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import onnxruntime
from numpy.typing import NDArray

import tamis_kernels
from tamis_kernels import DeepFM
from tamis_pipeline.rankers import export
from tamis_pipeline.rankers.export import OPSET, finished
from tamis_server.bundles.manifest import FeatureSchema, FieldSpec

ITEMS, CANDIDATES, INPUTS, TURNS = 100_000, 500, 64, 4
USER_FIELDS, ITEM_FIELDS, VALUES, WIDTH = 12, 18, 200, 16
USER_DENSE, ITEM_DENSE, CROSS, HEADS = 32, 64, 4, 2
LAYERS = (256, 128, 64)
TABLES = {"f32": np.float32, "f16": np.float16, "int8": np.float16}
Float32 = NDArray[np.float32]
Call = Callable[[int], object]

_EXPORTED = f"""
<ir_version: 8, opset_import: ["" : {OPSET}], producer_name: "bench">
exported (int64[n, {USER_FIELDS + ITEM_FIELDS}] slots,
    float[n, {USER_DENSE + ITEM_DENSE + CROSS}] dense) => (float[n, {HEADS}] probabilities)
{{
    embedded = Gather (embedding, slots)
    sum = ReduceSum <keepdims = 0> (embedded, axis_1)
    sum_squared = Mul (sum, sum)
    squared = Mul (embedded, embedded)
    squares = ReduceSum <keepdims = 0> (squared, axis_1)
    pairs_each = Sub (sum_squared, squares)
    pairs_twice = ReduceSum <keepdims = 1> (pairs_each, axis_1)
    pairs = Mul (pairs_twice, half)
    first_each = Gather (linear, slots)
    first_fields = ReduceSum <keepdims = 1> (first_each, axis_1)
    first_dense = MatMul (dense, dense_linear)
    first = Add (first_fields, first_dense)
    wide_all = Add (pairs, first)
    flat = Reshape (embedded, flat_shape)
    input = Concat <axis = 1> (flat, dense)
    hidden_1 = Gemm (input, w1, b1)
    layer_1 = Relu (hidden_1)
    hidden_2 = Gemm (layer_1, w2, b2)
    layer_2 = Relu (hidden_2)
    hidden_3 = Gemm (layer_2, w3, b3)
    layer_3 = Relu (hidden_3)
    deep = Gemm (layer_3, w_out, bias)
    broad = Mul (wide_all, wide)
    logits = Add (deep, broad)
    probabilities = Sigmoid (logits)
}}
"""


def schema() -> FeatureSchema:
    def fields(side: str, count: int) -> tuple[FieldSpec, ...]:
        return tuple(FieldSpec(name=f"{side}{number}", size=VALUES) for number in range(count))

    return FeatureSchema(
        user_fields=fields("u", USER_FIELDS),
        item_fields=fields("i", ITEM_FIELDS),
        user_dense=tuple(f"u{number}" for number in range(USER_DENSE)),
        item_dense=tuple(f"i{number}" for number in range(ITEM_DENSE)),
        cross=tuple(f"x{number}" for number in range(CROSS)),
    )


class Model:
    """Random weights, and inputs for INPUTS requests."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(1)
        h1, h2, h3 = LAYERS
        self.weights = {
            "user_embedding": self.draw(USER_FIELDS * VALUES, WIDTH),
            "user_linear": self.draw(USER_FIELDS * VALUES),
            "item_embedding": self.draw(ITEM_FIELDS * VALUES, WIDTH),
            "item_linear": self.draw(ITEM_FIELDS * VALUES),
            "user_dense_linear": self.draw(USER_DENSE),
            "item_dense_linear": self.draw(ITEM_DENSE),
            "cross_linear": self.draw(CROSS),
            "w1_user": self.draw(USER_FIELDS * WIDTH + USER_DENSE, h1),
            "w1_item": self.draw(ITEM_FIELDS * WIDTH + ITEM_DENSE, h1),
            "w1_cross": self.draw(CROSS, h1),
            "b1": self.draw(h1),
            "w2": self.draw(h1, h2),
            "b2": self.draw(h2),
            "w3": self.draw(h2, h3),
            "b3": self.draw(h3),
            "w_out": self.draw(HEADS, h3),
            "wide": self.draw(HEADS),
            "bias": self.draw(HEADS),
        }
        rng = self._rng
        self.user_fields = rng.integers(0, VALUES, (INPUTS, 1, USER_FIELDS)).astype(np.int32)
        self.user_dense = self.normal(INPUTS, 1, USER_DENSE)
        many = (INPUTS, 1, CANDIDATES)
        self.item_fields = rng.integers(0, VALUES, (*many, ITEM_FIELDS)).astype(np.int32)
        self.item_dense = self.normal(*many, ITEM_DENSE)
        self.cross = self.normal(*many, CROSS)

    def normal(self, *shape: int) -> Float32:
        return self._rng.standard_normal(shape, dtype=np.float32)

    def draw(self, *shape: int) -> Float32:
        scale = np.sqrt(shape[0]) if len(shape) > 1 else 2.0
        found: Float32 = (self.normal(*shape) / scale).astype(np.float32)
        return found

    def bundle(self) -> Call:
        run = _session(export.deepfm(self.weights, schema()))
        return lambda i: run(
            user_fields=self.user_fields[i],
            user_dense=self.user_dense[i],
            item_fields=self.item_fields[i],
            item_dense=self.item_dense[i],
            cross=self.cross[i],
        )

    def exported(self) -> Call:
        w = self.weights
        fields = USER_FIELDS * WIDTH
        columns = [w["w1_user"][:fields], w["w1_item"][: ITEM_FIELDS * WIDTH]]
        columns += [w["w1_user"][fields:], w["w1_item"][ITEM_FIELDS * WIDTH :], w["w1_cross"]]
        linear = [w["user_dense_linear"], w["item_dense_linear"], w["cross_linear"]]
        run = _session(
            finished(
                _EXPORTED,
                {
                    "embedding": np.concatenate([w["user_embedding"], w["item_embedding"]]),
                    "linear": np.concatenate([w["user_linear"], w["item_linear"]]),
                    "dense_linear": np.concatenate(linear)[:, None],
                    "w1": np.concatenate(columns),
                    **{name: w[name] for name in ("b1", "w2", "b2", "w3", "b3", "wide", "bias")},
                    "w_out": w["w_out"].T,
                    "half": np.array(0.5, np.float32),
                    "axis_1": np.array([1]),
                    "flat_shape": np.array([0, (USER_FIELDS + ITEM_FIELDS) * WIDTH]),
                },
            )
        )
        offsets = np.arange(USER_FIELDS + ITEM_FIELDS) * VALUES
        users = (INPUTS, CANDIDATES, -1)
        slots = np.concatenate(
            [np.broadcast_to(self.user_fields, (*users[:2], USER_FIELDS)), self.item_fields[:, 0]],
            axis=2,
        )
        slots = slots.astype(np.int64) + offsets
        dense = [np.broadcast_to(self.user_dense, (*users[:2], USER_DENSE)), self.item_dense[:, 0]]
        all_dense = np.concatenate([*dense, self.cross[:, 0]], axis=2)
        return lambda i: run(slots=slots[i], dense=all_dense[i])

    def native(self, precision: str) -> Call:
        """With an item table of its own: what the items are does not matter to its time."""
        same = ("cross_linear", "w2", "b2", "w3", "b3", "w_out", "wide", "bias")
        names = {"cross_hidden": "w1_cross", **{name: name for name in same}}
        hidden_table, factor_table = (
            self.normal(ITEMS, size).astype(TABLES[precision]) for size in (LAYERS[0], WIDTH)
        )
        layers = {own: self.weights[name] for own, name in names.items()}
        model = DeepFM(
            hidden_table, factor_table, self.normal(ITEMS), **layers, int8=precision == "int8"
        )
        rows = [self._rng.choice(ITEMS, CANDIDATES, False).astype(np.int32) for _ in range(INPUTS)]
        hidden, factors = self.normal(INPUTS, LAYERS[0]), self.normal(INPUTS, WIDTH)
        return lambda i: model.score(hidden[i], factors[i], 0.0, rows[i], self.cross[i, 0])


def _session(model: bytes) -> Callable[..., object]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda **inputs: session.run(None, inputs)


def measured() -> dict[str, dict[str, float]]:
    """Of each way its us, and how many times as long each onnxruntime takes."""
    model = Model()
    calls = {"onnxruntime, bundle": model.bundle(), "onnxruntime, exported": model.exported()}
    baselines = tuple(calls)
    for level in tamis_kernels.available_levels()[1:]:
        with tamis_kernels.with_level(level):
            calls |= {f"{level} {name}": model.native(name) for name in TABLES}
    times: dict[str, list[int]] = {name: [] for name in calls}
    for number in range(4 + INPUTS * TURNS):
        for name, call in calls.items():
            start = time.thread_time_ns()
            call(number % INPUTS)
            if number >= 4:
                times[name].append(time.thread_time_ns() - start)
    return {
        name: {
            "us": statistics.median(own) / 1000,
            **{
                baseline: statistics.median(
                    theirs / mine for theirs, mine in zip(times[baseline], own, strict=True)
                )
                for baseline in baselines
            },
        }
        for name, own in times.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    table = measured()
    if parser.parse_args().json:
        print(json.dumps(table, indent=2))
        return
    for name, row in table.items():
        print(name.ljust(24) + "".join(f"  {what} {value:.2f}" for what, value in row.items()))


if __name__ == "__main__":
    main()
