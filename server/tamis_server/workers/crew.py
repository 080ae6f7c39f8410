"""The workers of a bundle as child processes: begun together, replaced one by one, sent away."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import sys
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tamis_server.bundles.loader import Bundle
from tamis_server.bundles.memory import keep
from tamis_server.domain.errors import TamisError
from tamis_server.settings import Settings
from tamis_server.tables import Tables
from tamis_server.workers.child import LINE_BYTES, work
from tamis_server.workers.process import Worker, WorkerFailed

log = logging.getLogger(__name__)
_FIRST_PAUSE_S = 0.1  # before a dead worker is replaced, doubled each time it happens again soon
_LONGEST_PAUSE_S = 10.0
_SOON_S = 60.0
_GRACE_S = 5.0  # beyond what a worker may take to drain


@dataclass(eq=False)
class Generation:
    """The workers forked beside the tables of one bundle, which they share; by number."""

    directory: Path
    shared: Tables | None
    workers: dict[int, Worker] = field(default_factory=dict)
    pause_s: float = _FIRST_PAUSE_S


class Crew:
    """Forks in the loop of its supervisor, which has no other threads."""

    def __init__(self, settings: Settings, address: str) -> None:
        """address: where they all listen."""
        self._settings = settings
        self._address = address
        self._alive: dict[int, Worker] = {}
        self._minding: set[asyncio.Task[None]] = set()
        self._current: Generation | None = None
        self.deaths = 0

    def serving(self) -> list[Worker]:
        """Those that answer requests, by number."""
        workers = self._current.workers if self._current else {}
        found = [workers[number] for number in sorted(workers)]
        return [each for each in found if each.pid in self._alive and each.is_serving]

    async def begin(self, directory: Path) -> Bundle:
        """Serve the bundle in ``directory`` by new workers; then the old ones leave.

        Raises BundleRejected and WorkerFailed; then the old ones serve on.
        """
        # beside workers that serve one core, at the start all
        threads = 1 if self._current else os.cpu_count() or 1
        tables = Tables.load(directory, self._settings, threads)
        generation = Generation(directory, tables)
        keep()
        try:
            numbers = range(1, self._settings.server.workers + 1)
            workers = [await self._fork(generation, tables, number) for number in numbers]
            await asyncio.gather(*(worker.ready for worker in workers))
            await asyncio.gather(*(worker.listens(self._address) for worker in workers))
        except BaseException:
            _leave(generation)
            raise
        before, self._current = self._current, generation
        if before is not None:
            _leave(before)
        return tables.bundle

    async def change(self, directory: Path) -> None:
        """Have one worker, then all, swap to the bundle in ``directory``. One that can't though the
        first could is replaced. Raises WorkerFailed where the first can't."""
        first, *others = self.serving()
        await first.activates(directory)
        if self._current is not None:
            self._current.directory, self._current.shared = directory, None
        await asyncio.gather(*(_follow(worker, directory) for worker in others))

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

    async def _fork(self, generation: Generation, tables: Tables, number: int) -> Worker:
        ours, theirs = socket.socketpair()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                ours.close()
                for sibling in self._alive.values():  # they must hear of the supervisor's end
                    os.close(sibling.writer.get_extra_info("socket").fileno())
                status = work(self._settings, tables, number, theirs)
            except BaseException:
                log.exception("worker %s failed", number)
            finally:
                os._exit(status)
        theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours, limit=LINE_BYTES)
        worker = Worker(number, pid, reader, writer)
        self._alive[pid] = generation.workers[number] = worker
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
            if generation.shared is None:
                generation.shared = Tables.load(generation.directory, self._settings)
            worker = await self._fork(generation, generation.shared, dead.number)
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


def _leave(generation: Generation) -> None:
    for worker in generation.workers.values():
        worker.leave()


async def _follow(worker: Worker, directory: Path) -> None:
    try:
        await worker.activates(directory)
    except WorkerFailed as error:
        log.error("%s", error)
        worker.kill()
