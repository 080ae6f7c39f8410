"""How channels to a server are made, and which calls may be sent again."""

from __future__ import annotations

import json
from collections.abc import Mapping

import grpc

from tamis.v1.admin_service_pb2_grpc import AdminServiceStub
from tamis.v1.catalog_service_pb2 import Availability
from tamis.v1.catalog_service_pb2_grpc import CatalogServiceStub
from tamis.v1.event_service_pb2_grpc import EventServiceStub
from tamis.v1.recommend_service_pb2_grpc import RecommendServiceStub

# Reading may be repeated. So may events, whose ids make a repeated one count once, and changes of
# the catalogue, which say how things are to be. Not so streams: what was new would be counted as
# repeated.
_SERVICE_CONFIG = json.dumps(
    {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 5,
                    "initialBackoff": "0.02s",
                    "maxBackoff": "0.5s",
                    "backoffMultiplier": 2,
                    # CANCELLED, not by us: of a server that went before it looked at the call
                    "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
                },
            },
            {
                "name": [
                    {"service": "tamis.v1.EventService", "method": "StreamEvents"},
                    {"service": "tamis.v1.CatalogService", "method": "StreamAvailability"},
                ]
            },
        ],
    }
)

OPTIONS: tuple[tuple[str, str | int], ...] = (
    ("grpc.service_config", _SERVICE_CONFIG),
    # a connection sticks to the worker that accepted it: each channel gets one of its own
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),  # another worker is there at once
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
)


class Stubs:
    """The services over one channel."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        self.recommend = RecommendServiceStub(channel)
        self.events = EventServiceStub(channel)
        self.catalog = CatalogServiceStub(channel)
        self.admin = AdminServiceStub(channel)


class AsyncStubs:
    """The same over an asyncio channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.recommend = RecommendServiceStub(channel)
        self.events = EventServiceStub(channel)
        self.catalog = CatalogServiceStub(channel)
        self.admin = AdminServiceStub(channel)


def changes_of(available: Mapping[str, bool]) -> list[Availability]:
    return [Availability(item_id=item_id, available=flag) for item_id, flag in available.items()]
