"""How connections of a load test are made: as the client's, but a failed call stays failed.

The client sends again what a server refused or dropped, and so hides what a load test is to count.
What gRPC itself sends again stays: calls that never left, or that a server that goes (GOAWAY) says
it has not looked at. Every gRPC client does that, and no server has failed them.
"""

from __future__ import annotations

import json

from tamis_client.channels import OPTIONS as _CLIENTS

_SERVICE_CONFIG = "grpc.service_config"


def _without_retries(config: str) -> str:
    return json.dumps({key: of for key, of in json.loads(config).items() if key != "methodConfig"})


OPTIONS: tuple[tuple[str, str | int], ...] = tuple(
    (name, _without_retries(str(value)) if name == _SERVICE_CONFIG else value)
    for name, value in _CLIENTS
)
