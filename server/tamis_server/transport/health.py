"""Health as grpc.health.v1 has it, for all services alike.

Not grpcio-health-checking's asyncio servicer, though its messages: of two who watch one service,
the second hears nothing more once the first has left, and one who watches holds up the exit until
the grace period is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # untyped upstream
    """Says NOT_SERVING until told otherwise; "" stands for the whole server."""

    def __init__(self, services: Iterable[str]) -> None:
        self._services = frozenset(("", *services))
        self._serving = False
        self._ended = False
        self._changed = asyncio.Event()

    def set_serving(self, serving: bool) -> None:
        """Tell all who ask and all who watch."""
        self._serving = serving
        self._wake()

    def end_watches(self) -> None:
        """Let those who watch go once they have heard the last change."""
        self._ended = True
        self._wake()

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> health_pb2.HealthCheckResponse:
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return self._state(request.service)

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Context) -> None:
        told = None
        while True:
            changed, state = self._changed, self._state(request.service)
            if state != told:
                await context.write(state)
                told = state
            elif self._ended:
                return
            else:
                await changed.wait()

    def _state(self, service: str) -> health_pb2.HealthCheckResponse:
        status = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        if service in self._services:
            status = (
                health_pb2.HealthCheckResponse.SERVING
                if self._serving
                else health_pb2.HealthCheckResponse.NOT_SERVING
            )
        return health_pb2.HealthCheckResponse(status=status)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
