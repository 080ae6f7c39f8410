"""Features of users and candidates: the one definition that training and serving share.

``fields`` are categorical (0 = unknown), ``dense`` are float32 of moderate scale.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

import tamis_kernels
from tamis_server.bundles.manifest import FieldSpec
from tamis_server.bundles.neighbours import Neighbours

Int32 = npt.NDArray[np.int32]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
UInt8 = npt.NDArray[np.uint8]

RECENT = 20  # how many of the last events describe a taste
LONGEST = 512  # how many are looked at: what a store keeps by default (state.max_history)
DAY = 86_400.0
USER_DENSE = ("log_events", "log_days_since_last", "recent_popularity", "positive_rate")
ITEM_DENSE = ("log_popularity", "log_age_days")
CROSS = ("affinity", "last_item_similarity", "recent_similarity", "co_affinity")
_NO_PROFILE: Int32 = np.empty(0, np.int32)
_POSITIVE = np.array([0, 1, 1, 1, 1, 1, 0, 0, 0], np.bool_)  # by EventKind


def is_positive(kinds: UInt8) -> npt.NDArray[np.bool_]:
    """bool[n]: events that speak for an item (view, click, add to cart, purchase, like)."""
    return _POSITIVE.take(kinds)


def user_field_specs(
    item_fields: tuple[FieldSpec, ...], profile: tuple[FieldSpec, ...] = ()
) -> tuple[FieldSpec, ...]:
    """The user's fields: top and last value of each item field, activity, hour and weekday, and
    those of the ``profile``."""
    taste = [
        FieldSpec(name=f"{which}_{field.name}", size=field.size)
        for which in ("top", "last")
        for field in item_fields
    ]
    rest = [("activity", 14), ("hour", 25), ("weekday", 8)]
    return (*taste, *(FieldSpec(name=name, size=size) for name, size in rest), *profile)


def log_popularity(popularity: Float32, most: float | None = None) -> Float32:
    """log1p of the decayed count over that of the most popular item (or ``most``): 0..1."""
    top = float(np.log1p(popularity.max(initial=0.0) if most is None else most)) or 1.0
    return (np.log1p(popularity) / top).astype(np.float32)


def item_dense(
    popularity: Float32, created_at: Float64, as_of: float, most: float | None = None
) -> Float32:
    """float32[items, len(ITEM_DENSE)]; created_at may hold NaN or infinities
    (unknown: age 0).

    most: popularity of the most popular item, where it is not among these.
    """
    age = np.log1p(np.maximum(as_of - created_at, 0.0) / DAY) / 10.0
    age = np.where(np.isfinite(age), age, 0.0)
    return np.stack([log_popularity(popularity, most), age], axis=1).astype(np.float32)


def ages(times: Float64, now: float | Float64) -> Float32:
    """float32, the shape of ``times``: how long before ``now`` (Unix seconds), logarithmic."""
    return (np.log1p(np.maximum(now - times, 0.0) / DAY) / 5.0).astype(np.float32)


def user_features(
    rows: Int32,
    times: Float64,
    kinds: UInt8,
    now: float,
    item_fields: Int32,
    log_popularity: Float32,
    profile: Int32 = _NO_PROFILE,
) -> tuple[Int32, Float32]:
    """Fields int32[2 * item fields + 3 + p] and dense float32[len(USER_DENSE)] of one user at
    ``now``.

    rows int32[L], times float64[L] and kinds uint8[L]: the user's events before ``now``, oldest
    first, of which the last LONGEST count; item_fields int32[items, fields]; log_popularity
    float32[items]; profile int32[p], its codes.
    """
    if len(rows) > LONGEST:
        rows, times, kinds = rows[-LONGEST:], times[-LONGEST:], kinds[-LONGEST:]
    when = int(now)
    clock = (1 + (when // 3600) % 24, 1 + (when // 86_400 + 3) % 7)  # UTC; 1970-01-01: Thursday
    activity = min(len(rows).bit_length(), 13)
    return tamis_kernels.user_features(
        rows,
        times,
        is_positive(kinds),
        now,
        RECENT,
        item_fields,
        log_popularity,
        np.array((activity, *clock, *profile.tolist()), np.int32),
    )


def cross_features(
    vectors: Float32,
    neighbours: Neighbours,
    candidates: Int32,
    query: Float32 | None,
    rows: Int32,
    kinds: UInt8,
) -> Float32:
    """float32[candidates, len(CROSS)]: similarity to the query, the last and the recent positives,
    and what all positives speak for as neighbours.

    vectors float32[items, d]; query float32[d] or None (cold user: 0); rows, kinds as above.
    """
    return tamis_kernels.cross_features(
        vectors,
        candidates,
        query,
        rows[is_positive(kinds)],
        RECENT,
        neighbours.rows,
        neighbours.weights,
        neighbours.learnt_as,
    )
