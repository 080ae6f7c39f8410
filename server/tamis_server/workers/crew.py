"""The workers of a bundle as child processes: begun together, replaced one by one, sent away."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tamis_server.bundles.manifest import Manifest
from tamis_server.bundles.memory import give_back, keep
from tamis_server.domain.errors import ContractViolation, DependencyFailed, TamisError
from tamis_server.domain.tasks import on_thread
from tamis_server.loading import load
from tamis_server.segment import Segment
from tamis_server.settings import Settings
from tamis_server.tables import Tables
from tamis_server.workers.child import LINE_BYTES, work
from tamis_server.workers.process import Worker, WorkerFailed

T = TypeVar("T")
log = logging.getLogger(__name__)
_FIRST_PAUSE_S = 0.1  # before a dead worker is replaced, doubled each time it happens again soon
_LONGEST_PAUSE_S = 10.0
_SOON_S = 60.0
_GRACE_S = 5.0  # beyond what a worker may take to drain


@dataclass(eq=False)
class Generation:
    """Workers by number, and the tables that they share, for another one that is to be forked."""

    shared: Tables | None
    workers: dict[int, Worker] = field(default_factory=dict)
    pause_s: float = _FIRST_PAUSE_S

    def tables(self) -> Tables:
        if self.shared is None:
            raise ContractViolation("workers are forked of a generation that is left")
        return self.shared

    def take(self) -> Tables:
        """The tables, which then are the caller's alone."""
        tables, self.shared = self.tables(), None
        return tables


