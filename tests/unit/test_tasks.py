"""How work beside requests begins and ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import pytest

from tamis_server.domain.tasks import begin, end


async def for_ever() -> None:
    await asyncio.Event().wait()


async def test_a_task_that_lost_a_cancellation_is_told_again() -> None:
    lost = asyncio.Event()

    async def losing() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await for_ever()
        lost.set()
        await for_ever()

    task = begin(losing(), "losing")
    await asyncio.sleep(0)
    await end(task)
    assert lost.is_set()
    assert task.cancelled()


async def test_a_failure_is_reported_at_once_and_only_then(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def failing() -> None:
        raise ValueError("by itself")

    task = begin(failing(), "a thing that fails")
    await asyncio.wait({task})
    await asyncio.sleep(0)  # who is called back comes after who waits
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "a thing that fails ended" in record.message
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "by itself"
    await end(task)
    assert len(caplog.records) == 1


async def test_an_end_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    await end(begin(for_ever(), "a thing without end"))
    await asyncio.sleep(0)
    assert not caplog.records


async def test_there_may_be_no_task_to_end() -> None:
    await end(None)


async def test_who_waits_for_the_end_can_be_cancelled() -> None:
    task = begin(for_ever(), "a thing without end")
    waiting = asyncio.create_task(end(task))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.wait({task})
