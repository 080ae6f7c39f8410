"""Work within a time-out, whether or not it waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tamis_server.funnel.waiting import within


async def test_what_never_waits_gives_its_result_without_one() -> None:
    async def work() -> int:
        return 7

    assert await within(1.0, work()) == 7


async def test_what_waits_in_time_gives_its_result() -> None:
    async def work() -> int:
        for _ in range(3):
            await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        return 7

    assert await within(30.0, work()) == 7


async def test_what_waits_too_long_is_cancelled_and_tidies_up() -> None:
    tidied: list[str] = []

    @asynccontextmanager
    async def held() -> AsyncIterator[None]:
        try:
            yield
        finally:
            await asyncio.sleep(0)
            tidied.append("yes")

    async def work() -> None:
        async with held():
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await within(0.01, work())
    assert tidied == ["yes"]


async def test_no_time_at_all_is_too_late_and_nothing_is_begun() -> None:
    begun: list[str] = []

    async def work() -> None:
        begun.append("yes")

    with pytest.raises(TimeoutError):
        await within(0.0, work())
    assert not begun


async def test_an_error_comes_through_before_and_after_the_first_wait() -> None:
    async def work(waits: int) -> None:
        for _ in range(waits):
            await asyncio.sleep(0)
        raise ValueError("mine")

    for waits in range(3):
        with pytest.raises(ValueError, match="mine"):
            await within(30.0, work(waits))


async def test_an_error_of_what_is_waited_for_may_be_handled() -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def work() -> str:
        try:
            await future
        except ValueError:
            await asyncio.sleep(0)
            return "handled"
        return "not reached"

    asyncio.get_running_loop().call_soon(future.set_exception, ValueError())
    assert await within(30.0, work()) == "handled"


async def test_whoever_waits_may_be_cancelled() -> None:
    cancelled: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append("yes")
            raise

    task = asyncio.create_task(within(30.0, work()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled == ["yes"]


async def test_a_time_out_within_it_is_its_own() -> None:
    async def work() -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            return "inner"
        return "not reached"

    assert await within(30.0, work()) == "inner"
