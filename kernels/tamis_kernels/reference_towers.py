"""The query tower and the sides of a DeepFM in NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tamis_kernels.arguments import check, check_below, check_length, check_rows

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]


def halved(values: Float32) -> NDArray[np.float16]:
    check("values", values, np.float32, 2)
    with np.errstate(over="ignore"):
        return values.astype(np.float16)


class QueryTower:
    def __init__(
        self,
        history_table: NDArray[np.float16],
        seeds: Float32,
        kind_bias: Float32,
        recency_bias: Float32,
        kind_weight: Float32,
        heard: NDArray[np.bool_],
        context_table: Float32,
        w_context: Float32,
        skip: Float32,
        w1: Float32,
        b1: Float32,
        w2: Float32,
        b2: Float32,
    ) -> None:
        for name, array in {
            "seeds": seeds,
            "kind_bias": kind_bias,
            "recency_bias": recency_bias,
            "context_table": context_table,
            "w_context": w_context,
            "skip": skip,
            "w1": w1,
            "w2": w2,
        }.items():
            check(name, array, np.float32, 2)
        for name, array in {"kind_weight": kind_weight, "b1": b1, "b2": b2}.items():
            check(name, array, np.float32, 1)
        check("history_table", history_table, np.float16, 2)
        check("heard", heard, np.bool_, 1)
        width, kinds = history_table.shape[1], len(kind_bias)
        check_length("seeds", seeds, width)
        heads = seeds.shape[1]
        check_length("kind_bias", kind_bias, heads, axis=1)
        check_length("recency_bias", recency_bias, heads, axis=1)
        check_length("context_table", context_table, width, axis=1)
        check_length("w_context", w_context, width)
        check_length("skip", skip, heads * width)
        check_length("kind_weight", kind_weight, kinds)
        check_length("heard", heard, kinds)
        hidden, dims = w_context.shape[1], skip.shape[1]
        check_length("w1", w1, heads * width)
        check_length("w1", w1, hidden, axis=1)
        check_length("b1", b1, hidden)
        check_length("w2", w2, hidden)
        check_length("w2", w2, dims, axis=1)
        check_length("b2", b2, dims)
        self._table, self._seeds, self._heard = history_table, seeds, heard
        self._biases = (kind_bias, recency_bias)
        self._kind_weight = kind_weight
        self._context = (context_table, w_context)
        self._layers = (skip, w1, b1, w2, b2)

    def encode(self, rows: Int32, kinds: NDArray[np.uint8], context: Int32) -> Float32:
        check("rows", rows, np.int32, 1)
        check("kinds", kinds, np.uint8, 1)
        check("context", context, np.int32, 1)
        check_length("kinds", kinds, len(rows))
        check_below("rows", rows, len(self._table))
        check_below("kinds", kinds, len(self._heard))
        context_table, w_context = self._context
        check_rows(context, len(context_table), "context")
        skip, w1, b1, w2, b2 = self._layers
        kind_bias, recency_bias = self._biases
        rows, kinds = rows[::-1][: len(recency_bias)], kinds[::-1][: len(recency_bias)]
        heard = (rows >= 0) & self._heard[kinds]
        if not heard.any():
            return np.zeros_like(b2)
        rows, kinds = rows[heard], kinds[heard]
        events = self._table[rows].astype(np.float32)
        logits = events @ self._seeds + kind_bias[kinds] + recency_bias[np.flatnonzero(heard)]
        attention = np.exp(logits - np.maximum(logits.max(axis=0), np.float32(-1e9)))
        attention /= np.maximum(attention.sum(axis=0), np.float32(1e-9))
        attention *= self._kind_weight[kinds][:, None]
        pooled = (attention.T @ events).ravel()
        hidden = pooled @ w1 + context_table[context].sum(axis=0) @ w_context + b1
        query = pooled @ skip + np.maximum(hidden, 0) @ w2 + b2
        length = np.sqrt(np.square(query).sum())
        if not length > np.float32(1e-9):
            return np.zeros_like(b2)
        unit: Float32 = (query / length).astype(np.float32)
        return unit


class DeepFMSide:
    def __init__(
        self,
        embedding: Float32,
        linear: Float32,
        dense_linear: Float32,
        w1: Float32,
        b1: Float32,
        fields: int,
    ) -> None:
        check("embedding", embedding, np.float32, 2)
        check("linear", linear, np.float32, 1)
        check("dense_linear", dense_linear, np.float32, 1)
        check("w1", w1, np.float32, 2)
        check("b1", b1, np.float32, 1)
        check_length("w1", w1, fields * embedding.shape[1] + len(dense_linear))
        check_length("linear", linear, len(embedding))
        check_length("b1", b1, w1.shape[1])
        self._embedding, self._linear, self._dense_linear = embedding, linear, dense_linear
        self._w1, self._b1, self._fields = w1, b1, fields

    def parts(self, slots: Int32, dense: Float32) -> tuple[Float32, Float32, Float32]:
        check("slots", slots, np.int32, 2)
        check("dense", dense, np.float32, 2)
        check_length("slots", slots, self._fields, axis=1)
        check_length("dense", dense, len(slots))
        check_length("dense", dense, len(self._dense_linear), axis=1)
        check_rows(slots, len(self._embedding), "slots")
        embedded = self._embedding[slots]  # [n, fields, e]
        factors = embedded.sum(axis=1)
        squares = np.square(embedded).sum(axis=(1, 2))
        bias = (np.square(factors).sum(axis=1) - squares) / np.float32(2)
        bias += self._linear[slots].sum(axis=1) + dense @ self._dense_linear
        flat = np.concatenate([*np.moveaxis(embedded, 1, 0), dense], axis=1)
        return flat @ self._w1 + self._b1, factors, bias
