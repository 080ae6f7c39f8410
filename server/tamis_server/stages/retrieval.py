"""Candidate sources, each with its own quota, merged with provenance."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from tamis_server.domain.candidates import (
    NOTHING,
    Candidates,
    Cause,
    DegradationLevel,
    Scored,
    Source,
)
from tamis_server.domain.context import RequestContext
from tamis_server.domain.errors import DependencyFailed, Overloaded
from tamis_server.domain.ports import CandidateMerger, CandidateSource

_NAMES = tuple(source.name.lower() for source in Source)  # by Source, whose own take a while


@dataclass(frozen=True, slots=True)
class Quota:
    """How much of a source is wanted: candidates, weight in the merged order, seconds where it
    waits."""

    source: CandidateSource
    candidates: int
    weight: float
    timeout_s: float

    def failed(self, reason: str) -> Cause:
        name = f"retrieval.{_NAMES[self.source.source]}"
        return Cause(name, reason, DegradationLevel.FEWER_CANDIDATES)


@dataclass(frozen=True, slots=True)
class Retrieval:
    """Sources that must wait do so side by side, after those that need not."""

    quotas: Sequence[Quota]
    merger: CandidateMerger
    name: ClassVar[str] = "retrieval"

    async def run(self, ctx: RequestContext, batch: Candidates) -> Candidates:
        found: list[Scored] = []
        failures: list[Cause] = []
        waiting: dict[int, Awaitable[Scored]] = {}
        for position, quota in enumerate(self.quotas):
            answer: Scored | Awaitable[Scored] = NOTHING
            try:
                answer = quota.source.retrieve(ctx, quota.candidates)
            except (DependencyFailed, Overloaded) as error:
                failures.append(quota.failed(str(error)))
            if not isinstance(answer, Scored):
                waiting[position], answer = answer, NOTHING
            found.append(answer)
        if waiting:
            waited = (_wait(self.quotas[position], work) for position, work in waiting.items())
            answers = await asyncio.gather(*waited)
            for position, late in zip(waiting, answers, strict=True):
                if isinstance(late, Scored):
                    found[position] = late
                else:
                    failures.append(late)
        if len(failures) == len(self.quotas):
            raise DependencyFailed(self.name, "; ".join(cause.reason for cause in failures))
        lists = [
            (quota.source.source, quota.weight, scored)
            for quota, scored in zip(self.quotas, found, strict=True)
        ]
        return self.merger.merge(lists).having(
            causes=(*batch.causes, *failures),
            counts={_NAMES[source]: len(each.rows) for source, _, each in lists},
        )


async def _wait(quota: Quota, work: Awaitable[Scored]) -> Scored | Cause:
    try:
        async with asyncio.timeout(quota.timeout_s):
            return await work
    except TimeoutError:
        return quota.failed(f"took longer than {quota.timeout_s * 1e3:.0f} ms")
    except (DependencyFailed, Overloaded) as error:
        return quota.failed(str(error))
