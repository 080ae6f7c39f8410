"""Scores the candidates. A failed ranker leaves them in the order retrieval gave."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis_server.domain.candidates import Candidates
from tamis_server.domain.context import RequestContext
from tamis_server.domain.errors import ContractViolation
from tamis_server.domain.ports import Ranker


@dataclass(frozen=True, slots=True)
class Ranking:
    ranker: Ranker
    name: str = "ranking"

    async def run(self, ctx: RequestContext, batch: Candidates) -> Candidates:
        scores = await self.ranker.score(ctx, batch)
        if scores.shape != batch.scores.shape or scores.dtype != np.float32:
            raise ContractViolation(
                f"the ranker gave {scores.dtype}{scores.shape} for {len(batch)} candidates"
            )
        finite = np.isfinite(scores)
        sunk = finite.shape[0] - np.count_nonzero(finite)
        if sunk:
            scores = np.where(finite, scores, np.float32(-np.inf))
        return batch.having(scores=scores, counts={"not_finite": sunk} if sunk else {})
