"""How work beside requests begins and ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading

import pytest

from tamis_server.domain.tasks import begin, end, on_thread


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


async def test_work_on_a_thread_returns_or_fails_and_its_thread_has_ended() -> None:
    def where() -> threading.Thread:
        return threading.current_thread()

    def failing() -> None:
        raise ValueError("on a thread")

    thread = await on_thread(where)
    assert thread is not threading.current_thread()
    assert not thread.is_alive()
    with pytest.raises(ValueError, match="on a thread"):
        await on_thread(failing)


async def test_who_is_cancelled_does_not_wait_for_a_thread() -> None:
    begun, going = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def work() -> None:
        loop.call_soon_threadsafe(begun.set)
        going.wait(30)
        raise ValueError("to nobody")

    waiting = asyncio.create_task(on_thread(work))
    await begun.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    going.set()
