"""The query tower: attention over the history, and a small residual MLP.

``encode`` is the definition, many users at a time in NumPy: evaluation and what the ranker learns
from use it. Training's own (``tamis_pipeline.towers``) and the kernel that serves one user
(``tamis_kernels.QueryTower``) are held to it by tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from tamis_server.bundles.manifest import FieldSpec

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
UInt8 = npt.NDArray[np.uint8]

HEARD = np.array([0, 1, 1, 1, 1, 1, 1, 0, 1], np.bool_)  # by EventKind: all but impressions
HOURS, WEEKDAYS = 25, 8  # 0: not known
Seconds = TypeVar("Seconds", int, npt.NDArray[np.int64])


def context_slots(profile: Sequence[FieldSpec]) -> int:
    """How many rows ``context_table`` has: hours, weekdays, and the codes of each profile field."""
    return HOURS + WEEKDAYS + sum(field.size for field in profile)


def profile_offsets(profile: Sequence[FieldSpec]) -> Int32:
    """int32[p]: the slot of each profile field's code 0."""
    sizes = [HOURS + WEEKDAYS, *(field.size for field in profile)]
    return np.cumsum(sizes[:-1], dtype=np.int32)


def context(times: Float64, profiles: Int32, profile: Sequence[FieldSpec]) -> Int32:
    """int32[n, 2 + p], slots of ``context_table``: of ``clock``, then of profiles int32[n, p],
    codes of the fields ``profile``."""
    return np.concatenate([clock(times), profiles + profile_offsets(profile)], axis=1)


def clock(times: Float64) -> Int32:
    """int32[n, 2]: hour and weekday (UTC) of Unix seconds, as slots of ``context_table``."""
    return np.stack(_slots(times.astype(np.int64)), axis=-1).astype(np.int32)


def clock_at(time: float) -> Int32:
    """int32[2]: ``clock`` of one moment."""
    return np.array(_slots(int(time)), np.int32)


def _slots(seconds: Seconds) -> tuple[Seconds, Seconds]:
    hour = 1 + (seconds // 3600) % 24
    day = 1 + (seconds // 86_400 + 3) % 7  # 1970-01-01 was a Thursday
    return hour, HOURS + day


def encode(
    encoder: Mapping[str, npt.NDArray[Any]], rows: Int32, kinds: UInt8, context: Int32
) -> Float32:
    """Query vectors float32[n, d], unit length; zero where the history says nothing.

    encoder: ``manifest.ENCODER_ARRAYS``; rows int32[n, l], latest first, -1 where there is none;
    kinds uint8[n, l]; context int32[n, s]: slots of ``context_table``, as ``context`` gives.
    """
    length = encoder["recency_bias"].shape[0]
    rows, kinds = rows[:, :length], kinds[:, :length]
    heard = (rows >= 0) & HEARD[kinds]
    events = encoder["history_table"][np.maximum(rows, 0)].astype(np.float32)  # [n, l, e]
    logits = events @ encoder["seeds"] + encoder["kind_bias"][kinds]
    logits += encoder["recency_bias"][: rows.shape[1]]
    logits = np.where(heard[..., None], logits, np.float32(-1e9))
    attention = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-1e9))
    attention *= heard[..., None]
    attention /= np.maximum(attention.sum(axis=1, keepdims=True), np.float32(1e-9))
    attention *= encoder["kind_weight"][kinds][..., None]
    pooled = (attention.swapaxes(1, 2) @ events).reshape(rows.shape[0], -1)  # [n, heads * e]
    about = encoder["context_table"][context].sum(axis=1)
    hidden = pooled @ encoder["w1"] + about @ encoder["w_context"] + encoder["b1"]
    query = pooled @ encoder["skip"] + np.maximum(hidden, 0) @ encoder["w2"] + encoder["b2"]
    norm = np.sqrt(np.square(query).sum(axis=1, keepdims=True))
    found = heard.any(axis=1, keepdims=True) & (norm > 1e-9)
    return np.where(found, query / np.maximum(norm, 1e-9), 0).astype(np.float32)
