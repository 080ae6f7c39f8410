from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support import s3 as storage
from support.engines import AS_OF
from tamis_pipeline.bundle import write_bundle
from tamis_pipeline.synthetic import random_parts
from tamis_server.bundles.s3 import S3Bundles


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of 300 random items that nobody writes to."""
    directory = tmp_path_factory.mktemp("bundle") / "random"
    write_bundle(random_parts(items=300, users=30, as_of=AS_OF), directory)
    return directory


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """Of an S3 for the run: take ``s3``."""
    with storage.s3_server() as url:
        yield url


@pytest.fixture
def s3(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Bundles]:
    """A place for published bundles, with none yet."""
    with storage.bucket(endpoint, monkeypatch):
        yield S3Bundles(storage.URL)
