"""Drops what must not be shown, and counts what each filter dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from tamis_server.domain.candidates import Candidates
from tamis_server.domain.context import RequestContext
from tamis_server.domain.ports import CandidateFilter


@dataclass(frozen=True, slots=True)
class Filtering:
    filters: Sequence[CandidateFilter]
    name: ClassVar[str] = "filtering"

    async def run(self, ctx: RequestContext, batch: Candidates) -> Candidates:
        dropped: dict[str, int] = {}
        for candidate_filter in self.filters:
            mask = candidate_filter.keep(ctx, batch.rows)
            dropped[candidate_filter.name] = int(mask.shape[0] - mask.sum())
            if dropped[candidate_filter.name]:
                batch = batch.take(mask)
        return replace(batch, counts=dropped)
