"""A gRPC server around funnels that a test makes up from the real classes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from support.engines import Bench, Recorder
from tamis_server.adapters.embedded.event_log import NoEventLog
from tamis_server.bundles.editor import CatalogueEditor
from tamis_server.bundles.ids import item_keys
from tamis_server.bundles.live import LiveCatalogue, LiveStatus
from tamis_server.domain.candidates import Candidates
from tamis_server.domain.context import RequestContext
from tamis_server.domain.ports import EventLog, UserStateStore
from tamis_server.funnel.engine import Engine
from tamis_server.funnel.funnel import Funnel, Step
from tamis_server.protection.admission import Admission
from tamis_server.transport.call import CallInterceptor
from tamis_server.transport.server import GrpcServer
from tamis_server.transport.servicers import ServerStatus

Work = Callable[[RequestContext], Awaitable[None]]


@dataclass
class Does:
    """A stage that does what the test says and keeps its candidates."""

    work: Work
    name: str = "does"

    async def run(self, ctx: RequestContext, batch: Candidates) -> Candidates:
        await self.work(ctx)
        return batch


@dataclass
class Held:
    """The engine being served; a test may put another in its place."""

    current: Engine


def doing(shop: Bench, work: Work) -> Held:
    """The engine of ``shop`` with a funnel of one stage that does ``work`` and finds nothing."""
    funnel = Funnel([], [Step(Does(work), budget_s=30.0)], Recorder())
    return Held(replace(shop.engine, recommend=funnel, related=funnel, search=funnel))


def server_of(
    shop: Bench,
    engines: Held,
    store: UserStateStore | None = None,
    *,
    default_timeout_s: float = 10.0,
    min_timeout_s: float = 0.001,
    log_calls: bool = False,
    event_log: EventLog | None = None,
    max_connection_age_s: float = 300.0,
    drain_s: float = 10.0,
    observe: Callable[[str, str, float], None] = lambda *_: None,
) -> GrpcServer:
    """A server that does not listen yet."""
    nothing_live = LiveStatus(0, 0, 0, None)
    live = LiveCatalogue(shop.stores.catalogue)
    admission = Admission(target_s=30.0)
    return GrpcServer(
        engines,
        replace(shop.stores, users=store or shop.stores.users),
        event_log or NoEventLog(),
        CatalogueEditor(engines, live, item_keys),
        lambda: ServerStatus("1.2.3", 4.5, "scalar", "lmdb://x", 1, "", nothing_live, 5_000),
        CallInterceptor(
            default_timeout_s=default_timeout_s,
            min_timeout_s=min_timeout_s,
            log_calls=log_calls,
            observe=observe,
            admission=admission,
        ),
        admission,
        refuse_unknown_items=False,
        max_connection_age_s=max_connection_age_s,
        drain_s=drain_s,
    )


@asynccontextmanager
async def edge(
    shop: Bench, engines: Held, store: UserStateStore | None = None, **options: Any
) -> AsyncIterator[str]:
    """Serve ``engines`` on a free port of the loopback; gives host:port."""
    server = server_of(shop, engines, store, **options)
    port = await server.start("127.0.0.1:0")
    await server.serve()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.drain(0.0)
