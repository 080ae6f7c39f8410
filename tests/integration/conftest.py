from __future__ import annotations

from pathlib import Path

import pytest

from support.engines import AS_OF
from tamis_pipeline.bundle import write_bundle
from tamis_pipeline.synthetic import random_parts


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of 300 random items that nobody writes to."""
    directory = tmp_path_factory.mktemp("bundle") / "random"
    write_bundle(random_parts(items=300, users=30, as_of=AS_OF), directory)
    return directory
