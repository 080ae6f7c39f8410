"""Chooses the slate from the ranked candidates, and its order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tamis_server.domain.candidates import Candidates
from tamis_server.domain.context import RequestContext
from tamis_server.domain.ports import Reranker


@dataclass(frozen=True, slots=True)
class Reranking:
    reranker: Reranker
    name: ClassVar[str] = "reranking"

    async def run(self, ctx: RequestContext, batch: Candidates) -> Candidates:
        return batch.take(self.reranker.select(ctx, batch))
