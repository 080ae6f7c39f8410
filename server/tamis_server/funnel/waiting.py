"""A time-out only for work that waits.

Most steps of a request compute and never wait: `asyncio.timeout` around each costs more than some
of them do, and could not stop them.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Coroutine, Generator
from time import perf_counter
from typing import Any, TypeVar

T = TypeVar("T")


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``. Raises TimeoutError where it waits for longer than that."""
    if seconds <= 0:
        work.close()
        raise TimeoutError
    began = perf_counter()
    try:
        waits_for = work.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    async with asyncio.timeout(seconds - (perf_counter() - began)):
        return await _rest(work, waits_for)


@types.coroutine
def _rest(work: Coroutine[Any, Any, T], waits_for: Any) -> Generator[Any, Any, T]:
    """Goes on with ``work``, which has been driven to where it first waits (PEP 380's `yield from`,
    from its second step on)."""
    while True:
        try:
            sent = yield waits_for
        except GeneratorExit:
            work.close()
            raise
        except BaseException as error:
            try:
                waits_for = work.throw(error)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
        else:
            try:
                waits_for = work.send(sent)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
