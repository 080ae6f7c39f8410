"""Work that goes on beside requests, from its beginning to its end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from functools import partial
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")
_AGAIN_S = 0.5


def begin(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Have the running loop do ``work``. A failure is reported when it happens, by the name."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    task.add_done_callback(_report)
    return task


async def end(task: asyncio.Task[None] | None) -> None:
    """Cancel what ``begin`` began and return when it has ended, however it did.

    Once is not enough: before Python 3.12 `asyncio.wait_for`, by which redis-py sends commands,
    loses a cancellation that comes just as its work is done (python/cpython#86296).
    """
    while task is not None and not task.done():
        task.cancel()
        await asyncio.wait((task,), timeout=_AGAIN_S)


async def on_thread(work: Callable[[], T]) -> T:
    """What ``work`` returns, done on a thread of its own, which has ended then. A process may end
    without it."""
    loop = asyncio.get_running_loop()
    promise: asyncio.Future[T] = loop.create_future()

    def settle(outcome: Callable[[], None]) -> None:
        if not promise.done():  # nobody waits any more
            outcome()

    def do() -> None:
        try:
            outcome = partial(promise.set_result, work())
        except BaseException as error:
            outcome = partial(promise.set_exception, error)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, outcome)

    thread = Thread(target=do, daemon=True)
    thread.start()
    try:
        return await promise
    finally:
        if not promise.cancelled():
            thread.join()


def _report(task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        about = {"message": f"{task.get_name()} ended", "exception": error, "task": task}
        task.get_loop().call_exception_handler(about)
