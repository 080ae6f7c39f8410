"""Drives one unary RPC with prepared requests: closed loop to saturation, open loop for latency.

Requests are bytes and responses stay bytes, so that the driver costs little beside the server it
shares the machine with. Open-loop latency counts from the intended send time: a stalled server
can't hide the requests that it kept from being sent (no coordinated omission).
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import grpc
import numpy as np

from tamis_client.connections import Connections

STATUS = "/tamis.v1.AdminService/GetStatus"  # trailers come even where nobody knows it
_SPREADING = 8  # calls a connection, in which the workers become known and connections move
Call = Callable[[bytes], "grpc.aio.UnaryUnaryCall[bytes, bytes]"]


@dataclass(frozen=True, slots=True)
class Load:
    """What a run of requests came to: seconds it took, per-request latencies, failures by code."""

    seconds: float
    latencies_s: np.ndarray[tuple[int], np.dtype[np.float64]]
    failures: dict[str, int]

    @property
    def rate(self) -> float:
        """Answered requests a second."""
        return self.latencies_s.shape[0] / self.seconds

    def percentile_ms(self, percent: float) -> float:
        return float(np.percentile(self.latencies_s, percent)) * 1e3


@asynccontextmanager
async def calls(target: str, method: str, channels: int) -> AsyncIterator[Call]:
    """A callable that sends raw bytes to ``method`` over several connections in turn, spread over
    the server's workers as those of the Python client are."""

    def connect() -> grpc.aio.Channel:
        # a pool of its own for each, or gRPC would put all channels on one connection
        return grpc.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)])

    connections = Connections(connect, channels)
    try:
        for _ in range(_SPREADING * channels):
            connection = connections.take()
            ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]
            ask = connection.channel.unary_unary(STATUS)
            status = ask(b"", wait_for_ready=True, timeout=10)
            for channel in connections.give(connection, await status.trailing_metadata()):
                await channel.close()
        stubs: Iterator[grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]] = itertools.cycle(
            [channel.unary_unary(method) for channel in connections.channels()]
        )
        yield lambda request: next(stubs)(request, timeout=10)
    finally:
        await asyncio.gather(*(channel.close() for channel in connections.channels()))


async def saturate(
    call: Call, requests: Sequence[bytes], *, in_flight: int, seconds: float
) -> Load:
    """As many requests as ``in_flight`` clients get answered, one after another each."""
    latencies: list[float] = []
    failures: dict[str, int] = {}
    prepared = itertools.cycle(requests)
    start = perf_counter()
    end = start + seconds

    async def client() -> None:
        while (sent := perf_counter()) < end:
            await _one(call, next(prepared), sent, latencies, failures)

    await asyncio.gather(*(client() for _ in range(in_flight)))
    return Load(perf_counter() - start, np.array(latencies), failures)


async def at_times(
    times: Iterable[float], send: Callable[[int, float], Coroutine[Any, Any, None]]
) -> None:
    """Starts ``send(number, time)`` at each of the times (of ``perf_counter``, ascending), whatever
    became of those before; returns when all have ended."""
    running: set[asyncio.Task[None]] = set()
    for number, due in enumerate(times):
        ahead = due - perf_counter()
        if ahead > 0:
            await asyncio.sleep(ahead)
        task = asyncio.ensure_future(send(number, due))
        running.add(task)
        task.add_done_callback(running.discard)
    if running:
        await asyncio.gather(*running)


async def offer(
    call: Call,
    requests: Sequence[bytes],
    *,
    rate: float,
    seconds: float,
    until: asyncio.Event | None = None,
    seed: int = 0,
) -> Load:
    """Requests at ``rate`` a second on average, at times (Poisson) that don't wait for answers, for
    some seconds or until something has happened, if that is sooner."""
    gaps = np.random.default_rng(seed).exponential(1.0 / rate, int(rate * seconds))
    latencies: list[float] = []
    failures: dict[str, int] = {}
    start = perf_counter()

    async def send(number: int, due: float) -> None:
        await _one(call, requests[number % len(requests)], due, latencies, failures)

    def times() -> Iterator[float]:
        for due in (start + np.cumsum(gaps)).tolist():
            if until is not None and until.is_set():
                return
            yield due

    await at_times(times(), send)
    return Load(perf_counter() - start, np.array(latencies), failures)


async def _one(
    call: Call, request: bytes, since: float, latencies: list[float], failures: dict[str, int]
) -> None:
    try:
        await call(request)
    except grpc.aio.AioRpcError as error:
        code = error.code().name
        failures[code] = failures.get(code, 0) + 1
    else:
        latencies.append(perf_counter() - since)
