"""The open loop: thousands of virtual users who don't wait for each other, nor for the server.

Each user asks at random times of his own (Poisson), the r-th most active 1 / r^0.99 as often. All
together that is one Poisson process whose requests are each of a user drawn by Zipf's law, and so
it is drawn (``Traffic``). Latency counts from when a request was due, not from when it could be
sent: a server that stalls can't hide the requests it kept from being sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from driver import at_times

from scenarios.answers import Answers, Recorder
from scenarios.caller import Caller, Prepared, caller, prepared
from scenarios.report import Phase
from scenarios.traffic import Traffic

NAME = "open loop"
SHARE = 0.6  # of what the server can do, where no rate is given
_ASKED_FOR_CAPACITY, _SEED_OF_CAPACITY = 1500, 65_535


@dataclass(frozen=True)
class Run:
    """Against one target: all its rounds."""

    answers: Answers
    phases: tuple[Phase, ...]


async def measured_capacity(target: str, bundle: Path, asked: int = _ASKED_FOR_CAPACITY) -> float:
    """Answers a second of the mix; the first third warms up."""
    traffic = Traffic(bundle, seed=_SEED_OF_CAPACITY)
    async with caller(target) as connected:
        await connected.capacity(prepared(traffic, asked // 3))
        return await connected.capacity(prepared(traffic, asked - asked // 3))


async def run(
    targets: Sequence[str], bundle: Path, *, rate: float, seconds: float, rounds: int
) -> list[Run]:
    """Rounds of ``seconds`` at ``rate``; of several targets each round asks all of them, one after
    another, the same requests at the same times, and begins with another one each time."""
    begin = perf_counter()
    recorders = [Recorder() for _ in targets]
    phases: list[list[Phase]] = [[] for _ in targets]
    for number in range(rounds):
        requests = prepared(Traffic(bundle, seed=number), int(rate * seconds))
        for place in range(len(targets)):
            which = (place + number) % len(targets)
            async with caller(targets[which]) as connected:
                start = perf_counter()
                await _offer(connected, requests, rate, number, begin, recorders[which])
            phases[which].append(
                Phase(name=NAME, start_s=start - begin, end_s=perf_counter() - begin)
            )
    return [
        Run(recorder.answers(), tuple(of_target))
        for recorder, of_target in zip(recorders, phases, strict=True)
    ]


async def _offer(
    connected: Caller, requests: Prepared, rate: float, seed: int, begin: float, into: Recorder
) -> None:
    gaps = np.random.default_rng(seed).exponential(1.0 / rate, len(requests))

    async def send(number: int, due: float) -> None:
        await connected.ask(number, *requests[number], due, begin, into)

    await at_times((perf_counter() + np.cumsum(gaps)).tolist(), send)
