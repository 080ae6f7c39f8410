"""A failed call, with what the server said of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2


@dataclass(frozen=True, slots=True)
class Violation:
    """One field of the request that is wrong, and what is allowed."""

    field: str
    description: str


class RequestFailed(Exception):
    """code: the gRPC status; violations: fields at fault; retry_after_s: None unless overloaded."""

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        violations: tuple[Violation, ...] = (),
        request_id: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        self.code = code
        self.message = message
        self.violations = violations
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        super().__init__(f"{code.name}: {message}")


def decode(error: grpc.RpcError | grpc.aio.AioRpcError) -> RequestFailed:
    """What the details of an RPC error (google.rpc.Status) say."""
    status = status_pb2.Status()
    metadata: Any = error.trailing_metadata()  # grpc's stubs miss that it is a sequence of pairs
    for key, value in metadata or ():
        if key == "grpc-status-details-bin":
            status.ParseFromString(value)
    bad = error_details_pb2.BadRequest()
    info = error_details_pb2.RequestInfo()
    retry = error_details_pb2.RetryInfo()
    retry_after_s = None
    for detail in status.details:
        detail.Unpack(bad)
        detail.Unpack(info)
        if detail.Unpack(retry):
            retry_after_s = retry.retry_delay.ToNanoseconds() / 1e9
    violations = tuple(Violation(each.field, each.description) for each in bad.field_violations)
    return RequestFailed(
        error.code(), error.details() or "", violations, info.request_id, retry_after_s
    )
