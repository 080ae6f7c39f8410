"""The micro-batcher: no artificial delay, batches grow with load, queues are bounded."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from tamis_server.batching.batcher import MicroBatcher
from tamis_server.domain.errors import ContractViolation, Overloaded


class Doubler:
    """Doubles numbers on its thread; waits at the gate until the test opens it."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.batches: list[int] = []

    def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.entered.set()
        self.gate.wait(10)
        self.batches.append(len(numbers))
        return [2 * number for number in numbers]


async def entered(doubler: Doubler) -> None:
    assert await asyncio.to_thread(doubler.entered.wait, 10)


async def test_a_request_to_an_idle_worker_goes_alone_and_at_once() -> None:
    doubler = Doubler()
    doubler.gate.set()
    batcher = MicroBatcher("double", doubler)
    assert await batcher.submit(21) == 42
    assert doubler.batches == [1]
    batcher.close()


async def test_what_waits_while_the_worker_is_busy_goes_in_one_batch_up_to_the_bound() -> None:
    doubler = Doubler()
    batcher = MicroBatcher("double", doubler, max_batch=4)
    first = asyncio.ensure_future(batcher.submit(0))
    await entered(doubler)
    rest = [asyncio.ensure_future(batcher.submit(number)) for number in range(1, 7)]
    await asyncio.sleep(0)
    doubler.gate.set()
    assert await asyncio.gather(first, *rest) == [0, 2, 4, 6, 8, 10, 12]
    assert doubler.batches == [1, 4, 2]
    batcher.close()


async def test_a_full_queue_refuses_early() -> None:
    doubler = Doubler()
    batcher = MicroBatcher("double", doubler, max_waiting=1)
    first = asyncio.ensure_future(batcher.submit(1))
    await entered(doubler)
    second = asyncio.ensure_future(batcher.submit(2))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="double is at capacity"):
        await batcher.submit(3)
    doubler.gate.set()
    assert await asyncio.gather(first, second) == [2, 4]
    batcher.close()


async def test_a_cancelled_request_takes_no_place_in_a_batch() -> None:
    doubler = Doubler()
    batcher = MicroBatcher("double", doubler)
    first = asyncio.ensure_future(batcher.submit(1))
    await entered(doubler)
    dropped, kept = (asyncio.ensure_future(batcher.submit(number)) for number in (2, 3))
    await asyncio.sleep(0)
    dropped.cancel()
    await asyncio.sleep(0)
    doubler.gate.set()
    assert await asyncio.gather(first, kept) == [2, 6]
    assert doubler.batches == [1, 1]
    batcher.close()


async def test_a_failing_call_fails_its_requests_and_no_others() -> None:
    def fails_on_odd(numbers: Sequence[int]) -> list[int]:
        if numbers[0] % 2:
            raise ValueError("odd")
        return list(numbers)

    batcher = MicroBatcher("even", fails_on_odd)
    with pytest.raises(ValueError, match="odd"):
        await batcher.submit(1)
    assert await batcher.submit(2) == 2
    batcher.close()


async def test_a_call_that_loses_results_is_a_contract_violation() -> None:
    batcher: MicroBatcher[int, int] = MicroBatcher("loses", lambda numbers: [])
    with pytest.raises(ContractViolation, match="0 results for a batch of 1"):
        await batcher.submit(1)
    batcher.close()
