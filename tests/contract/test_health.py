"""Health, as load balancers ask for it: once, or watching."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from support.edge import Held, server_of
from support.engines import Bench
from tamis_server.transport.server import SERVICES

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


@pytest.mark.parametrize("service", ["", *SERVICES])
async def test_a_server_is_not_serving_until_it_says_so(shop: Bench, service: str) -> None:
    server = server_of(shop, Held(shop.engine))
    port = await server.start("127.0.0.1:0")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask = health_pb2_grpc.HealthStub(channel).Check
        request = health_pb2.HealthCheckRequest(service=service)
        assert (await ask(request)).status == NOT_SERVING
        await server.serve()
        assert (await ask(request)).status == SERVING
    await server.drain(0.0)


async def test_a_service_that_is_not_there_is_not_found_and_unknown_to_who_watches(
    shop: Bench,
) -> None:
    server = server_of(shop, Held(shop.engine))
    port = await server.start("127.0.0.1:0")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service="shop.v1.Nothing")
        with pytest.raises(grpc.aio.AioRpcError, match="no such service") as caught:
            await stub.Check(request)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert (await stub.Watch(request).read()).status == UNKNOWN
    await server.drain(0.0)


async def test_all_who_watch_hear_the_end_though_one_has_left_before(shop: Bench) -> None:
    server = server_of(shop, Held(shop.engine))
    port = await server.start("127.0.0.1:0")
    await server.serve()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        leaves, stays = (stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(2))
        assert [(await watch.read()).status for watch in (leaves, stays)] == [SERVING, SERVING]
        leaves.cancel()
        assert await leaves.code() is grpc.StatusCode.CANCELLED
        await asyncio.gather(server.drain(0.0), _hears(stays, NOT_SERVING))
        assert await stays.code() is grpc.StatusCode.OK, "let go, not cut off after the grace"


async def _hears(watch: grpc.aio.UnaryStreamCall, status: int) -> None:
    assert (await watch.read()).status == status
    assert await watch.read() is grpc.aio.EOF
