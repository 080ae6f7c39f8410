"""A worker as its supervisor knows it: a child process, and a socket to talk over."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tamis_server.domain.errors import TamisError

_SWAP_S = 60.0  # many times what a swap takes


class WorkerFailed(TamisError):
    """A worker said why it can't do something, or died before it could."""


def _promise() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


@dataclass(eq=False)
class Worker:
    """Orders go out as JSON lines, and so does what comes back: under the name of what was asked
    for, or ``failed`` and the reason."""

    number: int
    pid: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    ready: asyncio.Future[bool] = field(default_factory=_promise)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    is_serving: bool = False
    leaving: bool = False
    _awaited: dict[str, asyncio.Future[Any]] = field(default_factory=dict)

    async def listens(self, address: str) -> None:
        """It serves on host:port. Raises WorkerFailed, as do the others."""
        await self._ask("listen", address)
        self.is_serving = True

    async def activates(self, segment: Path) -> None:
        """It serves the tables in this segment; where it does not in time, it is killed."""
        try:
            async with asyncio.timeout(_SWAP_S):
                await self._ask("activate", str(segment))
        except TimeoutError:
            self.kill()
            late = f"worker {self.number} did not swap within {_SWAP_S:g} s and is killed"
            raise WorkerFailed(late) from None

    def has_answered(self) -> bool:
        """Whether its event loop got to what it was asked the last time; then it is asked again."""
        promise = self._awaited.get("alive")
        if promise is not None and not promise.done():
            return False
        self._awaited["alive"] = _promise()
        self._say("alive", None)
        return True

    def learns(self, reason: str) -> None:
        """Why it can't serve the next bundle."""
        self._say("rejected", reason)

    async def measures(self) -> str:
        """What it measured, as Prometheus reads it."""
        return str(await self._ask("metrics", None))

    def heard(self, message: dict[str, Any]) -> None:
        """It said something."""
        if "ready" in message and not self.ready.done():
            self.ready.set_result(True)
        if "failed" in message:
            error = WorkerFailed(f"worker {self.number}: {message['failed']}")
            self.fail(error, message.get("order"))
        for order, promise in self._awaited.items():
            if order in message and not promise.done():
                promise.set_result(message[order])

    def fail(self, error: WorkerFailed, order: str | None = None) -> None:
        """Whoever waits for ``order``, or for anything, waits no longer."""
        awaited = [self.ready, *self._awaited.values()] if order is None else [self._awaited[order]]
        for promise in awaited:
            if not promise.done():
                promise.set_exception(error)
                promise.exception()  # whether or not somebody waits for it

    def leave(self) -> None:
        """It answers what it has begun and goes."""
        self.leaving = True
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    async def _ask(self, order: str, what: str | None) -> Any:
        """Several that ask for the same at once get the same answer."""
        promise = self._awaited.get(order)
        if promise is None or promise.done():
            if self.ended.is_set():
                raise WorkerFailed(f"worker {self.number} died")
            promise = self._awaited[order] = _promise()
            self._say(order, what)
        return await asyncio.shield(promise)

    def _say(self, order: str, what: str | None) -> None:
        self.writer.write(json.dumps({order: what}).encode() + b"\n")

    def _signal(self, number: signal.Signals) -> None:
        if not self.ended.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)
