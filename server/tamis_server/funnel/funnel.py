"""The funnel: preparations enrich the request, stages transform the candidates."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, Generic, Protocol, TypeVar

from tamis_server.domain.candidates import (
    NO_CANDIDATES,
    NO_COUNTS,
    Candidates,
    Cause,
    DegradationLevel,
)
from tamis_server.domain.context import Deadline, RequestContext
from tamis_server.domain.errors import DeadlineExceeded, DependencyFailed
from tamis_server.domain.slate import Shortfall, Slate, StageTrace
from tamis_server.funnel.waiting import within
from tamis_server.protection.quality import QualityFactor

S_co = TypeVar("S_co", covariant=True)
T = TypeVar("T", RequestContext, Candidates)


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
    """Told of every stage run and every answer; must not raise and must not block."""

    def observe(self, trace: StageTrace) -> None: ...

    def answered(self, slate: Slate) -> None: ...


@dataclass(frozen=True, slots=True)
class Step(Generic[S_co]):
    """A stage in its place: its time budget, and what its failure means for the answer.

    ``degrades_to`` None: the answer can't be given without it, a failure is the request's.
    ``instead``: runs in its place when it failed; ``leaves_s``: of the deadline, for what follows.
    """

    stage: S_co
    budget_s: float
    degrades_to: DegradationLevel | None = None
    instead: Step[S_co] | None = None
    leaves_s: float = 0.0


class Funnel:
    """Runs preparations, then stages, each within its budget and what is left of the deadline.

    Only DependencyFailed and time-outs degrade; everything else is the request's own failure.
    """

    def __init__(
        self,
        preparations: Sequence[Step[Preparation]],
        stages: Sequence[Step[Stage]],
        observer: StageObserver,
        quality: QualityFactor | None = None,
    ) -> None:
        """quality: told how long every request took."""
        self._quality = quality
        self._preparations = tuple(preparations)
        self._stages = tuple(stages)
        self._observer = observer

    async def run(self, ctx: RequestContext) -> Slate:
        """Answer one request. Raises DeadlineExceeded, and what a required step raises."""
        started = perf_counter()
        try:
            return await self._answer(ctx)
        finally:
            if self._quality is not None:
                self._quality.observe(perf_counter() - started)

    async def _answer(self, ctx: RequestContext) -> Slate:
        run = _Run(self._observer, ctx)
        for preparation in self._preparations:
            ctx = await run.step(
                preparation, preparation.stage.name, preparation.stage.prepare(ctx), ctx
            )
        batch = NO_CANDIDATES
        for step in self._stages:
            batch = await run.stage(step, ctx, batch)
        slate = Slate(
            candidates=batch,
            causes=(*run.causes, *batch.causes),
            shortfall=_shortfall(ctx, batch),
            trace=tuple(run.traces),
            variant=ctx.variant,
        )
        self._observer.answered(slate)
        return slate


class _Run:
    """One request's way through the steps: what they took and what went wrong."""

    def __init__(self, observer: StageObserver, ctx: RequestContext) -> None:
        self.traces: list[StageTrace] = []
        self.causes: list[Cause] = []
        self._observer = observer
        self._deadline = ctx.deadline

    async def stage(self, step: Step[Stage], ctx: RequestContext, batch: Candidates) -> Candidates:
        """What ``step`` makes of the batch, or what comes in its place when it failed."""
        asked = ctx
        if step.leaves_s:
            remaining = self._deadline.remaining()
            asked = replace(
                ctx, deadline=Deadline.after(min(step.budget_s, remaining - step.leaves_s))
            )
        failures = len(self.causes)
        after = await self.step(step, step.stage.name, step.stage.run(asked, batch), batch)
        if step.instead is not None and len(self.causes) > failures:
            return await self.stage(step.instead, ctx, batch)
        return after

    async def step(self, step: Step[Any], name: str, work: Coroutine[Any, Any, T], before: T) -> T:
        """The result of ``work``, or ``before`` when the step failed and may."""
        start, outcome, after = perf_counter(), "error", before
        allowed_s = min(step.budget_s, self._deadline.remaining() - step.leaves_s)
        try:
            after = await within(allowed_s, work)
            outcome = "ok"
        except TimeoutError:
            outcome = "timeout"
            if step.degrades_to is None:
                raise DeadlineExceeded(f"out of time in {name}") from None
            late = f"took longer than {max(allowed_s, 0.0) * 1e3:.0f} ms"
            self.causes.append(Cause(name, late, step.degrades_to))
        except DependencyFailed as error:
            if step.degrades_to is None:
                raise
            self.causes.append(Cause(name, str(error), step.degrades_to))
        finally:
            trace = _trace(name, outcome, perf_counter() - start, before, after)
            self.traces.append(trace)
            self._observer.observe(trace)
        return after


def _trace(
    name: str,
    outcome: str,
    seconds: float,
    before: RequestContext | Candidates,
    after: RequestContext | Candidates,
) -> StageTrace:
    if isinstance(before, RequestContext) or isinstance(after, RequestContext):
        return StageTrace(name, outcome, seconds, 0, 0)
    counts = after.counts if after is not before else NO_COUNTS
    return StageTrace(name, outcome, seconds, len(before.rows), len(after.rows), counts)


def _shortfall(ctx: RequestContext, batch: Candidates) -> Shortfall:
    if len(batch) >= ctx.limit:
        return Shortfall.NONE
    if ctx.eligible is not None and ctx.eligible.count < ctx.limit:
        none = ctx.eligible.count == 0
        return Shortfall.NO_ELIGIBLE_ITEMS if none else Shortfall.FEW_ELIGIBLE_ITEMS
    if any(cause.level is not DegradationLevel.FULL for cause in batch.causes):
        return Shortfall.INCOMPLETE_RETRIEVAL
    return Shortfall.ALL_SEEN
