"""A TCP proxy that holds answers back, for tests of time-outs against a server that is well."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

_CHUNK = 1 << 16
log = logging.getLogger(__name__)


class Slow:
    """Stands before ``port`` of the loopback; every answer arrives ``delay_ms`` later than it was.

    ``delay_ms`` may be set at any time and holds for what the server sends from then on. Requests
    pass at once, and pipelined answers are late together rather than one after another.
    """

    def __init__(self, port: int, delay_ms: float) -> None:
        self.delay_ms = delay_ms
        self.port = 0
        self._upstream = port
        self._listening = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Event | None = None
        # a thread of its own: a blocking client in the test must not stop the proxy
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def start(self) -> None:
        self._thread.start()
        assert self._listening.wait(10), "the proxy did not start"

    def stop(self) -> None:
        assert self._loop is not None
        assert self._closing is not None
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._loop, self._closing = asyncio.get_running_loop(), asyncio.Event()
        connections: set[asyncio.Task[None]] = set()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # no coroutine: one that ends before it has begun would close nothing
            task = asyncio.ensure_future(self._relay(reader, writer))
            connections.add(task)
            task.add_done_callback(partial(ended, writer))

        def ended(writer: asyncio.StreamWriter, task: asyncio.Task[None]) -> None:
            connections.discard(task)
            writer.close()
            if not task.cancelled() and isinstance(error := task.exception(), Exception):
                log.info("a connection ended: %s", error)

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        await self._closing.wait()
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, requests = await asyncio.open_connection("127.0.0.1", self._upstream)
        late: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        directions = [
            asyncio.ensure_future(work)
            for work in (_pass(reader, requests), self._hold(answers, late), _give(late, writer))
        ]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            requests.close()  # first: whoever stops the proxy now cancels the wait below
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)

    async def _hold(
        self, answers: asyncio.StreamReader, late: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        now = asyncio.get_running_loop().time
        while chunk := await answers.read(_CHUNK):
            late.put_nowait((now() + self.delay_ms / 1e3, chunk))


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK):
        writer.write(chunk)
        await writer.drain()


async def _give(late: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
    now = asyncio.get_running_loop().time
    while True:
        due, chunk = await late.get()
        await asyncio.sleep(due - now())
        writer.write(chunk)
        await writer.drain()


@contextmanager
def slow(port: int, delay_ms: float) -> Iterator[Slow]:
    """A proxy before ``port`` for as long as the context lasts."""
    proxy = Slow(port, delay_ms)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
