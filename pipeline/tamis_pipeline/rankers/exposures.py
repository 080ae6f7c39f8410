"""What the funnel would have ranked at a request, with the features it would have had.

Candidates come from where retrieval finds them: the two-tower's nearest, what goes with the user's
history, and popular items. Positives are events that neither model learned from, so that what
they say means the same in training as when serving. Features come from ``bundles.features``, as of
the request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Self

import numpy as np
import numpy.typing as npt

from tamis_pipeline.dataset import DatasetRejected
from tamis_pipeline.rankers.requests import Requests, UInt16
from tamis_pipeline.twotower import Towers
from tamis_server.bundles import features
from tamis_server.bundles.neighbours import Neighbours
from tamis_server.bundles.query_tower import context, encode

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
UInt8 = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
_PRODUCTS = 1 << 22  # of requests with all items, that are in memory at a time
# how the server merges its sources by default (settings retrieval.*_weight, ReciprocalRankMerger)
_DAMPING, _PERSONAL, _TOGETHER, _POPULAR = 60, 1.0, 1.0, 0.3


@dataclass(frozen=True, slots=True)
class ExposureConfig:
    """requests: how many to learn from at most, drawn evenly; lists: how many to stop and
    calibrate on, of whose order the first ``places`` count; the simple order is found on these and
    as many again.
    personal, together, popular: how many candidates each source brings, candidates: how many of
    them are ranked, as the server's settings say; *_negatives: how many of these, of popular items
    and of any to learn from at a request."""

    requests: int = 200_000
    lists: int = 2_000
    places: int = 100
    personal: int = 300
    together: int = 300
    popular: int = 100
    candidates: int = 500
    hard_negatives: int = 32
    popular_negatives: int = 6
    uniform_negatives: int = 2
    history: int = 20


@dataclass(frozen=True, slots=True)
class ItemTables:
    """What rankers know of items: fields int32[items, f], dense float32[items, d] without vectors,
    log_popularity and popularity float32[items], vectors float32[items, dim], and what goes with
    what."""

    fields: Int32
    dense: Float32
    popularity: Float32
    log_popularity: Float32
    vectors: Float32
    neighbours: Neighbours = field(default_factory=Neighbours.none)

    def all_dense(self) -> Float32:
        """float32[items, d + dim], as the models take it."""
        return np.concatenate([self.dense, self.vectors], axis=1)


@dataclass(frozen=True, slots=True)
class Exposures:
    """One request a row, n in all, of c candidates.

    user_fields int32[n, f]; user_dense float32[n, d + dim], the query last; items int32[n, c], the
    positive, where there is one, first, -1 where there are no more; cross float32[n, c, x];
    outcomes uint16[n], of the positive, as in Requests. History, latest first: history_items
    int32[n, l], -1 where there are no more; history_kinds uint8[n, l]; history_ages float32[n, l],
    see ``features.ages``.
    """

    user_fields: Int32
    user_dense: Float32
    items: Int32
    cross: Float32
    outcomes: UInt16
    history_items: Int32
    history_kinds: UInt8
    history_ages: Float32

    def __len__(self) -> int:
        return int(self.items.shape[0])

    def take(self, chosen: npt.NDArray[np.intp] | slice) -> Self:
        return type(self)(*(getattr(self, field.name)[chosen] for field in fields(self)))


def sampled(
    asked: Requests,
    tables: ItemTables,
    towers: Towers,
    config: ExposureConfig,
    rng: np.random.Generator,
) -> Exposures:
    """Positives with a few negatives each, to learn from."""
    share = (tables.popularity + 0.1) / (tables.popularity + 0.1).sum()
    everything = tables.popularity.shape[0]

    def candidates(found: _Found) -> Int32:
        n = found.near.shape[0]
        others = (found.near != found.targets[:, None]) & (found.near >= 0)
        order = np.argsort(~others, axis=1, kind="stable")  # those that may be drawn first
        count = others.sum(axis=1)[:, None]

        def hard(size: int) -> Int32:
            at = (rng.random((n, size)) * count).astype(np.intp)
            return np.take_along_axis(found.near, np.take_along_axis(order, at, 1), 1)

        popular = rng.choice(everything, (n, config.popular_negatives), p=share)
        uniform = rng.integers(0, everything, (n, config.uniform_negatives))
        easy = np.concatenate([popular, uniform], axis=1).astype(np.int32)
        unfit = found.met[np.arange(n)[:, None], easy] | (easy == found.targets[:, None])
        easy = np.where(unfit, hard(easy.shape[1]), easy)
        return np.concatenate([found.targets[:, None], hard(config.hard_negatives), easy], axis=1)

    return _exposed(asked, tables, towers, config, candidates)


def listed(
    asked: Requests, tables: ItemTables, towers: Towers, config: ExposureConfig
) -> Exposures:
    """All that would have been ranked, to calibrate on and to measure: nothing is sampled."""

    def candidates(found: _Found) -> Int32:
        others = np.where(found.near == found.targets[:, None], -1, found.near)
        return np.concatenate([found.targets[:, None], others], axis=1)

    return _exposed(asked, tables, towers, config, candidates)


def offered(
    asked: Requests,
    tables: ItemTables,
    towers: Towers,
    config: ExposureConfig,
    available: Mask,
) -> Exposures:
    """What is to be ranked when nobody knows yet what comes (``requests.standing``): the same
    candidates, and no positive. available: bool[items]."""
    parts = []
    for block, queries in _blocks(asked, tables, towers):
        unfit = _met(block, available.shape[0]) | ~available
        items = _near(block, tables, queries, config, unfit)
        parts.append(_features(block, items, queries, tables, config))
    return joined(parts)


@dataclass(frozen=True, slots=True)
class _Found:
    """What retrieval finds for a block of requests: near int32[n, k], nearest first, -1 where there
    is no more; met bool[n, items], all that the user meets in ``past``, at any time, but for the
    target: no negative, since it may be liked."""

    targets: Int32
    near: Int32
    met: Mask

    def take(self, chosen: npt.NDArray[np.intp]) -> Self:
        return type(self)(*(getattr(self, field.name)[chosen] for field in fields(self)))


def _exposed(
    asked: Requests,
    tables: ItemTables,
    towers: Towers,
    config: ExposureConfig,
    candidates: Callable[[_Found], Int32],
) -> Exposures:
    """Positives that retrieval would have missed are left out: with them a ranker would learn that
    items far from the query do better than those near it."""
    parts: list[Exposures] = []
    for block, queries in _blocks(asked, tables, towers):
        found, retrieved = _retrieved(block, tables, queries, config)
        kept = np.flatnonzero(retrieved)
        if kept.shape[0]:
            items = candidates(found.take(kept))
            parts.append(_features(block.take(kept), items, queries[kept], tables, config))
    if not parts:
        raise DatasetRejected("interactions: no positive event to learn ranking from")
    return joined(parts)


def _blocks(
    asked: Requests, tables: ItemTables, towers: Towers
) -> Iterator[tuple[Requests, Float32]]:
    """Requests, some at a time, with their queries float32[n, dim]."""
    size = max(1, min(256, _PRODUCTS // tables.vectors.shape[0]))
    for start in range(0, len(asked), size):
        block = asked.take(np.arange(start, min(start + size, len(asked))))
        rows, kinds, _ = _latest(block, towers.encoder["recency_bias"].shape[0])
        about = context(block.times, block.profiles, towers.profile)
        yield block, encode(towers.encoder, rows, kinds, about)


def joined(parts: Sequence[Exposures]) -> Exposures:
    """Of parts with equally many candidates, one after another."""
    columns = ([getattr(part, field.name) for part in parts] for field in fields(Exposures))
    return Exposures(*(np.concatenate(column) for column in columns))


def _latest(asked: Requests, length: int) -> tuple[Int32, UInt8, npt.NDArray[np.float64]]:
    """Items (-1: no more), kinds and times [n, length] of the last events, the latest first."""
    at = asked.end[:, None] - 1 - np.arange(length)
    there = at >= asked.begin[:, None]
    at = np.where(there, at, 0)
    past = asked.past
    return (
        np.where(there, past.items[at], -1).astype(np.int32),
        np.where(there, past.kinds[at], 0).astype(np.uint8),
        np.where(there, past.times[at], 0.0),
    )


def _met(asked: Requests, items: int) -> Mask:
    """bool[n, items]: all that the user meets in ``past``, at any time."""
    met = np.zeros((len(asked), items), np.bool_)
    for row, (begin, last) in enumerate(zip(asked.begin, asked.last, strict=True)):
        met[row, asked.past.items[begin:last]] = True
    return met


def _near(
    asked: Requests, tables: ItemTables, queries: Float32, config: ExposureConfig, unfit: Mask
) -> Int32:
    """int32[n, k]: what the sources find, merged, the nearest first, -1 where there is no more;
    without those that are unfit bool[n, items]."""
    scores = np.where(unfit, -np.inf, queries @ tables.vectors.T)
    scores[~queries.any(axis=1)] = -np.inf  # nobody to be near to
    merged = np.zeros(unfit.shape, np.float32)
    _add(merged, scores, config.personal, _PERSONAL)
    _add(merged, np.where(unfit, -np.inf, _together(asked, tables)), config.together, _TOGETHER)
    _add(merged, np.where(unfit, -np.inf, tables.popularity), config.popular, _POPULAR)
    found = best(merged, config.candidates)
    there = np.take_along_axis(merged, found, 1) > 0
    near: Int32 = np.where(there, found, -1).astype(np.int32)
    return near


def _retrieved(
    asked: Requests, tables: ItemTables, queries: Float32, config: ExposureConfig
) -> tuple[_Found, Mask]:
    met = _met(asked, tables.vectors.shape[0])
    met[np.arange(len(asked)), asked.targets] = False
    near = _near(asked, tables, queries, config, met)
    target = near == asked.targets[:, None]
    # with nothing else near there would be nothing to rank
    retrieved = target.any(axis=1) & ((near >= 0) & ~target).any(axis=1)
    return _Found(asked.targets, near, met), retrieved


def _together(asked: Requests, tables: ItemTables) -> Float32:
    """float32[n, items]: what the positives of each history speak for; -inf: nothing does."""
    scores = np.full((len(asked), tables.vectors.shape[0]), -np.inf, np.float32)
    for row, (begin, end) in enumerate(zip(asked.begin, asked.end, strict=True)):
        taken = asked.past.items[begin:end][features.is_positive(asked.past.kinds[begin:end])]
        found, weights = tables.neighbours.around(taken)
        scores[row, found] = weights
    return scores


def _add(merged: Float32, scores: Float32, count: int, weight: float) -> None:
    """Adds a source's best to ``merged`` by reciprocal rank, as the server merges; -inf: not to be
    found. Both are float32[n, items]."""
    found = best(scores, count)
    there = np.isfinite(np.take_along_axis(scores, found, 1))
    ranks = weight / (_DAMPING + 1 + np.arange(found.shape[1], dtype=np.float32))
    sums = np.take_along_axis(merged, found, 1) + np.where(there, ranks, 0)
    np.put_along_axis(merged, found, sums.astype(np.float32), 1)


def best(scores: Float32, count: int) -> npt.NDArray[np.intp]:
    """intp[n, count or all]: columns of the highest scores of each row, the highest first."""
    count = min(count, scores.shape[1])
    if count < scores.shape[1]:
        found = np.argpartition(-scores, count, axis=1)[:, :count]
    else:
        found = np.tile(np.arange(count), (scores.shape[0], 1))
    order = np.argsort(-np.take_along_axis(scores, found, 1), axis=1, kind="stable")
    return np.take_along_axis(found, order, 1)


def _features(
    asked: Requests, items: Int32, queries: Float32, tables: ItemTables, config: ExposureConfig
) -> Exposures:
    n, c = items.shape
    user_fields: list[Int32] = []
    user_dense: list[Float32] = []
    cross = np.zeros((n, c, len(features.CROSS)), np.float32)
    past = asked.past
    for row, (begin, end, now) in enumerate(zip(asked.begin, asked.end, asked.times, strict=True)):
        known = slice(begin, end)
        rows, times, kinds = past.items[known], past.times[known], past.kinds[known]
        taste, dense = features.user_features(
            rows,
            times,
            kinds,
            float(now),
            tables.fields,
            tables.log_popularity,
            asked.profiles[row],
        )
        user_fields.append(taste)
        user_dense.append(np.concatenate([dense, queries[row]]))
        query = queries[row] if queries[row].any() else None
        there = items[row] >= 0
        cross[row, there] = features.cross_features(
            tables.vectors, tables.neighbours, items[row, there], query, rows, kinds
        )
    history, what, when = _latest(asked, config.history)
    return Exposures(
        np.stack(user_fields),
        np.stack(user_dense),
        items,
        cross,
        asked.outcomes,
        history,
        what,
        features.ages(when, asked.times[:, None]),
    )
