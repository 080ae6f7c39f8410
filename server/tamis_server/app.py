"""The composition root: the only place that knows which adapter goes where."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import uvloop

import tamis_kernels
from tamis_server.adapters.embedded.catalogue import BundleCatalogue
from tamis_server.adapters.embedded.deepfm import NativeDeepFM
from tamis_server.adapters.embedded.eligibility import AttributeEligibility
from tamis_server.adapters.embedded.encoder import PooledQueryEncoder
from tamis_server.adapters.embedded.features import ColumnFeatures
from tamis_server.adapters.embedded.filters import EligibleFilter, SeenFilter
from tamis_server.adapters.embedded.hnsw import NearestItems
from tamis_server.adapters.embedded.memory_state import BundleHistories, MemoryUserState
from tamis_server.adapters.embedded.merging import ReciprocalRankMerger
from tamis_server.adapters.embedded.reranking import MaximalMarginalRelevance
from tamis_server.adapters.embedded.sources import (
    AroundAnchors,
    AroundRecent,
    Personal,
    fresh,
    popular,
)
from tamis_server.bundles.loader import Bundle, load
from tamis_server.bundles.swapper import Swapper
from tamis_server.domain.candidates import DegradationLevel
from tamis_server.domain.context import Deadline, RequestContext
from tamis_server.domain.ports import UserStateStore
from tamis_server.domain.slate import StageTrace
from tamis_server.funnel.engine import BundleInfo, Engine
from tamis_server.funnel.funnel import Funnel, StageObserver, Step
from tamis_server.settings import Settings, SettingsError
from tamis_server.stages.filtering import Filtering
from tamis_server.stages.hydration import Hydration
from tamis_server.stages.preparation import EligibleItems, QueryEncoding, UserState
from tamis_server.stages.ranking import Ranking
from tamis_server.stages.reranking import Reranking
from tamis_server.stages.retrieval import Quota, Retrieval
from tamis_server.transport.call import CallInterceptor
from tamis_server.transport.server import GrpcServer
from tamis_server.transport.servicers import ServerStatus

log = logging.getLogger(__name__)
_INLINE_S = 1.0  # budget of stages that can't wait for anything: the deadline bounds them


class _Unobserved:
    """Until metrics are configured nobody watches the stages."""

    def observe(self, trace: StageTrace) -> None:
        return


def build_engine(
    bundle: Bundle, store: UserStateStore, settings: Settings, observer: StageObserver
) -> Engine:
    """Everything that answers requests from one bundle. Raises BundleRejected."""
    catalogue = BundleCatalogue(bundle)
    wanted = settings.retrieval
    nearest = NearestItems(bundle, ef_search=wanted.ef_search, exact_below=wanted.exact_below)
    user_state = Step(UserState(store, catalogue), 0.05, DegradationLevel.POPULARITY)
    eligible = Step(EligibleItems(AttributeEligibility(bundle)), _INLINE_S)
    reranking = Step(
        Reranking(
            MaximalMarginalRelevance(
                bundle, trade_off=settings.reranking.trade_off, pool=settings.reranking.pool
            )
        ),
        _INLINE_S,
    )

    def retrieval(*quotas: Quota) -> Step[Retrieval]:
        return Step(Retrieval(quotas, ReciprocalRankMerger()), _INLINE_S)

    def filtering(*filters: EligibleFilter | SeenFilter) -> Step[Filtering]:
        return Step(Filtering(filters, settings.ranking.candidates), _INLINE_S)

    timeout = wanted.source_timeout_s
    recommend = Funnel(
        preparations=[
            user_state,
            eligible,
            Step(QueryEncoding(PooledQueryEncoder(bundle)), 0.05, DegradationLevel.POPULARITY),
        ],
        stages=[
            retrieval(
                Quota(Personal(nearest), wanted.personal, wanted.personal_weight, timeout),
                Quota(AroundRecent(nearest), wanted.recent, wanted.recent_weight, timeout),
                Quota(popular(bundle), wanted.popular, wanted.popular_weight, timeout),
                Quota(fresh(bundle, wanted.fresh_days), wanted.fresh, wanted.fresh_weight, timeout),
            ),
            filtering(EligibleFilter(), SeenFilter(catalogue)),
            Step(Hydration(ColumnFeatures(bundle)), _INLINE_S, DegradationLevel.RETRIEVAL_ORDER),
            Step(
                Ranking(NativeDeepFM(bundle)),
                settings.ranking.timeout_s,
                DegradationLevel.RETRIEVAL_ORDER,
            ),
            reranking,
        ],
        observer=observer,
    )
    related = Funnel(
        preparations=[user_state, eligible],
        stages=[
            retrieval(Quota(AroundAnchors(nearest), wanted.related, 1.0, timeout)),
            filtering(EligibleFilter()),
            reranking,
        ],
        observer=observer,
    )
    return Engine(_info(bundle), catalogue, recommend, related)


def _info(bundle: Bundle) -> BundleInfo:
    manifest = bundle.manifest
    return BundleInfo(
        bundle_id=manifest.bundle_id,
        name=manifest.name,
        as_of=manifest.as_of,
        items=manifest.items,
        users=manifest.users,
        dim=manifest.dim,
        pairing_id=manifest.pairing_id,
    )


@dataclass(frozen=True, slots=True)
class _Serving:
    engine: Engine
    histories: BundleHistories


@dataclass(frozen=True, slots=True)
class _Current:
    """The engine of what the swapper holds."""

    swapper: Swapper[_Serving]

    @property
    def current(self) -> Engine:
        return self.swapper.current.engine


class Application:
    """A server with all that it serves, from start to drain."""

    def __init__(self, settings: Settings) -> None:
        if settings.bundle.path is None:
            raise SettingsError("setting bundle.path: the directory of a bundle must be given")
        self._settings = settings
        self._path: Path = settings.bundle.path
        self._started = time.monotonic()
        self._store = MemoryUserState(max_history=settings.state.max_history)
        self._engines: Swapper[_Serving] = Swapper(self._build, _warm_up, self._adopt)
        self._server = GrpcServer(
            _Current(self._engines),
            self._store,
            self._status,
            CallInterceptor(
                default_timeout_s=settings.server.default_timeout_s,
                min_timeout_s=settings.server.min_timeout_s,
                log_calls=settings.server.access_log,
            ),
            max_connection_age_s=settings.server.max_connection_age_s,
            drain_s=settings.server.drain_s,
        )

    async def start(self) -> int:
        """Load, listen and serve; returns the port. Raises BundleRejected, CannotListen."""
        await self._engines.activate(self._path)
        port = await self._server.start(self._settings.server.listen)
        await self._server.serve()
        bundle = self._engines.current.engine.bundle
        log.info("serving", extra={"port": port, "bundle": bundle.bundle_id, "items": bundle.items})
        return port

    async def run_until_stopped(self) -> None:
        """Follow the bundle's directory, reload at SIGHUP, drain at SIGTERM or SIGINT."""
        loop, stopped = asyncio.get_running_loop(), asyncio.Event()
        reloads: set[asyncio.Task[None]] = set()

        def reload() -> None:
            task = loop.create_task(self.reload())
            reloads.add(task)
            task.add_done_callback(reloads.discard)

        loop.add_signal_handler(signal.SIGHUP, reload)
        for stop in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(stop, stopped.set)
        follower = None
        if self._settings.bundle.watch_s > 0:
            follower = loop.create_task(
                self._engines.follow(self._path, self._settings.bundle.watch_s)
            )
        await stopped.wait()
        log.info("draining")
        if follower is not None:
            follower.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await follower
        await self.stop()
        log.info("stopped")

    async def reload(self) -> None:
        """Serve the bundle now in the directory; a refused one is logged and the old one stays."""
        await self._engines.refresh(self._path)

    async def stop(self) -> None:
        """NOT_SERVING, then answer what is in flight, then close."""
        await self._server.drain(self._settings.server.drain_delay_s)

    def _build(self, directory: Path) -> _Serving:
        bundle = load(directory)
        engine = build_engine(bundle, self._store, self._settings, _Unobserved())
        return _Serving(engine, BundleHistories(bundle, engine.catalogue))

    def _adopt(self, serving: _Serving) -> None:
        self._store.seed(serving.histories)

    def _status(self) -> ServerStatus:
        return ServerStatus(
            version=version("tamis"),
            uptime_s=time.monotonic() - self._started,
            kernel_level=tamis_kernels.level(),
            state_store=self._settings.state.url,
            swaps=self._engines.swaps,
            last_rejection=self._engines.last_rejection,
        )


async def _warm_up(serving: _Serving) -> None:
    """Answer one request, so that the first caller does not pay for first times."""
    ctx = RequestContext("warm-up", "", 20, Deadline.after(30.0), now=serving.engine.bundle.as_of)
    await serving.engine.recommend.run(ctx)


def serve(settings: Settings) -> None:
    """Serve until told to stop. Raises SettingsError, BundleRejected, CannotListen."""

    async def main() -> None:
        application = Application(settings)
        await application.start()
        await application.run_until_stopped()

    uvloop.run(main())
