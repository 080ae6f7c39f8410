"""One page over HTTP, for Prometheus: whatever is asked for, that is the answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from tamis_server.observability.metrics import CannotExpose

_PATIENCE_S = 5.0
_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n"
)


async def expose(listen: str, page: Callable[[], Awaitable[str]]) -> asyncio.Server | None:
    """Answer requests at host:port with ``page()``; None where ``listen`` is "".

    Raises CannotExpose.
    """
    if not listen:
        return None

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                await reader.readuntil(b"\r\n\r\n")
                body = (await page()).encode()
                writer.write(_HEAD % len(body) + body)
                await writer.drain()
        writer.close()

    host, _, port = listen.rpartition(":")
    try:
        return await asyncio.start_server(answer, host or None, int(port))
    except (OSError, OverflowError) as error:
        raise CannotExpose(f"metrics can't be served on {listen}: {error}") from None
