"""Work that goes on beside requests, from its beginning to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

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


def _report(task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        about = {"message": f"{task.get_name()} ended", "exception": error, "task": task}
        task.get_loop().call_exception_handler(about)
