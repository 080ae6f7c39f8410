"""The funnel: preparations enrich the request, stages transform the candidates."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

from tamis_server.domain.candidates import Candidates, Cause, DegradationLevel
from tamis_server.domain.context import RequestContext
from tamis_server.domain.errors import DeadlineExceeded, DependencyFailed
from tamis_server.domain.slate import Shortfall, Slate, StageTrace


class Preparation(Protocol):
    """Adds what is known to the request."""

    @property
    def name(self) -> str: ...

    async def prepare(self, ctx: RequestContext) -> RequestContext: ...


class Stage(Protocol):
    """Turns candidates into candidates."""

    @property
    def name(self) -> str: ...

    async def run(self, ctx: RequestContext, batch: Candidates) -> Candidates: ...


class StageObserver(Protocol):
    """Told of every stage run; must not raise and must not block."""

    def observe(self, trace: StageTrace) -> None: ...


@dataclass(frozen=True, slots=True)
class Step[S]:
    """A stage in its place: its time budget, and what its failure means for the answer.

    ``degrades_to`` None: the answer can't be given without it, a failure is the request's.
    """

    stage: S
    budget_s: float
    degrades_to: DegradationLevel | None = None
