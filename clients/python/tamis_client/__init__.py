"""A thin client: several channels, deadlines, retries where they are safe, errors one can read."""

from tamis_client.aio import AsyncTamisClient
from tamis_client.client import TamisClient
from tamis_client.errors import (
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    NotOffered,
    Overloaded,
    RequestFailed,
    Unavailable,
    Violation,
)

__all__ = [
    "AsyncTamisClient",
    "DeadlineExceeded",
    "InvalidRequest",
    "NotFound",
    "NotOffered",
    "Overloaded",
    "RequestFailed",
    "TamisClient",
    "Unavailable",
    "Violation",
]
