"""``python -m baselines.naive --bundle DIR [--redis URL]``: the naive funnel behind grpc.aio.

Answers Recommend as Tamis does (the same request, the same response), on a free port.
"""

from __future__ import annotations

import argparse
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import grpc
import uvloop

from baselines.funnel import Funnel
from baselines.users import InMemory, InRedis, Users
from tamis.v1 import recommend_service_pb2 as pb
from tamis.v1 import recommend_service_pb2_grpc as stubs


class Naive(stubs.RecommendServiceServicer):
    """One request after another on the event loop: handing them to threads (``asyncio.to_thread``)
    took more CPU and answered no more of them (docs/performance.md)."""

    def __init__(self, funnel: Funnel, users: Users) -> None:
        self._funnel = funnel
        self._users = users

    async def Recommend(  # noqa: N802 the proto's name
        self, request: pb.RecommendRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.RecommendResponse:
        now = request.context.time.seconds if request.context.HasField("time") else time.time()
        events = await self._users.events(request.user_id)
        return pb.RecommendResponse(
            items=self._funnel.recommend(request, events, now),
            request_id=uuid.uuid4().hex,
            bundle_id=self._funnel.bundle_id,
            degradation=pb.Degradation(level=pb.DEGRADATION_LEVEL_FULL),
        )


async def serve(bundle: Path, redis_url: str) -> None:
    users: Users
    if redis_url:
        users = InRedis(redis_url)
        await users.fill(bundle)
    else:
        users = InMemory(bundle)
    server = grpc.aio.server()
    naive = Naive(Funnel(bundle), users)  # type: ignore[abstract] # one of four
    stubs.add_RecommendServiceServicer_to_server(naive, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f'{{"message": "serving", "port": {port}}}', file=sys.stderr, flush=True)
    await server.wait_for_termination()


def main() -> None:
    parser = argparse.ArgumentParser(prog="baselines.naive", description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--redis", default="", help="URL of an empty Redis; default: a dict")
    options = parser.parse_args()
    uvloop.run(serve(options.bundle, options.redis))


if __name__ == "__main__":
    main()
