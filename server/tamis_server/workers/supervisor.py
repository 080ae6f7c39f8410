"""``tamis serve --workers N``: one process that minds those that serve.

It loads a bundle once and forks the workers, which share its memory. A new bundle is loaded by
another process, once, into memory that all share again; one worker tries it and then all swap in
place, so that no connection ends. A restart makes new workers; the old ones are drained when all of
the new serve. One that dies is replaced.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections import Counter

from tamis_server.app import origin_of
from tamis_server.bundles.manifest import Manifest
from tamis_server.bundles.succession import Succession
from tamis_server.domain.errors import TamisError
from tamis_server.domain.tasks import begin, end
from tamis_server.observability.exposition import merged
from tamis_server.observability.metrics import Metrics
from tamis_server.settings import Settings
from tamis_server.transport.server import CannotListen
from tamis_server.workers.crew import Crew
from tamis_server.workers.page import expose
from tamis_server.workers.process import Worker, WorkerFailed

log = logging.getLogger(__name__)
_PATIENCE_S = 1.0  # with a worker that is asked what it measured
_ROUNDS = 5  # in which a worker does not answer before it counts as stuck


class Supervisor:
    """Looks after bundles, signals and the metrics of all."""

    def __init__(self, settings: Settings) -> None:
        """Raises SettingsError, BundleRejected and CannotListen."""
        origin = origin_of(settings.bundle)
        self._settings = settings
        self._held, address = reserve(settings.server.listen)
        self._port = int(address.rpartition(":")[2])
        self._crew = Crew(settings, address)
        self._succession = Succession(
            origin, self._crew.apart, self._crew.change, self._crew.rejects
        )
        self._silent = 0
        self._metrics = metrics = Metrics()
        metrics.gauge(
            "tamis_workers", "processes that serve", "", lambda: float(len(self._crew.serving()))
        )
        metrics.counter(
            "tamis_worker_deaths", "of workers nobody told to go", lambda: float(self._crew.deaths)
        )
        metrics.gauge(
            "tamis_workers_silent",
            "that did not say in time what they measured",
            "",
            lambda: float(self._silent),
        )

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; SIGHUP looks for a new bundle, SIGUSR2 restarts.

        Raises BundleRejected, DependencyFailed, CannotExpose and WorkerFailed.
        """
        loop, stopped = asyncio.get_running_loop(), asyncio.Event()
        restart = asyncio.Event()
        for stop in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(stop, stopped.set)
        loop.add_signal_handler(signal.SIGCHLD, self._crew.reap)
        page = await expose(self._settings.metrics.listen, self._page)
        changes: list[asyncio.Task[None]] = []
        try:
            loop.add_signal_handler(signal.SIGHUP, self._succession.ask)
            loop.add_signal_handler(signal.SIGUSR2, restart.set)
            bundle = await self._begun(stopped)
            if bundle is None:
                return
            about = {"port": self._port, "bundle": bundle.bundle_id, "items": bundle.items}
            log.info("serving", extra={**about, "workers": self._settings.server.workers})
            follow = self._succession.follow(self._settings.bundle.watch_s or None)
            changes.append(begin(follow, "following bundles"))
            changes.append(begin(self._restart(restart), "restarting workers"))
            changes.append(begin(self._watch(self._settings.server.stuck_s), "watching workers"))
            await stopped.wait()
            log.info("draining")
        finally:
            for change in changes:
                await end(change)
            await self._crew.dismiss()
            if page is not None:
                page.close()
            self._metrics.close()
            self._held.close()
        log.info("stopped")

    async def _begun(self, stopped: asyncio.Event) -> Manifest | None:
        """The bundle that is served; None where it was told to stop before one was."""
        beginning = asyncio.ensure_future(self._succession.begin(self._crew.begin))
        stopping = asyncio.ensure_future(stopped.wait())
        try:
            await asyncio.wait({beginning, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return beginning.result() if beginning.done() else None
        finally:
            for each in (beginning, stopping):
                each.cancel()
            await asyncio.wait({beginning, stopping})

    async def _watch(self, stuck_s: float) -> None:
        """Kill workers that do nothing for so long; others take their places, as with any that die.

        Counted in rounds: after a pause of the whole machine everybody is late once.
        """
        unanswered: Counter[Worker] = Counter()
        while stuck_s:
            await asyncio.sleep(stuck_s / _ROUNDS)
            workers = self._crew.serving()
            unanswered = Counter(
                {each: unanswered[each] + 1 for each in workers if not each.has_answered()}
            )
            for worker, rounds in unanswered.items():
                if rounds == _ROUNDS:
                    log.error("worker %s is stuck and is killed", worker.number)
                    worker.kill()

    async def _restart(self, wanted: asyncio.Event) -> None:
        while True:
            await wanted.wait()
            wanted.clear()
            try:
                bundle = await self._succession.begin(self._crew.begin)
            except TamisError as error:
                log.error("can't restart, the workers stay: %s", error)
            except Exception:  # or nobody would restart any more
                log.exception("can't restart, the workers stay")
            else:
                log.info("restarted", extra={"bundle": bundle.bundle_id})

    async def _page(self) -> str:
        """The metrics of all that answer in time; a worker's are labelled with its number, ours
        with 0."""
        workers = self._crew.serving()
        pages = await asyncio.gather(*map(_measures, workers))
        self._silent = pages.count(None)
        found = {str(each.number): page for each, page in zip(workers, pages, strict=True) if page}
        return merged({"0": self._metrics.exposition(), **found}, "worker")


async def _measures(worker: Worker) -> str | None:
    """What it measured; None where it does not say so in time, "" where it is no more."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            return await worker.measures()
    except TimeoutError:
        return None
    except WorkerFailed:
        return ""


def reserve(listen: str) -> tuple[socket.socket, str]:
    """Hold host:port for the workers, and nobody else: the socket that does, and the address with
    the port that was found where 0 is asked for. Raises CannotListen."""
    host, _, port = listen.rpartition(":")
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host.strip("[]") or "::", int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind) as alone:  # fails where anybody else is on the port
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(address)
            found = alone.getsockname()
        held = socket.socket(family, kind)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(found)
    except (OSError, ValueError, OverflowError) as error:
        raise CannotListen(f"can't listen on {listen}: {error}") from None
    return held, f"{host}:{found[1]}"


def supervise(settings: Settings) -> None:
    """Serve by several workers until told to stop. Raises SettingsError, BundleRejected,
    CannotListen, CannotExpose and WorkerFailed."""

    async def main() -> None:
        await Supervisor(settings).run()

    asyncio.run(main())
