"""The micro-batcher: requests queue only while its workers are busy.

A worker that is free takes all that waits, up to a bound, in one call: no artificial delay, and
batches grow with load.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Generic, TypeVar

from tamis_server.domain.errors import ContractViolation, Overloaded

Request = TypeVar("Request")
Result = TypeVar("Result")


class MicroBatcher(Generic[Request, Result]):
    """Runs ``call`` on threads with as many waiting requests as fit in a batch.

    ``call`` gets a list of requests and returns as many results, in order; it should release
    the GIL. More than ``max_waiting`` requests in the queue are refused with Overloaded.
    """

    def __init__(
        self,
        name: str,
        call: Callable[[Sequence[Request]], Sequence[Result]],
        *,
        workers: int = 1,
        max_batch: int = 64,
        max_waiting: int = 1024,
    ) -> None:
        self._name = name
        self._call = call
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._idle = workers
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix=name)
        self._waiting: deque[tuple[Request, asyncio.Future[Result]]] = deque()

    async def submit(self, request: Request) -> Result:
        """The result for one request. Raises Overloaded, and what ``call`` raises."""
        if len(self._waiting) >= self._max_waiting:
            raise Overloaded(self._name)
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        self._dispatch()
        return await future

    def close(self) -> None:
        """Wait until running calls have ended, and their threads with them."""
        self._pool.shutdown(wait=True)

    def _dispatch(self) -> None:
        while self._idle and (batch := self._take()):
            self._idle -= 1
            loop = asyncio.get_running_loop()
            futures = [future for _, future in batch]
            running = loop.run_in_executor(self._pool, self._call, [item for item, _ in batch])
            running.add_done_callback(partial(self._finish, futures))

    def _take(self) -> list[tuple[Request, asyncio.Future[Result]]]:
        batch: list[tuple[Request, asyncio.Future[Result]]] = []
        while self._waiting and len(batch) < self._max_batch:
            waiting = self._waiting.popleft()
            if not waiting[1].done():  # its request was cancelled or timed out meanwhile
                batch.append(waiting)
        return batch

    def _finish(
        self,
        futures: Sequence[asyncio.Future[Result]],
        done: asyncio.Future[Sequence[Result]],
    ) -> None:
        self._idle += 1
        error = done.exception()
        results = [] if error else done.result()
        if error is None and len(results) != len(futures):
            error = ContractViolation(
                f"{self._name}: {len(results)} results for a batch of {len(futures)}"
            )
        for position, future in enumerate(futures):
            if future.done():
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(results[position])
        self._dispatch()
