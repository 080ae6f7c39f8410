"""How work beside requests is ended."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from tamis_server.domain.tasks import end


async def for_ever() -> None:
    await asyncio.Event().wait()


async def test_a_task_that_lost_a_cancellation_is_told_again() -> None:
    lost = asyncio.Event()

    async def losing() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await for_ever()
        lost.set()
        await for_ever()

    task = asyncio.create_task(losing())
    await asyncio.sleep(0)
    await end(task)
    assert lost.is_set()
    assert task.cancelled()


async def test_what_a_task_failed_with_is_raised_at_its_end() -> None:
    async def failing() -> None:
        try:
            await for_ever()
        finally:
            raise ValueError("by itself")

    task = asyncio.create_task(failing())
    await asyncio.sleep(0)
    with pytest.raises(ValueError, match="by itself"):
        await end(task)
    with pytest.raises(ValueError, match="by itself"):  # whether it had ended before or not
        await end(task)


async def test_there_may_be_no_task_to_end() -> None:
    await end(None)


async def test_who_waits_for_the_end_can_be_cancelled() -> None:
    task = asyncio.create_task(for_ever())
    waiting = asyncio.create_task(end(task))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with contextlib.suppress(asyncio.CancelledError):
        await task
