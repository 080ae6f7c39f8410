"""The kernels in obvious NumPy: what every native level is tested against.

Arguments, results and errors are described once, on the public functions of `tamis_kernels`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tamis_kernels.arguments import check, check_cells, check_k, check_length, check_rows
from tamis_kernels.reference_bloom import bloom_absent as bloom_absent  # noqa: PLC0414
from tamis_kernels.reference_bloom import bloom_insert as bloom_insert  # noqa: PLC0414
from tamis_kernels.reference_hash import hash_of
from tamis_kernels.reference_hnsw import HnswGraph as HnswGraph  # noqa: PLC0414  its name too
from tamis_kernels.reference_ivf import IvfIndex as IvfIndex  # noqa: PLC0414  its name too
from tamis_kernels.reference_lookups import KeyIndex as KeyIndex  # noqa: PLC0414
from tamis_kernels.reference_lookups import bits_of as bits_of  # noqa: PLC0414
from tamis_kernels.reference_lookups import texts as texts  # noqa: PLC0414
from tamis_kernels.reference_merge import best_of as best_of  # noqa: PLC0414
from tamis_kernels.reference_merge import fuse_ranks as fuse_ranks  # noqa: PLC0414
from tamis_kernels.reference_products import inner_products
from tamis_kernels.reference_records import append_events as append_events  # noqa: PLC0414
from tamis_kernels.reference_records import append_keys as append_keys  # noqa: PLC0414
from tamis_kernels.reference_records import insert_keys as insert_keys  # noqa: PLC0414
from tamis_kernels.reference_records import only_parts as only_parts  # noqa: PLC0414
from tamis_kernels.reference_records import parts_of as parts_of  # noqa: PLC0414
from tamis_kernels.reference_records import with_parts as with_parts  # noqa: PLC0414
from tamis_kernels.reference_taste import affine_rows as affine_rows  # noqa: PLC0414
from tamis_kernels.reference_taste import affinities as affinities  # noqa: PLC0414
from tamis_kernels.reference_taste import cross_features as cross_features  # noqa: PLC0414
from tamis_kernels.reference_taste import user_features as user_features  # noqa: PLC0414
from tamis_kernels.reference_towers import DeepFMSide as DeepFMSide  # noqa: PLC0414
from tamis_kernels.reference_towers import QueryTower as QueryTower  # noqa: PLC0414
from tamis_kernels.reference_towers import halved as halved  # noqa: PLC0414


def xxh64(data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> NDArray[np.uint64]:
    check("data", data, np.uint8, 1)
    check("offsets", offsets, np.int64, 1)
    if len(offsets) == 0:
        raise ValueError("offsets: one more entry than slices is needed, got 0")
    bounds = np.concatenate([[0], offsets, [len(data)]])
    if (np.diff(bounds) < 0).any():
        raise ValueError(f"offsets: must ascend from 0 or more to at most {len(data)}")
    hashes = [hash_of(data[start:end].tobytes()) for start, end in pairwise(offsets)]
    return np.array(hashes, dtype=np.uint64)


def select(
    bits: NDArray[np.uint64], rows: NDArray[np.int32], wanted: bool = True
) -> NDArray[np.int32]:
    check("bits", bits, np.uint64, 1)
    check("rows", rows, np.int32, 1)
    is_set = np.zeros(len(rows), np.bool_)
    inside = (rows >= 0) & (rows < 64 * len(bits))
    known = rows[inside]
    is_set[inside] = (bits[known >> 6] >> (known & 63).astype(np.uint64)) & np.uint64(1) == 1
    return np.flatnonzero(is_set == wanted).astype(np.int32)


def top_k(scores: NDArray[np.float32], rows: NDArray[np.int32], k: int) -> NDArray[np.int32]:
    check("scores", scores, np.float32, 1)
    check("rows", rows, np.int32, 1)
    check_length("rows", rows, len(scores))
    check_k(k)
    order = np.lexsort((rows, -scores))  # stable, and sorts NaN last
    return order[:k].astype(np.int32)


def best_scaled(
    scores: NDArray[np.float32], rows: NDArray[np.int32], k: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    best = top_k(scores, rows, k)
    chosen = scores[best].astype(np.float64)  # whose differences can't be too large
    finite = np.isfinite(chosen)
    scaled = np.full(len(best), np.nan, np.float32)
    if finite.any():
        low, high = chosen[finite].min(), chosen[finite].max()
        scaled[finite] = (chosen[finite] - low) / (high - low) if high > low else 1
    return best, scaled


def dot_rows(
    vectors: NDArray[np.float32], rows: NDArray[np.int32], queries: NDArray[np.float32]
) -> NDArray[np.float32]:
    check("vectors", vectors, np.float32, 2)
    check("rows", rows, np.int32, 1)
    check("queries", queries, np.float32, 2)
    check_length("queries", queries, vectors.shape[1], axis=1)
    check_rows(rows, len(vectors))
    return inner_products(vectors[rows], queries)


def scan(
    vectors: NDArray[np.float32],
    bits: NDArray[np.uint64] | None,
    queries: NDArray[np.float32],
    k: int,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    check("vectors", vectors, np.float32, 2)
    if bits is not None:
        check("bits", bits, np.uint64, 1)
    check("queries", queries, np.float32, 2)
    check_length("queries", queries, vectors.shape[1], axis=1)
    check_k(k)
    allowed = np.arange(len(vectors), dtype=np.int32)
    if bits is not None:
        allowed = allowed[select(bits, allowed)]
    rows = np.full((len(queries), k), -1, np.int32)
    scores = np.full((len(queries), k), -np.inf, np.float32)
    for q, products in enumerate(dot_rows(vectors, allowed, queries).T.copy()):
        best = top_k(products, allowed, k)
        rows[q, : len(best)] = allowed[best]
        scores[q, : len(best)] = products[best]
    return rows, scores


def _check_slate(
    vectors: NDArray[np.float32],
    rows: NDArray[np.int32],
    relevance: NDArray[np.float32],
    k: int,
    trade_off: float,
) -> None:
    check("vectors", vectors, np.float32, 2)
    check("rows", rows, np.int32, 1)
    check("relevance", relevance, np.float32, 1)
    check_length("relevance", relevance, len(rows))
    check_k(k)
    check_rows(rows, len(vectors))
    if not 0.0 <= trade_off <= 1.0:
        raise ValueError(f"trade_off must be between 0 and 1, got {trade_off:g}")


def mmr(
    vectors: NDArray[np.float32],
    rows: NDArray[np.int32],
    relevance: NDArray[np.float32],
    k: int,
    trade_off: float,
) -> NDArray[np.int32]:
    _check_slate(vectors, rows, relevance, k, trade_off)
    candidates = vectors[rows]
    weight, penalty = np.float32(trade_off), np.float32(1.0 - trade_off)
    nearest = np.full(len(rows), np.finfo(np.float32).min, dtype=np.float32)
    left = np.arange(len(rows))
    objective = relevance
    picked: list[int] = []
    while len(picked) < k and len(left):
        best = left[np.lexsort((rows[left], -objective[left]))[0]]
        picked.append(int(best))
        left = left[left != best]
        with np.errstate(invalid="ignore"):
            similarity = inner_products(candidates, candidates[[best]])[:, 0]
            np.maximum(nearest, np.where(np.isnan(similarity), 0, similarity), out=nearest)
            objective = weight * relevance - penalty * nearest
    return np.array(picked, dtype=np.int32)


_NOTHING = np.float32(1e-6)  # variance of what is spanned already


def dpp(
    vectors: NDArray[np.float32],
    rows: NDArray[np.int32],
    relevance: NDArray[np.float32],
    k: int,
    trade_off: float,
) -> NDArray[np.int32]:
    _check_slate(vectors, rows, relevance, k, trade_off)
    with np.errstate(invalid="ignore"):
        products = inner_products(vectors[rows], vectors[rows])
    similarity = (1 + np.where(np.isnan(products), 0, products).astype(np.float32)) / 2
    variance = np.diagonal(similarity).copy()
    shares = np.zeros((min(k, len(rows)), len(rows)), np.float32)
    left = np.arange(len(rows))
    objective = relevance
    picked: list[int] = []
    for place in range(len(shares)):
        best = left[np.lexsort((rows[left], -objective[left]))[0]]
        left = left[left != best]
        if variance[best] > _NOTHING:  # otherwise there is nothing more to take away
            share = similarity[best] - shares[:place, best] @ shares[:place]
            shares[place] = share / np.sqrt(variance[best])
        variance = np.maximum(variance - np.square(shares[place]), _NOTHING)
        with np.errstate(invalid="ignore"):
            weighted = np.float32(1 - trade_off) * np.log(variance)
            objective = np.float32(trade_off) * relevance + weighted
        picked.append(int(best))
    return np.array(picked, dtype=np.int32)


Float32 = NDArray[np.float32]
_Layer = Callable[[Float32], Float32]


def _dense(weights: Float32, bias: Float32) -> _Layer:
    return lambda hidden: hidden @ weights + bias


def _coded(weights: Float32, bias: Float32) -> _Layer:
    step = np.abs(weights).max(axis=0, initial=0) / np.float32(127)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = np.rint(weights * (1 / step))
    codes = np.where(step > 0, scaled, 0).astype(np.int32)

    def layer(hidden: Float32) -> Float32:
        most = hidden.max(axis=1, keepdims=True, initial=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = np.where(most > 1e-30, 255 / most, 0).astype(np.float32)
            inputs = np.where(np.isnan(most), 0, np.rint(hidden * scale)).astype(np.int32)
        sums: Float32 = (inputs @ codes).astype(np.float32) * (step * (most / 255)) + bias
        return sums

    return layer


class DeepFM:
    def __init__(
        self,
        item_hidden: NDArray[np.floating],
        item_factors: NDArray[np.floating],
        item_bias: NDArray[np.float32],
        cross_hidden: NDArray[np.float32],
        cross_linear: NDArray[np.float32],
        w2: NDArray[np.float32],
        b2: NDArray[np.float32],
        w3: NDArray[np.float32],
        b3: NDArray[np.float32],
        w_out: NDArray[np.float32],
        wide: NDArray[np.float32],
        bias: NDArray[np.float32],
        int8: bool,
    ) -> None:
        check_cells("item_hidden", item_hidden, 2)
        check_cells("item_factors", item_factors, 2)
        if item_hidden.dtype != item_factors.dtype:
            raise TypeError("item_factors: the dtype of item_hidden is needed")
        check("item_bias", item_bias, np.float32, 1)
        check("cross_hidden", cross_hidden, np.float32, 2)
        check("cross_linear", cross_linear, np.float32, 1)
        check("w2", w2, np.float32, 2)
        check("b2", b2, np.float32, 1)
        check("w3", w3, np.float32, 2)
        check("b3", b3, np.float32, 1)
        check("w_out", w_out, np.float32, 2)
        check("wide", wide, np.float32, 1)
        check("bias", bias, np.float32, 1)
        items, hidden1 = item_hidden.shape
        check_length("item_factors", item_factors, items)
        check_length("item_bias", item_bias, items)
        check_length("cross_hidden", cross_hidden, hidden1, axis=1)
        check_length("cross_linear", cross_linear, len(cross_hidden))
        check_length("w2", w2, hidden1)
        check_length("b2", b2, w2.shape[1])
        check_length("w3", w3, w2.shape[1])
        check_length("b3", b3, w3.shape[1])
        check_length("w_out", w_out, w3.shape[1], axis=1)
        check_length("wide", wide, len(w_out))
        check_length("bias", bias, len(w_out))
        self._item_hidden = item_hidden
        self._item_factors = item_factors
        self._item_bias = item_bias
        self._cross_hidden = cross_hidden
        self._cross_linear = cross_linear
        self._layers: list[_Layer] = [
            (_coded if int8 else _dense)(*each) for each in ((w2, b2), (w3, b3))
        ]
        self._heads = (w_out, wide, bias)

    def score(
        self,
        user_hidden: NDArray[np.float32],
        user_factors: NDArray[np.float32],
        user_bias: float,
        rows: NDArray[np.int32],
        cross: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        check("user_hidden", user_hidden, np.float32, 1)
        check("user_factors", user_factors, np.float32, 1)
        check("rows", rows, np.int32, 1)
        check("cross", cross, np.float32, 2)
        check_length("user_hidden", user_hidden, self._item_hidden.shape[1])
        check_length("user_factors", user_factors, self._item_factors.shape[1])
        check_length("cross", cross, len(rows))
        check_length("cross", cross, len(self._cross_linear), axis=1)
        check_rows(rows, len(self._item_bias))
        items = self._item_hidden[rows].astype(np.float32)
        hidden = np.maximum(user_hidden + items + cross @ self._cross_hidden, 0)
        for layer in self._layers:
            hidden = np.maximum(layer(hidden), 0)
        total = np.float32(user_bias) + self._item_bias[rows] + cross @ self._cross_linear
        total += self._item_factors[rows].astype(np.float32) @ user_factors
        w_out, wide, bias = self._heads
        logit = hidden @ w_out.T + total[:, None] * wide + bias
        decayed = np.exp(-np.abs(logit))  # never overflows
        probability: NDArray[np.float32] = np.where(logit >= 0, 1, decayed) / (1 + decayed)
        return probability
