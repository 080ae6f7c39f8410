"""Rankers side by side: each request is ranked by that of its variant."""

from __future__ import annotations

from collections.abc import Mapping

from tamis_server.domain.candidates import Candidates, Scores
from tamis_server.domain.context import RequestContext
from tamis_server.domain.ports import Ranker


class RankerByVariant:
    """Implements Ranker."""

    def __init__(self, rankers: Mapping[str, Ranker]) -> None:
        """rankers: one for every variant that a request may have."""
        self._rankers = rankers

    async def score(self, ctx: RequestContext, candidates: Candidates) -> Scores:
        """Raises what the ranker raises."""
        return await self._rankers[ctx.variant].score(ctx, candidates)
