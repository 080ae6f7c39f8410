"""The floor: a gRPC server that answers every Recommend with one prepared response.

What it costs is what gRPC and asyncio cost; what the funnel costs more is ours.
"""

from __future__ import annotations

import sys
from typing import Any

import grpc
import uvloop

from tamis.v1 import recommend_service_pb2 as pb
from tamis.v1 import recommend_service_pb2_grpc as stubs


class Empty(stubs.RecommendServiceServicer):
    """Builds the same message each time, as a real handler must."""

    async def Recommend(  # noqa: N802 the proto's name
        self, request: pb.RecommendRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.RecommendResponse:
        items = [
            pb.RecommendedItem(
                item_id=f"item-{rank}",
                rank=rank,
                score=0.5,
                sources=[pb.CANDIDATE_SOURCE_PERSONAL],
                reasons=[pb.REASON_CODE_MATCHES_TASTE],
            )
            for rank in range(1, 21)
        ]
        return pb.RecommendResponse(
            items=items,
            request_id="0" * 32,
            bundle_id="random-000000000000",
            degradation=pb.Degradation(level=pb.DEGRADATION_LEVEL_FULL),
        )


async def main() -> None:
    server = grpc.aio.server()
    stubs.add_RecommendServiceServicer_to_server(Empty(), server)  # type: ignore[abstract] # one of four
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f'{{"message": "serving", "port": {port}}}', file=sys.stderr, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(main())
