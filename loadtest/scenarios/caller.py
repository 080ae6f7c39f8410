"""Asks a server over several connections and writes down what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from time import perf_counter

import grpc

from scenarios.answers import OK, UNKNOWN_LEVEL, Recorder, level_of
from scenarios.connections import OPTIONS
from scenarios.rpcs import RPCS
from scenarios.traffic import MIX, Traffic

CHANNELS = 8
TIMEOUT_S = 5.0
Prepared = Sequence[tuple[str, bytes]]


def prepared(traffic: Traffic, count: int) -> Prepared:
    """Requests drawn and serialised beforehand: that costs more than to send them."""
    drawn = (traffic.mixed() for _ in range(count))
    return [(name, message.SerializeToString()) for name, message in drawn]


class Caller:
    """The RPCs of ``MIX`` at one server, connections by turns."""

    def __init__(self, channels: Sequence[grpc.aio.Channel]) -> None:
        self._stubs: list[dict[str, grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]]] = [
            {name: channel.unary_unary(RPCS[name].path) for name in MIX} for channel in channels
        ]

    async def ask(
        self, number: int, name: str, request: bytes, since: float, begin: float, into: Recorder
    ) -> None:
        """One request, timed from ``since``; both times are of ``perf_counter``."""
        code, level = OK, UNKNOWN_LEVEL
        try:
            answer = await self._stubs[number % len(self._stubs)][name](request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            code = error.code().name
            now = perf_counter()
        else:
            now = perf_counter()
            level = level_of(RPCS[name].response.FromString(answer))
        into.add(since - begin, now - since, name, code, level)

    async def capacity(self, requests: Prepared, clients: int = 8) -> float:
        """Answers a second to a few clients that ask one request after another, until all are
        asked: what the server can do where nobody waits long."""
        into, begin = Recorder(), perf_counter()

        async def client(first: int) -> None:
            for number in range(first, len(requests), clients):
                await self.ask(number, *requests[number], perf_counter(), begin, into)

        await asyncio.gather(*map(client, range(clients)))
        return int(into.answers().good.sum()) / (perf_counter() - begin)


@asynccontextmanager
async def caller(target: str) -> AsyncIterator[Caller]:
    """Connected, several times."""
    channels = [grpc.aio.insecure_channel(target, options=OPTIONS) for _ in range(CHANNELS)]
    try:
        await asyncio.gather(*(channel.channel_ready() for channel in channels))
        yield Caller(channels)
    finally:
        await asyncio.gather(*(channel.close() for channel in channels))
