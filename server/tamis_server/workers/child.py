"""One of the processes that serve: told by the supervisor when to listen, and when to go."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvloop

from tamis_server.app import Application
from tamis_server.bundles.memory import keep
from tamis_server.domain.errors import TamisError
from tamis_server.domain.tasks import begin, end
from tamis_server.observability.logging import configure
from tamis_server.settings import Settings
from tamis_server.tables import Tables

log = logging.getLogger(__name__)
LINE_BYTES = 16 << 20  # of a message, which may hold all metrics


def work(
    settings: Settings, take: Callable[[], Tables], number: int, channel: socket.socket
) -> int:
    """Serve until told to go; returns the exit status. Right after the fork, in the child.

    take: hands over the tables. Nobody but the application holds them here, or they would stay in
    memory when it has others.
    """
    asyncio._set_running_loop(None)  # the supervisor's, which ended here
    signal.set_wakeup_fd(-1)
    for usual in (signal.SIGCHLD, signal.SIGTERM):  # told to go before it serves, it goes at once
        signal.signal(usual, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    for whole in (signal.SIGHUP, signal.SIGINT, signal.SIGUSR2):  # meant for the supervisor
        signal.signal(whole, signal.SIG_IGN)
    configure(settings.log.level, worker=number)

    async def main() -> int:
        name = f"{number}/{settings.server.workers}"
        application = Application(settings, preloaded=take(), worker=name)
        return await _Child(application).run(channel)

    return uvloop.run(main())


class _Child:
    def __init__(self, application: Application) -> None:
        """Made in the loop that serves: gRPC keeps to that."""
        self._application = application

    async def run(self, channel: socket.socket) -> int:
        self._reader, self._writer = await asyncio.open_connection(sock=channel, limit=LINE_BYTES)
        try:
            await self._application.prepare()
        except TamisError as error:
            self._say({"failed": str(error)})
            await self._writer.drain()
            return 1
        keep()
        self._say({"ready": True})
        stopped = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
        orders = begin(self._follow(stopped), "following the supervisor")
        await stopped.wait()
        await end(orders)
        await self._application.stop()
        return 0

    async def _follow(self, stopped: asyncio.Event) -> None:
        """Do what the supervisor says, until it is no more."""
        try:
            async with asyncio.TaskGroup() as doing:
                while line := await self._reader.readline():
                    for order, what in json.loads(line).items():
                        doing.create_task(self._do(order, what))
        except* ConnectionError:  # it was gone when something was said to it
            pass
        finally:
            stopped.set()

    async def _do(self, order: str, what: str) -> None:
        application, answer = self._application, None
        try:
            match order:
                case "listen":
                    answer = str(await application.listen(what))
                case "activate":
                    await application.activate(Path(what))
                case "rejected":
                    application.reject(what)
                case "metrics":
                    answer = application.exposition()
                case "alive":
                    pass  # to get here is the answer
        except Exception as error:  # whoever gave the order waits for the answer
            if not isinstance(error, TamisError):
                log.exception("order %s failed", order)
            reason = str(error) if isinstance(error, TamisError) else repr(error)
            self._say({"failed": reason, "order": order})
        else:
            self._say({order: answer})

    def _say(self, message: dict[str, Any]) -> None:
        self._writer.write(json.dumps(message).encode() + b"\n")
