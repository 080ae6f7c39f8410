"""The requests of the benchmarks, and what a server makes of them."""

from __future__ import annotations

import numpy as np
from bundles import USERS
from driver import Load, calls, offer, saturate
from serving import Server

from tamis.v1 import recommend_service_pb2 as pb

RECOMMEND = "/tamis.v1.RecommendService/Recommend"
CHANNELS = 8
IN_FLIGHT = 32


def recommendations(page_size: int = 20) -> list[bytes]:
    """A request for each user in an order of its own: nothing repeats for long."""
    users = np.random.default_rng(1).permutation(USERS)
    predicate = pb.Predicate(attribute="colour")
    values = getattr(predicate, "in").values  # a keyword of Python's
    values.extend(pb.Value(text=colour) for colour in ("red", "green", "blue"))
    return [
        pb.RecommendRequest(
            user_id=f"user-{user}", page_size=page_size, predicates=[predicate]
        ).SerializeToString()
        for user in users
    ]


async def saturation(
    under: Server, method: str, requests: list[bytes], seconds: float, in_flight: int = IN_FLIGHT
) -> tuple[Load, float]:
    """The load at saturation and the server's CPU-seconds per request."""
    async with calls(under.target, method, CHANNELS) as call:
        await saturate(call, requests, in_flight=in_flight, seconds=min(2.0, seconds))
        before = under.cpu_seconds()
        load = await saturate(call, requests, in_flight=in_flight, seconds=seconds)
        cpu = under.cpu_seconds() - before
    return load, cpu / max(len(load.latencies_s), 1)


async def open_loop(under: Server, rate: float, seconds: float) -> Load:
    async with calls(under.target, RECOMMEND, CHANNELS) as call:
        return await offer(call, recommendations(), rate=rate, seconds=seconds)


def require_answers(*loads: Load) -> None:
    """Raises SystemExit where a request failed: figures would mean nothing."""
    for load in loads:
        if load.failures:
            raise SystemExit(f"requests failed, the figures would mean nothing: {load.failures}")
