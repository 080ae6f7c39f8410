"""The candidate sources that need nothing but the bundle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tamis_kernels import select
from tamis_server.adapters.embedded.hnsw import NearestItems
from tamis_server.bundles.features import is_positive
from tamis_server.bundles.loader import Bundle
from tamis_server.domain.candidates import NOTHING, Rows, Scored, Scores, Source
from tamis_server.domain.context import RequestContext


@dataclass(frozen=True, slots=True)
class Personal:
    """Nearest to the query vector; nothing for a user without one."""

    nearest: NearestItems
    source: ClassVar[Source] = Source.PERSONAL

    async def retrieve(self, ctx: RequestContext, quota: int) -> Scored:
        if ctx.query is None:
            return NOTHING
        return (await self.nearest.search(ctx.query[None, :], quota, ctx.eligible))[0]


@dataclass(frozen=True, slots=True)
class AroundRecent:
    """Nearest to each of the last few items the user took to, the quota shared among them."""

    nearest: NearestItems
    items: int = 3
    source: ClassVar[Source] = Source.RECENT

    async def retrieve(self, ctx: RequestContext, quota: int) -> Scored:
        liked = ctx.history.rows[is_positive(ctx.history.kinds)]
        anchors = _last_distinct(liked, self.items)
        return await _around(self.nearest, ctx, anchors, quota)


@dataclass(frozen=True, slots=True)
class AroundAnchors:
    """Nearest to the items asked about."""

    nearest: NearestItems
    source: ClassVar[Source] = Source.RELATED

    async def retrieve(self, ctx: RequestContext, quota: int) -> Scored:
        return await _around(self.nearest, ctx, ctx.anchors, quota)


class Ordered:
    """A fixed order of items (by popularity, by age), walked until enough are eligible.

    It goes past what the user has met, so that a filter behind it leaves enough of an answer:
    ``Popular`` ranges over the whole catalogue, which makes short slates a fact, not an accident.
    """

    def __init__(self, source: Source, rows: Rows, scores: Scores) -> None:
        self._source = source
        self._rows = rows
        self._scores = scores

    @property
    def source(self) -> Source:
        return self._source

    async def retrieve(self, ctx: RequestContext, quota: int) -> Scored:
        wanted = max(quota, ctx.limit) + ctx.state.seen_count
        if ctx.eligible is None:
            return Scored(self._rows[:wanted], self._scores[:wanted])
        rows, scores, found, start, span = [], [], 0, 0, 2 * wanted
        while found < wanted and start < self._rows.shape[0]:
            part = self._rows[start : start + span]
            kept = select(ctx.eligible.bits, part)[: wanted - found]
            rows.append(part[kept])
            scores.append(self._scores[start : start + span][kept])
            found += int(kept.shape[0])
            start, span = start + span, span * 4
        return Scored(np.concatenate(rows), np.concatenate(scores)) if rows else NOTHING


def popular(bundle: Bundle) -> Ordered:
    """Every item, most popular first, ties by row."""
    order = np.argsort(-bundle.popularity, kind="stable").astype(np.int32)
    return Ordered(Source.POPULAR, order, bundle.popularity[order])


def fresh(bundle: Bundle, days: float) -> Ordered:
    """The items that came in during the last ``days`` before ``as_of``, newest first."""
    created = bundle.items.column("created_at").to_numpy(zero_copy_only=False).astype(np.float64)
    age = (bundle.manifest.as_of - created) / 86_400.0
    young = np.flatnonzero(age <= days)  # an unknown age is NaN: never fresh
    rows = young[np.argsort(age[young], kind="stable")].astype(np.int32)
    return Ordered(Source.FRESH, rows, (1.0 / (1.0 + np.maximum(age[rows], 0))).astype(np.float32))


def _last_distinct(rows: Rows, count: int) -> Rows:
    seen: dict[int, None] = {}
    for row in rows[::-1].tolist():
        seen[row] = None
        if len(seen) == count:
            break
    return np.array(list(seen), np.int32)


async def _around(nearest: NearestItems, ctx: RequestContext, anchors: Rows, quota: int) -> Scored:
    if not anchors.shape[0]:
        return NOTHING
    each = quota // anchors.shape[0] + 1
    found = await nearest.search(nearest.vectors[anchors], each, ctx.eligible)
    rows = np.concatenate([scored.rows for scored in found])
    scores = np.concatenate([scored.scores for scored in found])
    # best first over all anchors; an item near two of them counts by its better score
    order = np.lexsort((rows, -scores))
    _, first = np.unique(rows[order], return_index=True)
    order = order[np.sort(first)]
    order = order[~np.isin(rows[order], anchors)]
    return Scored(rows[order], scores[order])
