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
    """A call that got no answer; the subclasses are what a caller may act upon.

    code: the gRPC status; violations: fields at fault; request_id: the request in the server's
    log, "" where no server answered; retry_after_s: None unless the server is overloaded.
    """

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


class InvalidRequest(RequestFailed):
    """The request breaks the contract: see ``violations``. Sent again it fails again."""


class NotFound(RequestFailed):
    """The request names an item that the catalogue does not know."""


class NotOffered(RequestFailed):
    """What the server can't do with the bundle it serves: search where there is no content."""


class DeadlineExceeded(RequestFailed):
    """No answer within the time given."""


class Overloaded(RequestFailed):
    """Refused early; worth another try after ``retry_after_s``."""


class Unavailable(RequestFailed):
    """No server, or one without a dependency it needs, after the retries."""


_KINDS: dict[grpc.StatusCode, type[RequestFailed]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.FAILED_PRECONDITION: NotOffered,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
}


def decode(error: grpc.RpcError | grpc.aio.AioRpcError) -> RequestFailed:
    """What the details of an RPC error (google.rpc.Status) say."""
    status, request_id = status_pb2.Status(), ""
    metadata: Any = error.trailing_metadata()  # grpc's stubs miss that it is a sequence of pairs
    for key, value in metadata or ():
        if key == "grpc-status-details-bin":
            status.ParseFromString(value)
        elif key == "x-request-id":
            request_id = value
    bad = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    retry_after_s = None
    for detail in status.details:
        detail.Unpack(bad)
        if detail.Unpack(retry):
            retry_after_s = retry.retry_delay.ToNanoseconds() / 1e9
    violations = tuple(Violation(each.field, each.description) for each in bad.field_violations)
    kind = _KINDS.get(error.code(), RequestFailed)
    if kind is Overloaded and retry_after_s is None:
        kind = RequestFailed  # gRPC's own: a message too large
    return kind(error.code(), error.details() or "", violations, request_id, retry_after_s)
