"""Search results ranked by what was searched for first, and by who is looking second."""

from __future__ import annotations

import numpy as np

from tamis_server.domain.candidates import Candidates, Scores
from tamis_server.domain.context import RequestContext
from tamis_server.domain.ports import Ranker


class SimilarityAndTaste:
    """``(1 - taste) * similarity + taste * probability``, both brought to 0..1 over the candidates.

    Similarity is the candidates' own score, probability the ranker's. For somebody of whom nothing
    is known it is similarity alone, as it came: a cosine.
    """

    def __init__(self, ranker: Ranker, *, taste: float) -> None:
        self._ranker = ranker
        self._taste = np.float32(taste)

    async def score(self, ctx: RequestContext, candidates: Candidates) -> Scores:
        """float32[n], higher is better; NaN where the ranker gave NaN."""
        if ctx.query is None or self._taste == 0:
            return candidates.scores
        probabilities = await self._ranker.score(ctx, candidates)
        similarity = (1 - self._taste) * _scaled(candidates.scores)
        return similarity + self._taste * _scaled(probabilities)


def _scaled(scores: Scores) -> Scores:
    """To 0..1 by the least and the greatest finite score; 1 where all are equal."""
    finite = np.isfinite(scores)
    low = scores.min(initial=np.inf, where=finite)
    span = scores.max(initial=-np.inf, where=finite) - low
    if not span > 0:
        return np.where(finite, np.float32(1), scores)
    scaled: Scores = (scores - low) / span
    return scaled
