"""Every RPC of the public contract, as its descriptors say."""

from __future__ import annotations

import re
from dataclasses import dataclass

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from tamis.v1 import (
    admin_service_pb2,
    catalog_service_pb2,
    event_service_pb2,
    recommend_service_pb2,
)

_FILES = (recommend_service_pb2, event_service_pb2, catalog_service_pb2, admin_service_pb2)


@dataclass(frozen=True, slots=True)
class Rpc:
    """One method; ``path`` is what goes over the wire, ``snake`` what its files are called."""

    name: str
    service: str
    proto: str
    client_streaming: bool
    request: type[Message]
    response: type[Message]

    @property
    def path(self) -> str:
        return f"/{self.service}/{self.name}"

    @property
    def snake(self) -> str:
        return re.sub(r"(?<!^)(?=[A-Z])", "_", self.name).lower()


def _of_contract() -> dict[str, Rpc]:
    found = {}
    for file in _FILES:
        for service in file.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                found[method.name] = Rpc(
                    method.name,
                    service.full_name,
                    file.DESCRIPTOR.name,
                    method.client_streaming,
                    GetMessageClass(method.input_type),
                    GetMessageClass(method.output_type),
                )
    return found


RPCS = _of_contract()
