"""``tamis serve --workers N``: one process that minds those that serve.

It loads a bundle once and forks the workers, which share its memory. A new bundle is loaded by
another process, once, into memory that all share again; one worker tries it and then all swap in
place, so that no connection ends. A restart makes new workers; the old ones are drained when all of
the new serve. One that dies is replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from pathlib import Path

from tamis_server.app import origin_of
from tamis_server.bundles.manifest import read_manifest
from tamis_server.domain.errors import BundleRejected, DependencyFailed
from tamis_server.observability.exposition import merged
from tamis_server.observability.metrics import Metrics
from tamis_server.settings import Settings
from tamis_server.transport.server import CannotListen
from tamis_server.workers.crew import Crew
from tamis_server.workers.page import expose
from tamis_server.workers.process import WorkerFailed

log = logging.getLogger(__name__)


class Supervisor:
    """Looks after bundles, signals and the metrics of all."""

    def __init__(self, settings: Settings) -> None:
        """Raises SettingsError, BundleRejected and CannotListen."""
        self._settings = settings
        self._origin = origin_of(settings.bundle)
        self._held, address = reserve(settings.server.listen)
        self._port = int(address.rpartition(":")[2])
        self._crew = Crew(settings, address)
        self._served = self._refused = ""
        self._changing = asyncio.Lock()
        self._metrics = metrics = Metrics()
        metrics.gauge(
            "tamis_workers", "processes that serve", "", lambda: float(len(self._crew.serving()))
        )
        metrics.counter(
            "tamis_worker_deaths", "of workers nobody told to go", lambda: float(self._crew.deaths)
        )

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; SIGHUP looks for a new bundle, SIGUSR2 restarts.

        Raises BundleRejected, DependencyFailed, CannotExpose and WorkerFailed.
        """
        loop, stopped = asyncio.get_running_loop(), asyncio.Event()
        look, restart = asyncio.Event(), asyncio.Event()
        for stop in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(stop, stopped.set)
        loop.add_signal_handler(signal.SIGCHLD, self._crew.reap)
        page = await expose(self._settings.metrics.listen, self._page)
        changes: list[asyncio.Task[None]] = []
        try:
            bundle = await self._crew.begin(await self._located())
            self._served = bundle.bundle_id
            about = {"port": self._port, "bundle": self._served, "items": bundle.items}
            log.info("serving", extra={**about, "workers": self._settings.server.workers})
            loop.add_signal_handler(signal.SIGHUP, look.set)
            loop.add_signal_handler(signal.SIGUSR2, restart.set)
            changes.append(loop.create_task(self._watch(look)))
            changes.append(loop.create_task(self._restart(restart)))
            await stopped.wait()
            log.info("draining")
        finally:
            for change in changes:
                change.cancel()
            await asyncio.gather(*changes, return_exceptions=True)
            await self._crew.dismiss()
            if page is not None:
                page.close()
            self._metrics.close()
            self._held.close()
        log.info("stopped")

    async def _watch(self, look: asyncio.Event) -> None:
        """Serve whatever bundle is there, for ever; a refused one is said once."""
        interval_s = self._settings.bundle.watch_s or None
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval_s):
                    await look.wait()
            look.clear()
            async with self._changing:
                await self._refresh()

    async def _refresh(self) -> None:
        try:
            directory = await self._located()
            bundle_id = read_manifest(directory).bundle_id
            if bundle_id in (self._served, self._refused):
                return
            try:
                await self._crew.change(directory)
            except (BundleRejected, WorkerFailed):
                self._refused = bundle_id
                raise
            self._served, self._refused = bundle_id, ""
            log.info("serving bundle %s", bundle_id)
        except (BundleRejected, DependencyFailed, WorkerFailed) as error:
            log.error("the next bundle can't be served, keeping the one that is: %s", error)
            self._crew.rejects(str(error))

    async def _located(self) -> Path:
        """The bundle's directory: it may have to be fetched, while workers and signals are minded.
        Raises BundleRejected and DependencyFailed."""
        return await self._crew.apart(self._origin.locate)

    async def _restart(self, wanted: asyncio.Event) -> None:
        while True:
            await wanted.wait()
            wanted.clear()
            async with self._changing:
                try:
                    bundle = await self._crew.begin(await self._located())
                except (BundleRejected, DependencyFailed, WorkerFailed) as error:
                    log.error("can't restart, the workers stay: %s", error)
                else:
                    self._served = bundle.bundle_id
                    log.info("restarted", extra={"bundle": self._served})

    async def _page(self) -> str:
        """The metrics of all; a worker's are labelled with its number, ours with 0."""
        pages = {"0": self._metrics.exposition()}
        for worker in self._crew.serving():
            with contextlib.suppress(WorkerFailed):
                pages[str(worker.number)] = await worker.measures()
        return merged(pages, "worker")


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
