"""The candidate sources that need nothing but the bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from tamis_kernels import best_of, select, top_k
from tamis_server.bundles.features import is_positive
from tamis_server.bundles.loader import Bundle
from tamis_server.bundles.neighbours import Neighbours
from tamis_server.domain.candidates import NOTHING, Rows, Scored, Scores, Source, Vectors
from tamis_server.domain.context import Eligible, RequestContext
from tamis_server.domain.ports import CandidateFilter


class Nearest(Protocol):
    """Items by inner product with query vectors."""

    @property
    def vectors(self) -> Vectors: ...

    def search(self, queries: Vectors, k: int, eligible: Eligible | None) -> list[Scored]:
        """For each row of queries float32[q, d] at most ``k`` eligible rows with their products."""


@dataclass(frozen=True, slots=True)
class Personal:
    """Nearest to the query vector; nothing for a user without one."""

    nearest: Nearest
    source: ClassVar[Source] = Source.PERSONAL

    def retrieve(self, ctx: RequestContext, quota: int) -> Scored:
        if ctx.query is None:
            return NOTHING
        return self.nearest.search(ctx.query[None, :], quota, ctx.eligible)[0]


@dataclass(frozen=True, slots=True)
class AroundRecent:
    """Nearest to each of the last few items the user took to, the quota shared among them."""

    nearest: Nearest
    items: int = 3
    source: Source = Source.RECENT

    def retrieve(self, ctx: RequestContext, quota: int) -> Scored:
        liked = ctx.history.rows[is_positive(ctx.history.kinds)]
        anchors = _last_distinct(liked, self.items)
        return _around(self.nearest, ctx, anchors, quota)


@dataclass(frozen=True, slots=True)
class OftenTogether:
    """What others took to who took to the same items."""

    neighbours: Neighbours
    source: ClassVar[Source] = Source.CO_OCCURRENCE

    def retrieve(self, ctx: RequestContext, quota: int) -> Scored:
        taken = ctx.history.rows[is_positive(ctx.history.kinds)]
        rows, scores = self.neighbours.around(taken)
        if ctx.eligible is not None:
            shown = select(ctx.eligible.bits, rows)
            rows, scores = rows.take(shown), scores.take(shown)
        best = top_k(scores, rows, quota)
        return Scored(rows.take(best), scores.take(best))


@dataclass(frozen=True, slots=True)
class AroundAnchors:
    """Nearest to the items asked about."""

    nearest: Nearest
    source: Source = Source.RELATED

    def retrieve(self, ctx: RequestContext, quota: int) -> Scored:
        return _around(self.nearest, ctx, ctx.anchors, quota)


@dataclass(frozen=True, slots=True)
class Sought:
    """Nearest to what is searched for."""

    nearest: Nearest
    source: ClassVar[Source] = Source.SEARCH

    def retrieve(self, ctx: RequestContext, quota: int) -> Scored:
        if ctx.sought_vector is None:
            return NOTHING
        return self.nearest.search(ctx.sought_vector[None, :], quota, ctx.eligible)[0]


class Ordered:
    """A fixed order of items (by popularity, by age), walked until enough pass the filters.

    It goes past what the user has met, so that enough is left of an answer: ``popular`` ranges
    over the whole catalogue, which makes short slates a fact, not an accident.
    """

    def __init__(
        self, source: Source, rows: Rows, scores: Scores, filters: Sequence[CandidateFilter]
    ) -> None:
        self._source = source
        self._rows = rows
        self._scores = scores
        self._filters = filters

    @property
    def source(self) -> Source:
        return self._source

    def put(self, rows: Rows, scores: Scores) -> None:
        """Put a few rows in their places; one that has a place leaves it."""
        if not rows.shape[0]:
            return
        near = np.flatnonzero(self._rows >= rows.min())  # few: items that come are the last rows
        placed = near[np.isin(self._rows[near], rows)]
        before, scores_before = self._rows, self._scores
        if placed.shape[0]:
            before, scores_before = np.delete(before, placed), np.delete(scores_before, placed)
        order = np.lexsort((rows, -scores))
        rows, scores = rows[order], scores[order]
        ascending = scores_before[::-1]
        places = []
        for row, score in zip(rows.tolist(), scores.tolist(), strict=True):
            start, end = (
                len(before) - int(np.searchsorted(ascending, score, side=side))
                for side in ("right", "left")
            )
            places.append(start + int(np.searchsorted(before[start:end], row)))
        self._rows = np.insert(before, places, rows)
        self._scores = np.insert(scores_before, places, scores)

    def replace(self, rows: Rows, scores: Scores) -> None:
        """Only these from now on; best first, ties by row."""
        order = np.lexsort((rows, -scores))
        self._rows = rows[order]
        self._scores = scores[order]

    def retrieve(self, ctx: RequestContext, quota: int) -> Scored:
        wanted = max(quota, ctx.limit)
        rows, scores, found, start, span = [], [], 0, 0, 2 * wanted
        while found < wanted and start < self._rows.shape[0]:
            part, values = self._rows[start : start + span], self._scores[start : start + span]
            for candidate_filter in self._filters:
                kept = candidate_filter.keep(ctx, part)
                if kept.shape[0] < part.shape[0]:
                    part, values = part.take(kept), values.take(kept)
            rows.append(part[: wanted - found])
            scores.append(values[: wanted - found])
            found += len(rows[-1])
            start, span = start + span, span * 4
        if len(rows) == 1:
            return Scored(rows[0], scores[0])
        return Scored(np.concatenate(rows), np.concatenate(scores)) if rows else NOTHING


def popular(bundle: Bundle, filters: Sequence[CandidateFilter]) -> Ordered:
    """Every item, most popular first, ties by row."""
    popularity = bundle.popularity[: bundle.manifest.items]
    order = np.argsort(-popularity, kind="stable").astype(np.int32)
    return Ordered(Source.POPULAR, order, popularity[order], filters)


def trending(filters: Sequence[CandidateFilter]) -> Ordered:
    """None, until it is told what trends."""
    return Ordered(Source.TRENDING, NOTHING.rows, NOTHING.scores, filters)


def fresh(bundle: Bundle, days: float, filters: Sequence[CandidateFilter]) -> Ordered:
    """The items that came in during the last ``days`` before ``as_of``, newest first."""
    created = bundle.items.column("created_at").to_numpy(zero_copy_only=False).astype(np.float64)
    age = (bundle.manifest.as_of - created) / 86_400.0
    young = np.flatnonzero(age <= days)  # an unknown age is NaN: never fresh
    rows = young[np.argsort(age[young], kind="stable")].astype(np.int32)
    scores = (1.0 / (1.0 + np.maximum(age[rows], 0))).astype(np.float32)
    return Ordered(Source.FRESH, rows, scores, filters)


def _last_distinct(rows: Rows, count: int) -> Rows:
    seen: dict[int, None] = {}
    for row in rows[::-1].tolist():
        seen[row] = None
        if len(seen) == count:
            break
    return np.array(list(seen), np.int32)


def _around(nearest: Nearest, ctx: RequestContext, anchors: Rows, quota: int) -> Scored:
    probes = nearest.vectors.take(anchors, 0)
    placed = probes.any(axis=1)  # an item without a picture and a text is near nothing
    if np.count_nonzero(placed) < len(probes):
        probes = probes[placed]
    if not len(probes):
        return NOTHING
    found = nearest.search(probes, quota // probes.shape[0] + 1, ctx.eligible)
    rows = [np.ascontiguousarray(scored.rows) for scored in found]
    scores = [np.ascontiguousarray(scored.scores) for scored in found]
    # an item near two anchors counts by its better score
    return Scored(*best_of(rows, scores, anchors))
