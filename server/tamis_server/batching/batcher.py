"""The micro-batcher: requests queue only while its workers are busy.

A worker that is free takes all that waits, up to a bound, in one call: no artificial delay, and
batches grow with load.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from inspect import ismethod
from typing import Any, Generic, TypeVar
from weakref import WeakMethod

from tamis_server.domain.errors import ContractViolation, Overloaded

Request = TypeVar("Request")
Result = TypeVar("Result")
Waiting = tuple[Request, asyncio.Future[Result]]


class Batcher(Generic[Request, Result]):
    """Awaits ``call`` with as many waiting requests as fit in a batch.

    ``call`` gets a list of requests and returns as many results, in order. At most ``workers`` run
    at once. More than ``max_waiting`` requests in the queue are refused with Overloaded. A call
    whose requests have all been cancelled is cancelled itself.
    """

    def __init__(
        self,
        name: str,
        call: Callable[[Sequence[Request]], Any],
        *,
        workers: int = 1,
        max_batch: int = 64,
        max_waiting: int = 1024,
    ) -> None:
        """A ``call`` that is a method is held weakly: its object keeps the batcher, and were it
        kept in turn, a bundle that is no longer served would stay until Python looks for cycles.
        """
        self._name = name
        self._call = WeakMethod(call) if ismethod(call) else lambda: call
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._idle = workers
        self._waiting: deque[Waiting[Request, Result]] = deque()
        self._running: set[asyncio.Future[Sequence[Result]]] = set()

    def submit(self, request: Request) -> asyncio.Future[Result]:
        """The result for one request, which waits for it at once. It may raise Overloaded, and what
        ``call`` raises."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        if len(self._waiting) >= self._max_waiting:
            future.set_exception(Overloaded(self._name))
            return future
        self._waiting.append((request, future))
        self._dispatch()
        return future

    def _dispatch(self) -> None:
        while self._idle and (batch := self._take()):
            self._idle -= 1
            self._start([request for request, _ in batch], [future for _, future in batch])

    def _start(
        self, requests: Sequence[Request], futures: Sequence[asyncio.Future[Result]]
    ) -> None:
        self._running.add(running := asyncio.ensure_future(self._called()(requests)))
        running.add_done_callback(self._running.discard)
        running.add_done_callback(partial(self._finish, futures))
        for future in futures:
            future.add_done_callback(partial(_cancel_unwanted, running, futures))

    def _called(self) -> Callable[[Sequence[Request]], Any]:
        call = self._call()
        if call is None:
            raise ContractViolation(f"{self._name}: whose it was is gone")
        return call

    def _take(self) -> list[Waiting[Request, Result]]:
        batch: list[Waiting[Request, Result]] = []
        while self._waiting and len(batch) < self._max_batch:
            waiting = self._waiting.popleft()
            if not waiting[1].done():  # its request was cancelled or timed out meanwhile
                batch.append(waiting)
        return batch

    def _finish(
        self,
        futures: Sequence[asyncio.Future[Result]],
        done: asyncio.Future[Sequence[Result]] | concurrent.futures.Future[Sequence[Result]],
    ) -> None:
        self._idle += 1
        self._dispatch()
        error: BaseException | None
        if done.cancelled():  # because nobody waits for it: then there is nobody to tell
            error = ContractViolation(f"{self._name}: a batch was cancelled")
        else:
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


class MicroBatcher(Batcher[Request, Result]):
    """The same with a ``call`` that runs on threads; it should release the GIL."""

    def __init__(
        self,
        name: str,
        call: Callable[[Sequence[Request]], Sequence[Result]],
        *,
        workers: int = 1,
        max_batch: int = 64,
        max_waiting: int = 1024,
    ) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix=name)
        super().__init__(name, call, workers=workers, max_batch=max_batch, max_waiting=max_waiting)

    def _start(
        self, requests: Sequence[Request], futures: Sequence[asyncio.Future[Result]]
    ) -> None:
        """A call on a thread goes on when nobody waits for it any more."""
        loop = asyncio.get_running_loop()

        def finish(done: concurrent.futures.Future[Sequence[Result]]) -> None:
            # not by a future of the loop: each callback of one waits for all else that is ready
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._finish, futures, done)

        self._pool.submit(self._called(), requests).add_done_callback(finish)

    def close(self) -> None:
        """Wait until running calls have ended, and their threads with them."""
        self._pool.shutdown(wait=True)


def _cancel_unwanted(
    running: asyncio.Future[Any], futures: Sequence[asyncio.Future[Any]], _: asyncio.Future[Any]
) -> None:
    if not running.done() and all(future.cancelled() for future in futures):
        running.cancel()
