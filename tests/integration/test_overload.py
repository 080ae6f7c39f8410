"""More requests than a server can answer: those let in are answered in time, the rest refused at
once, with a hint."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from support.servers import running, server_process
from tamis.v1 import recommend_service_pb2 as pb
from tamis.v1 import recommend_service_pb2_grpc as stubs

PAGE = 5
BATCH = pb.BatchRecommendRequest(  # work enough that this process can offer three times too much
    requests=[pb.RecommendRequest(user_id=f"user-{user}", page_size=PAGE) for user in range(20)]
).SerializeToString()
METHOD = "/tamis.v1.RecommendService/BatchRecommend"
DEADLINE_S = 2.0
LOAD_S = 4.0
TIMEOUT_S = 20.0


Caller = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]


@dataclass(frozen=True)
class Outcome:
    code: str
    seconds: float  # since it was due
    hint_s: float = 0.0
    answer: bytes = b""


async def test_three_times_too_much_is_answered_in_time_or_refused_with_a_hint(
    bundle: Path,
) -> None:
    options = ("--set", "server.access_log=false", "--set", "protection.wait_s=0.1")
    with server_process(bundle, *options) as server:
        channels = [
            grpc.aio.insecure_channel(server.target, [("grpc.use_local_subchannel_pool", 1)])
            for _ in range(4)
        ]
        callers = [channel.unary_unary(METHOD) for channel in channels]
        capacity = await _capacity(callers)
        outcomes = await _offered(callers, 3 * capacity)
        over, calm = time.perf_counter(), 0
        while calm < 20:
            outcome = await _ask(callers[0], time.perf_counter())
            calm = calm + 1 if outcome.code == "OK" else 0
            assert time.perf_counter() - over < 5.0, "refuses still, and nobody else asks"
        for channel in channels:
            await channel.close()
    codes = Counter(outcome.code for outcome in outcomes)
    assert set(codes) == {"OK", "RESOURCE_EXHAUSTED"}, (codes, capacity)
    assert codes["OK"] > 0.2 * capacity * LOAD_S, "it does little else than refuse"
    answered = sorted(outcome.seconds for outcome in outcomes if outcome.code == "OK")
    assert answered[int(0.99 * len(answered))] < DEADLINE_S
    for outcome in outcomes:
        for result in pb.BatchRecommendResponse.FromString(outcome.answer).results:
            assert len(result.response.items) == PAGE, result
    assert min(outcome.hint_s for outcome in outcomes if outcome.code != "OK") > 0


async def _capacity(callers: Sequence[Caller], calls: int = 200) -> float:
    """Calls a second, as many as are answered by as few callers as keep the server busy."""

    async def caller(number: int) -> int:
        done = 0
        for _ in range(calls // len(callers)):
            done += (await _ask(callers[number], time.perf_counter())).code == "OK"
        return done

    await caller(0)  # so that nothing is done for the first time
    began = time.perf_counter()
    answered = sum(await asyncio.gather(*map(caller, range(len(callers)))))
    return answered / (time.perf_counter() - began)


async def _offered(callers: Sequence[Caller], rate: float) -> list[Outcome]:
    """What came of calls at this rate, whatever became of those before (an open loop)."""
    began, asked = time.perf_counter(), []
    for number in range(int(rate * LOAD_S)):
        due = began + number / rate
        await asyncio.sleep(max(due - time.perf_counter(), 0))
        asked.append(asyncio.create_task(_ask(callers[number % len(callers)], due)))
    return await asyncio.gather(*asked)


async def _ask(call: Caller, due: float) -> Outcome:
    try:
        answer = await call(BATCH, timeout=DEADLINE_S)
    except grpc.aio.AioRpcError as error:
        hint_s = _hint(error) if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED else 0.0
        return Outcome(error.code().name, time.perf_counter() - due, hint_s)
    return Outcome("OK", time.perf_counter() - due, answer=answer)


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
