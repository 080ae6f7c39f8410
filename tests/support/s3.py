"""An S3 for tests: moto's server, which speaks its protocol over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import boto3
import pytest
from moto.server import ThreadedMotoServer

BUCKET, PREFIX = "models", "shop/live"
URL = f"s3://{BUCKET}/{PREFIX}"


@contextmanager
def s3_server() -> Iterator[str]:
    """Its endpoint."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@contextmanager
def bucket(endpoint: str, environment: pytest.MonkeyPatch) -> Iterator[None]:
    """BUCKET, for this process and those that it starts; gone afterwards."""
    for name, value in (
        ("AWS_ENDPOINT_URL_S3", endpoint),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_MAX_ATTEMPTS", "1"),
    ):
        environment.setenv(name, value)
    made = boto3.resource("s3").Bucket(BUCKET)
    made.create()
    yield
    made.objects.all().delete()
    made.delete()