class Crew:
    """Forks in the loop of its supervisor, which has no other threads then, nor a segment that is
    being written."""

    def __init__(self, settings: Settings, address: str) -> None:
        """address: where they all listen."""
        self._settings = settings
        self._address = address
        self._alive: dict[int, Worker] = {}
        self._minding: set[asyncio.Task[None]] = set()
        self._current: Generation | None = None
        self._loading = asyncio.Lock()
        self.deaths = 0

    def serving(self) -> list[Worker]:
        """Those that answer requests, by number."""
        if self._current is None:
            return []
        return [each for each in self._members(self._current) if each.is_serving]

    def _members(self, generation: Generation) -> list[Worker]:
        """Those that live, by number, whether or not they serve yet."""
        found = [worker for _, worker in sorted(generation.workers.items())]
        return [each for each in found if each.pid in self._alive]

    async def begin(self, directory: Path) -> Manifest:
        """Serve the bundle in ``directory`` by new workers; then the old ones leave.

        Raises BundleRejected and WorkerFailed; then the old ones serve on.
        """
        async with self._loading:
            generation = Generation(await self._load(directory))
        bundle = generation.tables().bundle.manifest
        keep()
        try:
            numbers = range(1, self._settings.server.workers + 1)
            workers = [await self._fork(generation, number) for number in numbers]
            await asyncio.gather(*(worker.ready for worker in workers))
            await asyncio.gather(*(worker.listens(self._address) for worker in workers))
        except BaseException:
            _leave(generation)
            raise
        before, self._current = self._current, generation
        if before is not None:
            _leave(before)
            before.shared = None
            give_back()
        return bundle

    async def apart(self, work: Callable[[], T]) -> T:
        """What ``work`` returns, on a thread, which nobody is forked beside."""
        async with self._loading:
            return await on_thread(work)

    def rejects(self, reason: str) -> None:
        """The next bundle can't be served: all may say so."""
        for worker in self.serving():
            worker.learns(reason)

    async def _load(self, directory: Path) -> Tables:
        """At the start by all processors, beside workers in another process."""
        if self._current is None:
            return Tables.load(directory, self._settings, os.cpu_count() or 1)
        segment = await load(directory, self._settings)
        try:
            return Tables.read(segment.path)
        finally:
            segment.close()

    async def change(self, directory: Path) -> None:
        """Have one worker, then all, swap to the bundle in ``directory``. One that can't though the
        first could is replaced. Raises BundleRejected, WorkerFailed where the first can't, and
        DependencyFailed where there is none at the moment."""
        async with self._loading:  # to the end: one forked of the old tables would keep them
            segment = await load(directory, self._settings)
            try:
                generation, serving = self._current, self.serving()
                if generation is None or not serving:
                    raise DependencyFailed("workers", "none serves at the moment")
                first = serving[0]
                await first.activates(segment.path)
                # now: what it maps of the bundle's directory may be another's later
                generation.shared = Tables.read(segment.path)
                give_back()
                others = [each for each in self._members(generation) if each is not first]
                await asyncio.gather(*(_follow(each, segment) for each in others))
            finally:
                segment.close()

    def reap(self) -> None:
        """A child ended, or several did: by SIGCHLD."""
        for pid, worker in list(self._alive.items()):
            if os.waitpid(pid, os.WNOHANG) != (0, 0):
                del self._alive[pid]
                worker.ended.set()

    async def dismiss(self) -> None:
        """All go; those that take too long are killed."""
        self._current = None
        leaving = list(self._alive.values())
        for worker in leaving:
            worker.leave()
        server = self._settings.server
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(server.drain_delay_s + server.drain_s + _GRACE_S):
                await asyncio.gather(*(worker.ended.wait() for worker in leaving))
        for worker in self._alive.values():
            log.error("worker %s did not go in time and is killed", worker.number)
            worker.kill()
        await asyncio.gather(*(worker.ended.wait() for worker in leaving))

    async def _fork(self, generation: Generation, number: int) -> Worker:
        generation.tables()
        ours, theirs = socket.socketpair()
        sys.stderr.flush()
        with _held(signal.SIGTERM):
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    ours.close()
                    if self._current not in (None, generation):
                        self._current.shared = None  # or its memory would stay as long as this one
                    for sibling in self._alive.values():  # they must hear of the supervisor's end
                        os.close(sibling.writer.get_extra_info("socket").fileno())
                    status = work(self._settings, generation.take, number, theirs)
                except BaseException:
                    log.exception("worker %s failed", number)
                finally:
                    os._exit(status)
        theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours, limit=LINE_BYTES)
        worker = Worker(number, pid, reader, writer)
        self._alive[pid] = generation.workers[number] = worker
        self.reap()  # it may have ended before it was known
        self._mind(self._hear(worker, generation))
        return worker

    async def _hear(self, worker: Worker, generation: Generation) -> None:
        """What a worker says, until its end; another comes where it was still needed."""
        born = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while line := await worker.reader.readline():
                worker.heard(json.loads(line))
        await worker.ended.wait()
        worker.writer.close()
        worker.fail(WorkerFailed(f"worker {worker.number} died"))
        if worker.leaving or generation is not self._current:
            return
        self.deaths += 1
        if time.monotonic() - born > _SOON_S:
            generation.pause_s = _FIRST_PAUSE_S
        log.error("worker %s died, another takes its place", worker.number)
        while generation is self._current:
            await asyncio.sleep(generation.pause_s)
            generation.pause_s = min(2 * generation.pause_s, _LONGEST_PAUSE_S)
            if await self._replaced(worker, generation):
                return

    async def _replaced(self, dead: Worker, generation: Generation) -> bool:
        """Whether there is another worker, whatever became of it, or need be none."""
        if generation is not self._current:
            return True
        try:
            async with self._loading:
                if generation is not self._current:
                    return True
                worker = await self._fork(generation, dead.number)
        except (TamisError, OSError) as error:
            log.error("worker %s can't be replaced yet: %s", dead.number, error)
            return False
        try:
            await worker.ready
            await worker.listens(self._address)
        except WorkerFailed as error:
            log.error("%s", error)
            worker.kill()  # and so is heard of like any other that died
        if generation is not self._current:
            worker.leave()
        return True

    def _mind(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._minding.add(task)
        task.add_done_callback(self._minding.discard)


@contextmanager
def _held(number: signal.Signals) -> Iterator[None]:
    """The signal waits: a child that it meets before it has a mind of its own would take it as the
    supervisor does, which is not to heed it then."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})


def _leave(generation: Generation) -> None:
    for worker in generation.workers.values():
        worker.leave()


async def _follow(worker: Worker, segment: Segment) -> None:
    try:
        await worker.activates(segment.path)
    except WorkerFailed as error:
        log.error("%s", error)
        worker.kill()
