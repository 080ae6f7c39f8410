"""The composition root: which adapter goes where is known here, in ``engines`` and in ``tables``,
and nowhere else."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import struct
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

import tamis_kernels
from tamis_server.adapters.embedded.event_log import NoEventLog, ParquetEventLog
from tamis_server.bundles.editor import CatalogueEditor
from tamis_server.bundles.ids import item_keys
from tamis_server.bundles.live import LiveCatalogue
from tamis_server.bundles.memory import keep
from tamis_server.bundles.mirror import Directory, Mirror, Origin
from tamis_server.bundles.succession import Succession
from tamis_server.bundles.swapper import Swapper
from tamis_server.domain.candidates import Keys, Scores
from tamis_server.domain.changes import Change
from tamis_server.domain.context import Deadline, Depiction, RequestContext
from tamis_server.domain.errors import DependencyFailed
from tamis_server.domain.redaction import redacted
from tamis_server.domain.tasks import begin, end, on_thread
from tamis_server.engines import build_engine
from tamis_server.funnel.engine import BundleInfo, Engine, Measures
from tamis_server.loading import load
from tamis_server.observability.metrics import Metrics
from tamis_server.observability.stores import MeasuredUsers
from tamis_server.protection.admission import Admission
from tamis_server.rankers import open_triton
from tamis_server.settings import (
    BundleSettings,
    EventsSettings,
    Settings,
    SettingsError,
)
from tamis_server.stores import open_stores
from tamis_server.tables import Tables
from tamis_server.transport.call import CallInterceptor
from tamis_server.transport.server import CannotListen, GrpcServer
from tamis_server.transport.servicers import ServerStatus

if TYPE_CHECKING:
    from tamis_server.adapters.remote.triton_endpoint import Endpoint

log = logging.getLogger(__name__)
_PIXEL = b"BM" + struct.pack("<8xIIIIHH28x", 54, 40, 1, 1, 1, 24)  # a black one, as BMP


def build_event_log(settings: EventsSettings) -> ParquetEventLog | NoEventLog:
    """The event log of this process, not started."""
    if settings.log_dir is None:
        return NoEventLog()
    return ParquetEventLog(
        settings.log_dir,
        rotate_bytes=int(settings.log_rotate_mb * (1 << 20)),
        rotate_s=settings.log_rotate_s,
        flush_s=settings.log_flush_s,
        max_pending=settings.log_max_pending,
    )


def origin_of(settings: BundleSettings) -> Origin:
    """Where bundles come from. Raises SettingsError and BundleRejected."""
    if settings.path is not None and settings.url is not None:
        raise SettingsError("settings bundle.path and bundle.url: one of them, not both")
    if settings.url is not None:
        return Mirror(settings.url, settings.cache)
    if settings.path is None:
        raise SettingsError("setting bundle.path: the directory of a bundle must be given")
    return Directory(settings.path)


class Application:
    """A server with all that it serves, from start to drain."""

    def __init__(
        self, settings: Settings, *, preloaded: Tables | None = None, worker: str = ""
    ) -> None:
        """preloaded: of the bundle to begin with; worker: which of how many, for callers."""
        origin = origin_of(settings.bundle)  # before anything that would have to be closed
        self._settings = settings
        self._preloaded = preloaded
        self._started = time.monotonic()
        self._metrics = Metrics()
        stores = open_stores(settings.state)
        self._stores = replace(stores, users=MeasuredUsers(stores.users, self._metrics))
        protection = settings.protection
        self._admission = Admission(protection.wait_s, most=protection.max_in_flight)
        self._triton = open_triton(settings.ranking)
        self._live = LiveCatalogue(self._stores.catalogue)
        self._event_log = build_event_log(settings.events)
        self._engines: Swapper[Engine] = Swapper(self._build, _warm_up, self._adopt)
        self._succession = Succession(origin, on_thread, self._engines.activate, self.reject)
        self._trending: tuple[Keys, Scores] | None = None
        self._trended: float | None = None
        self.metrics_port: int | None = None
        self._trends: asyncio.Task[None] | None = None
        self._server = GrpcServer(
            self._engines,
            self._stores,
            self._event_log,
            CatalogueEditor(self._engines, self._live, item_keys),
            self._status,
            CallInterceptor(
                default_timeout_s=settings.server.default_timeout_s,
                min_timeout_s=settings.server.min_timeout_s,
                log_calls=settings.server.access_log,
                observe=self._metrics.request,
                admission=self._admission,
                worker=worker,
            ),
            self._admission,
            refuse_unknown_items=settings.events.unknown_items == "refuse",
            max_connection_age_s=settings.server.max_connection_age_s,
            drain_s=settings.server.drain_s,
            shares_port=bool(worker),
        )

    async def start(self) -> int:
        """Prepare and listen; returns the port. Raises what these two raise, and CannotExpose."""
        if self._settings.metrics.listen:
            self.metrics_port = self._metrics.expose(self._settings.metrics.listen)
        await self.prepare()
        try:
            return await self.listen(self._settings.server.listen)
        except CannotListen:
            async with self._closing():
                raise

    async def prepare(self) -> None:
        """All but to listen. Raises BundleRejected, DependencyFailed and EventLogUnusable."""
        self._measure()
        await self._live.start()
        if self._preloaded is None:
            await self._succession.begin(self._engines.activate)
        else:
            await self._engines.activate(self._preloaded.bundle.directory)
        self._event_log.start()
        self._trends = begin(self._follow_trends(), "following what trends")

    async def listen(self, address: str) -> int:
        """Serve on host:port; returns the port. Raises CannotListen."""
        port = await self._server.start(address)
        await self._server.serve()
        return port

    @property
    def bundle(self) -> BundleInfo:
        """What is served now."""
        return self._engines.current.bundle

    def exposition(self) -> str:
        """All that is measured, as Prometheus reads it."""
        return self._metrics.exposition()

    async def activate(self, segment: Path) -> None:
        """Serve the tables in a segment. Raises BundleRejected and keeps what is served."""
        self._preloaded = await asyncio.to_thread(Tables.read, segment)
        await self._engines.activate(self._preloaded.bundle.directory)

    def reject(self, reason: str) -> None:
        """Say from now on why the next bundle isn't served, until one is."""
        self._engines.last_rejection = reason

    async def run_until_stopped(self) -> None:
        """Follow the bundle's directory; drain at SIGTERM or SIGINT."""
        loop, stopped = asyncio.get_running_loop(), asyncio.Event()
        for stop in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(stop, stopped.set)
        follow = self._succession.follow(self._settings.bundle.watch_s or None)
        follower = begin(follow, "following bundles")
        await stopped.wait()
        log.info("draining")
        await end(follower)
        await self.stop()
        log.info("stopped")

    def look(self) -> None:
        """Have who follows bundles look for another one now."""
        self._succession.ask()

    async def reload(self) -> None:
        """Serve the bundle now in the directory; a refused one is logged and the old one stays."""
        await self._succession.look(asked=True)

    async def stop(self) -> None:
        """NOT_SERVING, then answer what is in flight, then close."""
        async with self._closing():
            await self._server.drain(self._settings.server.drain_delay_s)

    @contextlib.asynccontextmanager
    async def _closing(self) -> AsyncIterator[None]:
        """Close all there is in the end, whatever becomes of what comes before."""
        async with contextlib.AsyncExitStack() as rest:
            rest.callback(self._metrics.close)
            for model in self._triton.values():
                rest.push_async_callback(model.close)
            rest.push_async_callback(self._stores.close)
            rest.push_async_callback(self._live.stop)
            rest.push_async_callback(self._event_log.close)
            rest.push_async_callback(end, self._trends)
            yield

    async def _build(self, directory: Path) -> Engine:
        with self._live.building() as changes:
            tables, self._preloaded = self._preloaded, None
            if tables is None:
                tables = await self._load(directory)
            return await asyncio.to_thread(self._engine, tables, changes)

    async def _load(self, directory: Path) -> Tables:
        """Beside requests in another process, at the start by all processors in this one."""
        if not self._engines.swaps:
            threads = os.cpu_count() or 1
            return await asyncio.to_thread(Tables.load, directory, self._settings, threads)
        segment = await load(directory, self._settings)
        try:
            return await asyncio.to_thread(Tables.read, segment.path)
        finally:
            segment.close()

    def _engine(self, tables: Tables, changes: Sequence[Change]) -> Engine:
        stores, settings = self._stores, self._settings
        engine = build_engine(tables, stores.users, settings, self._metrics, self._triton)
        engine.live.apply(changes)
        return engine

    def _measure(self) -> None:
        """Say what there is to measure."""
        metrics = self._metrics
        about = (version("tamis"), tamis_kernels.level())
        metrics.gauge(
            "tamis_build_info", "what runs", "", lambda: {about: 1.0}, ("version", "kernel_level")
        )
        metrics.gauge(
            "tamis_bundle_info", "the bundle served", "", self._bundle_info, ("bundle_id",)
        )
        metrics.counter(
            "tamis_bundle_swaps", "bundles activated", lambda: float(self._engines.swaps)
        )
        metrics.counter(
            "tamis_item_counts_lost",
            "events whose items could not be counted",
            lambda: float(self._stores.activity.lost),
        )
        metrics.gauge("tamis_live_items", "items added or changed", "", self._live_items)
        metrics.gauge(
            "tamis_catalogue_age", "since changes were last heard of", "s", self._catalogue_age
        )
        metrics.gauge(
            "tamis_item_features_age", "since item activity was last read", "s", self._trends_age
        )
        metrics.counter(
            "tamis_searches",
            "queries of nearest items, by the filter plan",
            lambda: self._measures().queries,
            ("index", "way"),
        )
        metrics.counter(
            "tamis_encoded",
            "texts and pictures, by CLIP",
            lambda: self._measures().encoded,
            ("kind",),
        )
        self._measure_protection()
        event_log = self._event_log
        metrics.counter(
            "tamis_event_log_written", "events", lambda: float(event_log.counters.written)
        )
        metrics.counter(
            "tamis_event_log_dropped", "events", lambda: event_log.counters.dropped, ("reason",)
        )
        metrics.gauge(
            "tamis_event_log_pending", "events", "", lambda: float(event_log.counters.pending)
        )

    def _measure_protection(self) -> None:
        metrics, admission = self._metrics, self._admission
        metrics.gauge(
            "tamis_quality_factor",
            "share of ranking.candidates ranked",
            "",
            lambda: self._measures().quality,
        )
        metrics.gauge(
            "tamis_requests_in_flight", "being answered", "", lambda: float(admission.in_flight)
        )
        metrics.gauge(
            "tamis_requests_wait", "before anybody looks at them", "s", lambda: admission.wait_s
        )
        metrics.counter("tamis_requests_refused", "as too many", lambda: float(admission.refused))
        models = tuple(self._triton.values())  # two may be one model on different servers
        if not models:
            return

        def by_endpoint(read: Callable[[Endpoint], float]) -> Callable[[], Mapping[Any, float]]:
            return lambda: {
                (model.name, each.address): read(each)
                for model in models
                for each in model.endpoints
            }

        labels = ("model", "endpoint")
        metrics.gauge(
            "tamis_ranker_endpoint_open",
            "1 where a server's breaker keeps calls away",
            "",
            by_endpoint(lambda each: float(not each.breaker.passes)),
            labels,
        )
        metrics.counter(
            "tamis_ranker_breaker_openings",
            "of a server's breaker",
            by_endpoint(lambda each: float(each.breaker.openings)),
            labels,
        )
        metrics.counter(
            "tamis_ranker_hedges",
            "second tries",
            lambda: {
                name: float(sum(model.hedges for model in models if model.name == name))
                for name in {model.name for model in models}
            },
            ("model",),
        )

    def _bundle_info(self) -> Mapping[str, float]:
        return {self._engines.current.bundle.bundle_id: 1.0} if self._engines.swaps else {}

    def _measures(self) -> Measures:
        return self._engines.current.measures() if self._engines.swaps else Measures({}, {}, 1.0)

    def _live_items(self) -> float:
        return float(len(self._engines.current.live)) if self._engines.swaps else 0.0

    def _catalogue_age(self) -> float:
        age = self._live.age_s
        return nan if age is None else age

    def _trends_age(self) -> float:
        return nan if self._trended is None else time.monotonic() - self._trended

    def _adopt(self, engine: Engine) -> None:
        self._live.adopt(engine.live, engine.bundle.as_of)
        if self._trending is not None:
            engine.live.trend(*self._trending)

    async def _follow_trends(self) -> None:
        wanted = self._settings.retrieval
        most = 4 * wanted.trending  # a user may have met some, or they are sold out
        while True:
            try:
                self._trending = await self._stores.activity.trending(most, time.time())
                self._engines.current.live.trend(*self._trending)
                self._trended = time.monotonic()
            except DependencyFailed as error:
                log.warning("what trends can't be asked: %s", error)
            await asyncio.sleep(wanted.trending_refresh_s)

    def _status(self) -> ServerStatus:
        return ServerStatus(
            version=version("tamis"),
            uptime_s=time.monotonic() - self._started,
            kernel_level=tamis_kernels.level(),
            state_store=redacted(self._settings.state.url),
            swaps=self._engines.swaps,
            last_rejection=self._engines.last_rejection,
            live=self._live.status,
            rebuild_at=self._settings.catalogue.rebuild_at,
        )


async def _warm_up(engine: Engine) -> None:
    """Answer one request, so that the first caller does not pay for first times."""
    ctx = RequestContext("warm-up", "", 20, Deadline.after(30.0), now=engine.bundle.as_of)
    await engine.recommend.run(ctx)
    if engine.content is not None:
        await engine.content.encode([Depiction("a", _PIXEL)])


def serve(settings: Settings) -> None:
    """Serve until told to stop. Raises SettingsError, BundleRejected, CannotListen."""

    async def main() -> None:
        application = Application(settings)
        # from now on: unheeded, it would end a process that starts
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, application.look)
        port = await application.start()
        keep()
        bundle = application.bundle
        log.info("serving", extra={"port": port, "bundle": bundle.bundle_id, "items": bundle.items})
        await application.run_until_stopped()

    uvloop.run(main())
