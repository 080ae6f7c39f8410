"""The funnel owns time, budget, degradation and trace."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from support.engines import Recorder
from tamis_server.domain.candidates import Candidates, DegradationLevel
from tamis_server.domain.context import Deadline, Eligible, RequestContext
from tamis_server.domain.errors import ContractViolation, DeadlineExceeded, DependencyFailed
from tamis_server.domain.slate import Shortfall
from tamis_server.funnel.funnel import Funnel, Step


@dataclass
class Does:
    """A stage that does what the test says."""

    work: Callable[[Candidates], Awaitable[Candidates]]
    name: str = "does"

    async def run(self, ctx: RequestContext, batch: Candidates) -> Candidates:
        return await self.work(batch)


@dataclass
class Knows:
    eligible: Eligible
    name: str = "knows"

    async def prepare(self, ctx: RequestContext) -> RequestContext:
        return replace(ctx, eligible=self.eligible)


async def finds_three(batch: Candidates) -> Candidates:
    return Candidates(np.arange(3, dtype=np.int32), np.ones(3, np.float32), np.ones(3, np.uint32))


async def never_ends(batch: Candidates) -> Candidates:
    await asyncio.Event().wait()
    return batch


async def fails(batch: Candidates) -> Candidates:
    raise DependencyFailed("triton", "connection refused")


async def has_a_bug(batch: Candidates) -> Candidates:
    raise ContractViolation("wrong shape")


def context(limit: int = 3, seconds: float = 5.0) -> RequestContext:
    return RequestContext("r", "u", limit, Deadline.after(seconds), now=0.0)


def funnel(*steps: Step[Does], recorder: Recorder | None = None) -> Funnel:
    return Funnel([], steps, recorder or Recorder())


async def test_every_stage_is_traced_and_observed_in_order() -> None:
    recorder = Recorder()
    steps = (Step(Does(finds_three, "a"), 1.0), Step(Does(finds_three, "b"), 1.0))
    slate = await funnel(*steps, recorder=recorder).run(context())
    assert [(t.stage, t.outcome, t.rows_in, t.rows_out) for t in slate.trace] == [
        ("a", "ok", 0, 3),
        ("b", "ok", 3, 3),
    ]
    assert recorder.traces == list(slate.trace)
    assert slate.level is DegradationLevel.FULL


async def test_a_late_stage_is_skipped_and_named() -> None:
    slate = await funnel(
        Step(Does(finds_three), 1.0),
        Step(Does(never_ends, "slow"), 0.01, DegradationLevel.RETRIEVAL_ORDER),
    ).run(context())
    assert len(slate.candidates) == 3
    assert slate.level is DegradationLevel.RETRIEVAL_ORDER
    assert [(c.stage, c.reason) for c in slate.causes] == [("slow", "took longer than 10 ms")]
    assert slate.trace[-1].outcome == "timeout"


async def test_a_failed_dependency_degrades_the_answer_to_its_declared_level() -> None:
    slate = await funnel(
        Step(Does(finds_three), 1.0), Step(Does(fails, "rank"), 1.0, DegradationLevel.LIGHT_RANKER)
    ).run(context())
    assert slate.level is DegradationLevel.LIGHT_RANKER
    assert slate.causes[0].reason == "triton: connection refused"


async def test_a_required_stage_that_fails_fails_the_request() -> None:
    with pytest.raises(DependencyFailed):
        await funnel(Step(Does(fails), 1.0)).run(context())


async def test_a_contract_violation_is_never_degraded() -> None:
    recorder = Recorder()
    step = Step(Does(has_a_bug), 1.0, DegradationLevel.RETRIEVAL_ORDER)
    with pytest.raises(ContractViolation):
        await funnel(step, recorder=recorder).run(context())
    assert recorder.traces[0].outcome == "error"


async def test_the_deadline_bounds_a_stage_whose_own_budget_is_larger() -> None:
    with pytest.raises(DeadlineExceeded, match="out of time in slow"):
        await funnel(Step(Does(never_ends, "slow"), 60.0)).run(context(seconds=0.01))


@pytest.mark.parametrize(
    ("eligible", "limit", "shortfall"),
    [
        (0, 4, Shortfall.NO_ELIGIBLE_ITEMS),
        (3, 4, Shortfall.FEW_ELIGIBLE_ITEMS),
        (9, 4, Shortfall.ALL_SEEN),
        (9, 3, Shortfall.NONE),
    ],
)
async def test_a_short_slate_says_why(eligible: int, limit: int, shortfall: Shortfall) -> None:
    knows = Knows(Eligible(np.zeros(1, np.uint64), eligible))
    run = Funnel([Step(knows, 1.0)], [Step(Does(finds_three), 1.0)], Recorder())
    assert (await run.run(context(limit))).shortfall is shortfall


async def test_what_stands_by_for_a_stage_runs_when_it_failed_and_sets_the_level() -> None:
    light = Step(Does(finds_three, "light"), 1.0, DegradationLevel.RETRIEVAL_ORDER)
    deep = Step(Does(fails, "deep"), 1.0, DegradationLevel.LIGHT_RANKER, instead=light)
    slate = await Funnel([], [deep], Recorder()).run(context())
    assert len(slate.candidates) == 3
    assert slate.level is DegradationLevel.LIGHT_RANKER
    assert [(cause.stage, cause.level) for cause in slate.causes] == [
        ("deep", DegradationLevel.LIGHT_RANKER)
    ]
    assert [trace.outcome for trace in slate.trace] == ["error", "ok"]


async def test_where_that_fails_too_both_causes_are_told() -> None:
    light = Step(Does(fails, "light"), 1.0, DegradationLevel.RETRIEVAL_ORDER)
    deep = Step(Does(fails, "deep"), 1.0, DegradationLevel.LIGHT_RANKER, instead=light)
    slate = await Funnel([], [deep], Recorder()).run(context())
    assert slate.level is DegradationLevel.RETRIEVAL_ORDER
    assert [cause.stage for cause in slate.causes] == ["deep", "light"]


async def test_a_stage_that_hangs_leaves_what_follows_its_part_of_the_deadline() -> None:
    light = Step(Does(finds_three, "light"), 1.0, DegradationLevel.RETRIEVAL_ORDER)
    deep = Step(
        Does(never_ends, "deep"), 60.0, DegradationLevel.LIGHT_RANKER, instead=light, leaves_s=5.0
    )
    ctx = context(seconds=5.05)
    slate = await Funnel([], [deep], Recorder()).run(ctx)
    assert slate.level is DegradationLevel.LIGHT_RANKER
    assert "took longer than" in slate.causes[0].reason
    assert ctx.deadline.remaining() > 2.5
