"""What a user took to, and how near candidates are to it, in NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tamis_kernels.arguments import check, check_length, check_rows
from tamis_kernels.reference_products import inner_products


def _affinity_sums(
    rows: NDArray[np.int32], weights: NDArray[np.float32], history: NDArray[np.int32]
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """By row, and the distinct rows of the history."""
    check("rows", rows, np.int32, 2)
    check("weights", weights, np.float32, 2)
    check("history", history, np.int32, 1)
    check_length("weights", weights, len(rows))
    check_length("weights", weights, rows.shape[1], axis=1)
    met = np.unique(history[_inside(history, len(rows))])
    near = rows[met].ravel()
    named = _inside(near, len(rows))
    sums = np.bincount(near[named], weights[met].ravel()[named], minlength=len(rows))
    return sums.astype(np.float64), met


def _inside(rows: NDArray[np.int32], count: int) -> NDArray[np.bool_]:
    return (rows >= 0) & (rows < count)


def affinities(
    rows: NDArray[np.int32],
    weights: NDArray[np.float32],
    history: NDArray[np.int32],
    asked: NDArray[np.int32],
) -> NDArray[np.float32]:
    sums, _ = _affinity_sums(rows, weights, history)
    check("asked", asked, np.int32, 1)
    found = np.zeros(len(asked), np.float32)
    known = _inside(asked, len(rows))
    found[known] = sums[asked[known]]
    return found


def affine_rows(
    rows: NDArray[np.int32], weights: NDArray[np.float32], history: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    sums, met = _affinity_sums(rows, weights, history)
    sums[met] = 0
    found = np.flatnonzero(sums > 0).astype(np.int32)
    return found, sums[found].astype(np.float32)


def user_features(
    rows: NDArray[np.int32],
    times: NDArray[np.float64],
    positive: NDArray[np.bool_],
    now: float,
    recent: int,
    item_fields: NDArray[np.int32],
    popularity: NDArray[np.float32],
    tail: NDArray[np.int32],
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    check("rows", rows, np.int32, 1)
    check("times", times, np.float64, 1)
    check("positive", positive, np.bool_, 1)
    check("item_fields", item_fields, np.int32, 2)
    check("popularity", popularity, np.float32, 1)
    check("tail", tail, np.int32, 1)
    check_length("times", times, len(rows))
    check_length("positive", positive, len(rows))
    if len(popularity) < len(item_fields):
        raise ValueError(
            f"popularity: at least {len(item_fields)} entries are needed, got {len(popularity)}"
        )
    check_rows(rows, len(item_fields))
    top, last = np.zeros((2, item_fields.shape[1]), np.int32)
    dense = np.zeros(4, np.float32)
    if len(rows):
        days = max(now - times[-1], 0.0) / 86_400.0
        dense[:2] = np.log1p(len(rows)) / 5.0, np.log1p(days) / 5.0
        dense[3] = positive.mean()
    chosen = rows[positive]
    chosen = chosen[len(chosen) - min(recent, len(chosen)) :]
    if len(chosen):
        last = item_fields[chosen[-1]]
        dense[2] = popularity[chosen].mean()
        for column, values in enumerate(item_fields[chosen].T):
            numbers, counts = np.unique(values[values > 0], return_counts=True)
            top[column] = numbers[counts.argmax()] if len(numbers) else 0
    return np.concatenate([top, last, tail]), dense


def cross_features(
    vectors: NDArray[np.float32],
    rows: NDArray[np.int32],
    query: NDArray[np.float32] | None,
    taken: NDArray[np.int32],
    recent: int,
    near_rows: NDArray[np.int32],
    near_weights: NDArray[np.float32],
    learnt_as: NDArray[np.int32] | None,
) -> NDArray[np.float32]:
    check("vectors", vectors, np.float32, 2)
    check("rows", rows, np.int32, 1)
    check("taken", taken, np.int32, 1)
    check("near_rows", near_rows, np.int32, 2)
    check("near_weights", near_weights, np.float32, 2)
    check_length("near_weights", near_weights, len(near_rows))
    check_length("near_weights", near_weights, near_rows.shape[1], axis=1)
    probes = np.zeros((3, vectors.shape[1]), np.float32)
    if query is not None:
        check("query", query, np.float32, 1)
        check_length("query", query, vectors.shape[1])
        probes[0] = query
    if learnt_as is not None:
        check("learnt_as", learnt_as, np.int32, 1)
        if len(learnt_as) < len(vectors):
            raise ValueError(
                f"learnt_as: at least {len(vectors)} entries are needed, got {len(learnt_as)}"
            )
    check_rows(rows, len(vectors))
    check_rows(taken, len(vectors), "taken")
    last = taken[len(taken) - min(recent, len(taken)) :]
    if len(last):
        probes[1] = vectors[last[-1]]
        probes[2] = vectors[last].mean(axis=0)
    history, asked = (taken, rows) if learnt_as is None else (learnt_as[taken], learnt_as[rows])
    weighed = affinities(near_rows, near_weights, history, asked)
    products = inner_products(vectors[rows], probes)
    return np.concatenate([products, weighed[:, None]], axis=1)
