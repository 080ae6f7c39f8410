"""One table from errors to statuses, whose entries fit into HTTP/2 trailers."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2

from tamis_server.domain.errors import (
    BundleRejected,
    ContractViolation,
    DeadlineExceeded,
    DependencyFailed,
    FieldViolation,
    InvalidRequest,
    NotFound,
    NotOffered,
    Overloaded,
)
from tamis_server.transport.status import status_of

MAX_TRAILERS = 8_192  # gRPC peers refuse more, unless told otherwise


def bad_request(status: status_pb2.Status) -> error_details_pb2.BadRequest:
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in status.details)
    return bad


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidRequest([FieldViolation("page_size", "is -1")]), code_pb2.INVALID_ARGUMENT),
        (NotFound("item_ids: 'x'"), code_pb2.NOT_FOUND),
        (NotOffered("search"), code_pb2.FAILED_PRECONDITION),
        (DeadlineExceeded("late"), code_pb2.DEADLINE_EXCEEDED),
        (Overloaded("ranking"), code_pb2.RESOURCE_EXHAUSTED),
        (DependencyFailed("redis", "refused"), code_pb2.UNAVAILABLE),
        (ContractViolation("ragged batch"), code_pb2.INTERNAL),
        (BundleRejected("items.parquet", "truncated"), code_pb2.INTERNAL),
        (ZeroDivisionError("oops"), code_pb2.INTERNAL),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_every_error_has_its_status(error: Exception, code: int) -> None:
    assert status_of(error, "r-1").code == code


class LateNotFound(NotFound):
    pass


def test_a_subclass_has_the_status_of_its_class() -> None:
    assert status_of(LateNotFound("x"), "r-1").code == code_pb2.NOT_FOUND


@pytest.mark.parametrize("error", [ContractViolation("secret"), ZeroDivisionError("secret")])
def test_our_own_fault_says_nothing_but_the_request_id(error: Exception) -> None:
    status = status_of(error, "r-1")
    assert "r-1" in status.message
    assert "secret" not in str(status)


def test_overload_says_when_to_come_back() -> None:
    retry = error_details_pb2.RetryInfo()
    status = status_of(Overloaded("ranking", retry_after_s=0.25), "r-1")
    assert any(detail.Unpack(retry) for detail in status.details)
    assert retry.retry_delay.ToNanoseconds() == 250_000_000


def test_more_violations_than_fit_are_counted() -> None:
    violations = [FieldViolation(f"item_ids[{n}]", "is empty") for n in range(10_000)]
    status = status_of(InvalidRequest(violations), "r-1")
    named = len(bad_request(status).field_violations)
    assert 10 < named < 10_000
    assert status.message.endswith(f"(and {10_000 - named} more)")


@pytest.mark.parametrize("letter", ["x", "é", "漢", "🙂"])
def test_what_is_said_fits_into_trailers(letter: str) -> None:
    violations = [FieldViolation(f"attributes[{n}]", letter * 9_000) for n in range(50)]
    status = status_of(InvalidRequest(violations), "r" * 128)
    in_trailers = len(quote(status.message)) + len(status.SerializeToString()) * 4 / 3
    assert in_trailers < MAX_TRAILERS - 1_024, "the rest is for headers of ours and of proxies"
    first = bad_request(status).field_violations[0].description
    assert first.strip(letter) == "…"
