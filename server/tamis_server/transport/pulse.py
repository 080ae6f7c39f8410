"""Measures how long calls wait before a handler runs: by a call to ourselves, now and then.

gRPC takes calls from its queue one a turn of the event loop, and does not say how many wait there
or since when. What a small call of our own waits, on its way through the same queue, is the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tamis_server.domain.tasks import begin, end
from tamis_server.protection.admission import Admission

_INTERVAL_S = 0.05  # a probe costs about a request's time at the edge
_TIMEOUT_S = 10.0


class Pulse:
    """Tells ``admission`` of every probe. Listens on a socket that only this user can reach."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._directory: TemporaryDirectory[str] | None = None
        self._task: asyncio.Task[None] | None = None

    def address(self) -> str:
        """Where the server has to listen for it."""
        if self._directory is None:
            self._directory = TemporaryDirectory(prefix="tamis-")
        return f"unix:{Path(self._directory.name) / 'pulse'}"

    def start(self) -> None:
        """The server listens there by now."""
        self._task = begin(self._beat(self.address()), "measuring how long calls wait")

    async def stop(self) -> None:
        await end(self._task)
        if self._directory is not None:
            self._directory.cleanup()

    async def _beat(self, address: str) -> None:
        request = health_pb2.HealthCheckRequest()
        async with grpc.aio.insecure_channel(address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            await channel.channel_ready()
            while True:
                await asyncio.sleep(_INTERVAL_S)
                if not self._admission.worth_a_probe():
                    continue
                self._admission.probe_sent()
                with contextlib.suppress(grpc.aio.AioRpcError):  # as late as can be, then
                    await stub.Check(request, timeout=_TIMEOUT_S)
                self._admission.probe_seen()
