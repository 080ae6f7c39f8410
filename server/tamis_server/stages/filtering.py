"""Drops what must not be shown, counts what each filter dropped, and bounds what is left.

The bound comes after the filters: a user who has met most of what was found still gets a slate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from tamis_server.domain.candidates import Candidates, Cause, DegradationLevel
from tamis_server.domain.context import RequestContext
from tamis_server.domain.ports import CandidateFilter
from tamis_server.protection.quality import QualityFactor


@dataclass(frozen=True, slots=True)
class Filtering:
    filters: Sequence[CandidateFilter]
    limit: int  # candidates worth ranking; they arrive best first
    quality: QualityFactor
    name: ClassVar[str] = "filtering"

    async def run(self, ctx: RequestContext, batch: Candidates) -> Candidates:
        dropped: dict[str, int] = {}
        for candidate_filter in self.filters:
            kept = candidate_filter.keep(ctx, batch.rows)
            dropped[candidate_filter.name] = len(batch) - int(kept.shape[0])
            if dropped[candidate_filter.name]:
                batch = batch.take(kept)
        affordable = max(self.quality.share(self.limit), min(2 * ctx.limit, self.limit))
        causes = batch.causes
        if affordable < min(len(batch), self.limit):
            slow = f"{affordable} of {self.limit} are ranked while answers are slow"
            causes = (*causes, Cause(self.name, slow, DegradationLevel.FEWER_CANDIDATES))
        if len(batch) > affordable:
            dropped["over_limit"] = len(batch) - affordable
            batch = batch.first(affordable)
        return batch.having(counts=dropped, causes=causes)
