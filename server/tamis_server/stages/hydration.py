"""Gathers per-candidate features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tamis_server.domain.candidates import Candidates
from tamis_server.domain.context import RequestContext
from tamis_server.domain.ports import FeatureStore


@dataclass(frozen=True, slots=True)
class Hydration:
    features: FeatureStore
    name: ClassVar[str] = "hydration"

    async def run(self, ctx: RequestContext, batch: Candidates) -> Candidates:
        columns = await self.features.columns(ctx, batch.rows)
        return batch.having(columns={**batch.columns, **columns}, counts={})
