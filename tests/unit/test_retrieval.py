"""The retrieval stage: sources that answer now or wait, and what is left when some fail."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np
import pytest

from tamis_server.adapters.embedded.merging import ReciprocalRankMerger
from tamis_server.domain.candidates import Candidates, DegradationLevel, Scored, Source
from tamis_server.domain.context import Deadline, RequestContext
from tamis_server.domain.errors import DependencyFailed
from tamis_server.stages.retrieval import Quota, Retrieval

Answer = Callable[[], Scored | Awaitable[Scored]]


@dataclass(frozen=True)
class Answering:
    source: Source
    answer: Answer

    def retrieve(self, ctx: RequestContext, quota: int) -> Scored | Awaitable[Scored]:
        return self.answer()


def scored(*rows: int) -> Scored:
    return Scored(np.array(rows, np.int32), np.ones(len(rows), np.float32))


def failing() -> Scored:
    raise DependencyFailed("elsewhere", "is down")


async def never() -> Scored:
    await asyncio.Event().wait()
    return scored()


async def run(*answers: tuple[Source, Answer], timeout_s: float = 30.0) -> Candidates:
    quotas = [Quota(Answering(*pair), 10, 1.0, timeout_s) for pair in answers]
    ctx = RequestContext("id", "user", 20, Deadline.after(30), 0.0)
    return await Retrieval(quotas, ReciprocalRankMerger()).run(ctx, Candidates())


async def test_lists_of_sources_that_wait_and_that_do_not_are_merged() -> None:
    async def late() -> Scored:
        await asyncio.sleep(0)
        return scored(3, 1)

    batch = await run((Source.PERSONAL, late), (Source.POPULAR, lambda: scored(1, 2)))
    assert batch.rows.tolist()[0] == 1  # found by both
    sources = dict(zip(batch.rows.tolist(), batch.sources.tolist(), strict=True))
    personal, popular = 1 << Source.PERSONAL, 1 << Source.POPULAR
    assert sources == {1: personal | popular, 2: popular, 3: personal}
    assert batch.counts == {"personal": 2, "popular": 2}
    assert not batch.causes


async def test_those_that_wait_do_so_side_by_side() -> None:
    both = asyncio.Barrier(2)

    async def together(row: int) -> Scored:
        await both.wait()
        return scored(row)

    batch = await run((Source.PERSONAL, lambda: together(1)), (Source.RECENT, lambda: together(2)))
    assert sorted(batch.rows.tolist()) == [1, 2]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(never, "took longer than 10 ms"), (failing, "elsewhere: is down")],
)
async def test_a_source_that_fails_costs_its_candidates_alone(answer: Answer, reason: str) -> None:
    batch = await run((Source.RECENT, answer), (Source.POPULAR, lambda: scored(5)), timeout_s=0.01)
    assert batch.rows.tolist() == [5]
    (cause,) = batch.causes
    assert cause.stage == "retrieval.recent"
    assert cause.level is DegradationLevel.FEWER_CANDIDATES
    assert reason in cause.reason


async def test_when_every_source_fails_so_does_retrieval_and_says_why() -> None:
    with pytest.raises(DependencyFailed, match=r"is down.*took longer than 10 ms"):
        await run((Source.RECENT, failing), (Source.POPULAR, never), timeout_s=0.01)
