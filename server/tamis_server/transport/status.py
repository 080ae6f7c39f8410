"""One table from our errors to gRPC's, with details a client can read.

A status travels in HTTP/2 trailers, which peers refuse beyond 8 KB: what is said is cut to fit.
"""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from tamis_server.domain.errors import (
    DeadlineExceeded,
    DependencyFailed,
    FieldViolation,
    InvalidRequest,
    NotFound,
    NotOffered,
    Overloaded,
    TamisError,
)

_CODES: dict[type[TamisError], int] = {
    InvalidRequest: code_pb2.INVALID_ARGUMENT,
    NotFound: code_pb2.NOT_FOUND,
    NotOffered: code_pb2.FAILED_PRECONDITION,
    DeadlineExceeded: code_pb2.DEADLINE_EXCEEDED,
    Overloaded: code_pb2.RESOURCE_EXHAUSTED,
    DependencyFailed: code_pb2.UNAVAILABLE,
}
# in bytes of UTF-8; on the wire the message triples at worst, the details grow by a third
_MAX_MESSAGE = 512
_MAX_VIOLATIONS = 2_560


def status_of(error: Exception, request_id: str) -> status_pb2.Status:
    """The google.rpc.Status a caller gets. Our own fault says no more than its request id."""
    code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), None)
    if code is None:
        message = f"internal error; the server's log has it under request {request_id}"
        return status_pb2.Status(code=code_pb2.INTERNAL, message=message)
    status = status_pb2.Status(code=code, message=_cut(str(error), _MAX_MESSAGE))
    if isinstance(error, InvalidRequest):
        bad = _bad_request(error.violations)
        if omitted := len(error.violations) - len(bad.field_violations):
            status.message += f" (and {omitted} more)"
        _attach(status, bad)
    if isinstance(error, Overloaded):
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(error.retry_after_s * 1e9))
        _attach(status, error_details_pb2.RetryInfo(retry_delay=delay))
    _attach(status, error_details_pb2.RequestInfo(request_id=request_id))
    return status


def _bad_request(violations: Iterable[FieldViolation]) -> error_details_pb2.BadRequest:
    """The first violations, as many as there is room for."""
    bad = error_details_pb2.BadRequest()
    for violation in violations:
        said = error_details_pb2.BadRequest.FieldViolation(
            field=violation.field, description=_cut(violation.description, _MAX_MESSAGE)
        )
        if bad.ByteSize() + said.ByteSize() > _MAX_VIOLATIONS:
            break
        bad.field_violations.append(said)
    return bad


def _cut(text: str, most: int) -> str:
    encoded = text.encode()
    if len(encoded) <= most:
        return text
    return encoded[:most].decode(errors="ignore") + "…"


def _attach(
    status: status_pb2.Status,
    detail: error_details_pb2.BadRequest
    | error_details_pb2.RetryInfo
    | error_details_pb2.RequestInfo,
) -> None:
    packed = any_pb2.Any()
    packed.Pack(detail)
    status.details.append(packed)
