"""More requests than a server can answer: those let in are answered in time, the rest refused at
once, with a hint."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from support.servers import running, server_process
from tamis.v1 import recommend_service_pb2 as pb
from tamis.v1 import recommend_service_pb2_grpc as stubs

AT_ONCE = 200  # half a second's work, where requests may wait a tenth of it
TIMEOUT_S = 20.0


async def test_too_many_requests_are_answered_in_time_or_refused_with_a_hint(bundle: Path) -> None:
    codes: Counter[str] = Counter()
    hints: list[float] = []
    options = ("--set", "server.access_log=false", "--set", "protection.wait_s=0.05")
    with server_process(bundle, *options) as server:
        channels = [
            grpc.aio.insecure_channel(server.target, [("grpc.use_local_subchannel_pool", 1)])
            for _ in range(4)
        ]

        async def client(number: int) -> None:
            stub = stubs.RecommendServiceStub(channels[number % len(channels)])
            for _ in range(3):
                request = pb.RecommendRequest(user_id=f"user-{number % 30}", page_size=10)
                try:
                    response = await stub.Recommend(request, timeout=TIMEOUT_S)
                except grpc.aio.AioRpcError as error:
                    codes[error.code().name] += 1
                    hints.append(_hint(error))
                else:
                    codes["OK"] += 1
                    assert len(response.items) == 10

        await asyncio.gather(*(client(number) for number in range(AT_ONCE)))
        calm = await stubs.RecommendServiceStub(channels[0]).Recommend(
            pb.RecommendRequest(user_id="user-1", page_size=10), timeout=TIMEOUT_S
        )
        assert len(calm.items) == 10
        for channel in channels:
            await channel.close()
    assert set(codes) == {"OK", "RESOURCE_EXHAUSTED"}, codes
    assert codes["OK"] > 5
    assert min(hints) > 0


async def test_no_more_requests_are_answered_at_once_than_the_settings_allow(bundle: Path) -> None:
    protection = {"protection": {"max_in_flight": 1}}
    async with (
        running(bundle, protection) as server,
        grpc.aio.insecure_channel(server.target) as channel,
    ):
        server.application._admission.in_flight = 1  # as by a request that never ends
        stub = stubs.RecommendServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Recommend(pb.RecommendRequest(user_id="user-1"), timeout=TIMEOUT_S)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert _hint(caught.value) > 0
        server.application._admission.in_flight = 0
        assert await stub.Recommend(pb.RecommendRequest(user_id="user-1"), timeout=TIMEOUT_S)


def _hint(error: grpc.aio.AioRpcError) -> float:
    """Seconds until a retry may do."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None, error
    hint = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(hint) for detail in status.details)
    return hint.retry_delay.ToTimedelta().total_seconds()
