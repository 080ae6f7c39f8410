"""Candidate sources side by side, each with its own quota and time-out, merged with provenance."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from tamis_server.domain.candidates import NOTHING, Candidates, Cause, DegradationLevel, Scored
from tamis_server.domain.context import RequestContext
from tamis_server.domain.errors import DependencyFailed, Overloaded
from tamis_server.domain.ports import CandidateMerger, CandidateSource


@dataclass(frozen=True, slots=True)
class Quota:
    """How much of a source is wanted: candidates, weight in the merged order, seconds."""

    source: CandidateSource
    candidates: int
    weight: float
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Retrieval:
    quotas: Sequence[Quota]
    merger: CandidateMerger
    name: ClassVar[str] = "retrieval"

    async def run(self, ctx: RequestContext, batch: Candidates) -> Candidates:
        results = await asyncio.gather(*(_retrieve(quota, ctx) for quota in self.quotas))
        merged = self.merger.merge(
            [
                (quota.source.source, quota.weight, found)
                for quota, (found, _) in zip(self.quotas, results, strict=True)
            ]
        )
        causes = tuple(cause for _, cause in results if cause is not None)
        if len(causes) == len(self.quotas):
            raise DependencyFailed(self.name, "; ".join(cause.reason for cause in causes))
        return replace(
            merged,
            causes=(*batch.causes, *causes),
            counts={
                quota.source.source.name.lower(): int(found.rows.shape[0])
                for quota, (found, _) in zip(self.quotas, results, strict=True)
            },
        )


async def _retrieve(quota: Quota, ctx: RequestContext) -> tuple[Scored, Cause | None]:
    name = f"retrieval.{quota.source.source.name.lower()}"
    try:
        async with asyncio.timeout(quota.timeout_s):
            return await quota.source.retrieve(ctx, quota.candidates), None
    except TimeoutError:
        reason = f"took longer than {quota.timeout_s * 1e3:.0f} ms"
    except (DependencyFailed, Overloaded) as error:
        reason = str(error)
    return NOTHING, Cause(name, reason, DegradationLevel.FEWER_CANDIDATES)
