"""The end of work that goes on beside requests."""

from __future__ import annotations

import asyncio
import contextlib

_AGAIN_S = 0.5


async def end(task: asyncio.Task[None] | None) -> None:
    """Cancel ``task`` and return when it has ended. Raises what it failed with, if it did.

    Once is not enough: before Python 3.12 `asyncio.wait_for`, by which redis-py sends commands,
    loses a cancellation that comes just as its work is done (python/cpython#86296).
    """
    if task is None:
        return
    while not task.done():
        task.cancel()
        await asyncio.wait((task,), timeout=_AGAIN_S)
    with contextlib.suppress(asyncio.CancelledError):
        await task
