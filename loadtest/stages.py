"""Where a request's time goes in the server's own process: stages, and the handler without gRPC.

Usage: python loadtest/stages.py [--items 100000] [--graph] [--precision f32] [--requests 1500]. One
request after another of as many users, with the predicate of ``make bench``; median us of each
stage as its trace tells, of the handler with parsing and serialising, and CPU us a request.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections import defaultdict
from time import perf_counter, process_time

import uvloop
from asking import recommendations
from bundles import bundle, lists

import tamis_kernels
from tamis.v1 import recommend_service_pb2 as pb
from tamis_server.bundles.memory import keep
from tamis_server.domain.context import Deadline
from tamis_server.domain.slate import Slate, StageTrace
from tamis_server.engines import build_engine
from tamis_server.funnel.engine import Engine
from tamis_server.settings import Settings
from tamis_server.stores import open_stores
from tamis_server.tables import Tables
from tamis_server.transport.servicers import recommend

WARM_UP = 300


class Stages:
    """Seconds of each stage. Implements StageObserver."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)

    def observe(self, trace: StageTrace) -> None:
        self.seconds[trace.stage].append(trace.seconds)

    def answered(self, slate: Slate) -> None:
        pass


async def _answer(engine: Engine, request: bytes) -> float:
    start = perf_counter()
    asked, response = pb.RecommendRequest.FromString(request), pb.RecommendResponse()
    await recommend(engine, asked, "stages", Deadline.after(30), response)
    response.SerializeToString()
    return perf_counter() - start


async def measured(settings: Settings, count: int) -> tuple[Stages, list[float], float]:
    """Stages, seconds of each request, and CPU-seconds a request."""
    stages = Stages()
    stores = open_stores(settings.state)
    assert settings.bundle.path is not None
    engine = build_engine(
        Tables.load(settings.bundle.path, settings), stores.users, settings, stages
    )
    keep()
    requests = recommendations()
    for request in requests[:WARM_UP]:
        await _answer(engine, request)
    stages.seconds.clear()
    cpu = process_time()
    times = [await _answer(engine, each) for each in requests[WARM_UP : WARM_UP + count]]
    cpu = process_time() - cpu
    await stores.close()
    return stages, times, cpu / len(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--graph", action="store_true", help="instead of inverted lists")
    parser.add_argument("--precision", default="f32")
    parser.add_argument("--requests", type=int, default=1500)
    options = parser.parse_args()
    directory = bundle(options.items) if options.graph else lists(options.items)
    with tempfile.TemporaryDirectory() as state:
        settings = Settings.model_validate(
            {
                "bundle": {"path": directory},
                "state": {"url": f"lmdb://{state}"},
                "ranking": {"precision": options.precision},
            }
        )
        stages, times, cpu = uvloop.run(measured(settings, options.requests))
    kind = "graph" if options.graph else "lists"
    print(f"{options.items} items, {kind}, {options.precision}, {tamis_kernels.level()}; median us")
    for stage, seconds in stages.seconds.items():
        print(f"{stage:<16} {statistics.median(seconds) * 1e6:8.0f}")
    print(f"{'handler':<16} {statistics.median(times) * 1e6:8.0f}")
    print(f"{'CPU, mean':<16} {cpu * 1e6:8.0f}")


if __name__ == "__main__":
    main()
