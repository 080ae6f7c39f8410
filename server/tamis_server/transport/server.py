"""The gRPC server: what listens, what it says of its health, and how it goes."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Protocol, cast

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from tamis.v1 import (
    admin_service_pb2,
    admin_service_pb2_grpc,
    catalog_service_pb2,
    catalog_service_pb2_grpc,
    event_service_pb2,
    event_service_pb2_grpc,
    recommend_service_pb2,
    recommend_service_pb2_grpc,
)
from tamis_server.bundles.editor import CatalogueEditor
from tamis_server.domain.errors import TamisError
from tamis_server.domain.ports import EventLog, ItemActivity, UserStateStore
from tamis_server.funnel.engine import Engines
from tamis_server.protection.admission import Admission
from tamis_server.transport.call import CallInterceptor
from tamis_server.transport.health import Health
from tamis_server.transport.pulse import Pulse
from tamis_server.transport.servicers import (
    AdminServicer,
    CatalogServicer,
    EventServicer,
    RecommendServicer,
    ServerStatus,
)

SERVICES = tuple(
    proto.DESCRIPTOR.services_by_name[name].full_name
    for proto, name in (
        (recommend_service_pb2, "RecommendService"),
        (event_service_pb2, "EventService"),
        (catalog_service_pb2, "CatalogService"),
        (admin_service_pb2, "AdminService"),
    )
)


class CannotListen(TamisError):
    """The address can't be bound."""


class Stores(Protocol):
    """What the services read and write beside the funnel."""

    @property
    def users(self) -> UserStateStore: ...

    @property
    def activity(self) -> ItemActivity: ...


class _OneQueue:
    """A server to add services to whose calls shall all wait in one queue.

    gRPC gives each registered method a queue of its own, which no call of another method waits in:
    a probe would never meet the requests. Generic handlers share one.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self.add_generic_rpc_handlers = server.add_generic_rpc_handlers

    def add_registered_method_handlers(self, service: str, handlers: object) -> None:
        """The same handlers were added as generic ones."""


class GrpcServer:
    """All services, health per service name, and reflection, on one address."""

    def __init__(
        self,
        engines: Engines,
        stores: Stores,
        event_log: EventLog,
        editor: CatalogueEditor,
        status: Callable[[], ServerStatus],
        interceptor: CallInterceptor,
        admission: Admission,
        *,
        refuse_unknown_items: bool,
        max_connection_age_s: float,
        drain_s: float,
        shares_port: bool = False,
    ) -> None:
        """shares_port: with other processes (SO_REUSEPORT), each of which gets connections."""
        self._drain_s = drain_s
        self._shares_port = shares_port
        self._pulse = Pulse(admission)
        self._health = Health(SERVICES)
        self._server = grpc.aio.server(
            interceptors=[interceptor],
            options=[
                ("grpc.max_receive_message_length", 16 << 20),
                ("grpc.max_send_message_length", 64 << 20),
                ("grpc.so_reuseport", int(shares_port)),
                # connections end by age, so that clients look their server up again
                ("grpc.max_connection_age_ms", int(max_connection_age_s * 1e3)),
                ("grpc.max_connection_age_grace_ms", int(drain_s * 1e3)),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ],
        )
        services = cast(grpc.aio.Server, _OneQueue(self._server))
        recommend_service_pb2_grpc.add_RecommendServiceServicer_to_server(
            RecommendServicer(engines), services
        )
        event_service_pb2_grpc.add_EventServiceServicer_to_server(
            EventServicer(engines, stores.users, event_log, refuse_unknown=refuse_unknown_items),
            services,
        )
        catalog_service_pb2_grpc.add_CatalogServiceServicer_to_server(
            CatalogServicer(engines, stores.activity, editor), services
        )
        admin_service_pb2_grpc.add_AdminServiceServicer_to_server(
            AdminServicer(engines, status), services
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, services)
        health = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
        names = (*SERVICES, health, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, services)

    async def start(self, listen: str) -> int:
        """Listen on host:port and return the port. Not serving until told so.

        Raises CannotListen.
        """
        obstacle = None if self._shares_port else _obstacle(listen)
        if isinstance(obstacle, OSError) and obstacle.errno in (errno.EADDRINUSE, errno.EACCES):
            raise CannotListen(f"can't listen on {listen}: {obstacle}")  # gRPC would log it, too
        try:
            port = self._server.add_insecure_port(listen)
            self._server.add_insecure_port(self._pulse.address())
        except RuntimeError as error:
            await self._pulse.stop()
            raise CannotListen(f"can't listen on {listen}: {obstacle or error}") from None
        await self._server.start()
        self._pulse.start()
        return port

    async def serve(self) -> None:
        """Say that requests are welcome."""
        self._health.set_serving(True)

    async def drain(self, delay_s: float) -> None:
        """NOT_SERVING first; after ``delay_s`` no new calls; those in flight are answered."""
        self._health.set_serving(False)
        await asyncio.sleep(delay_s)
        self._health.end_watches()
        await self._pulse.stop()
        await self._server.stop(self._drain_s)


def _obstacle(listen: str) -> Exception | None:
    """Why one can't listen on host:port, in words of the system's: gRPC has none."""
    host, _, port = listen.rpartition(":")
    try:
        for family, kind, _, _, address in socket.getaddrinfo(
            host.strip("[]") or "::", int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            with socket.socket(family, kind) as alone:
                alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                alone.bind(address)
    except (OSError, ValueError, OverflowError) as error:
        return error
    return None
