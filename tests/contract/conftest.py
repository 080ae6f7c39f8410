from __future__ import annotations

import pytest

from support.engines import Bench, bench


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The engine of a small random bundle that nobody writes to."""
    return bench(tmp_path_factory.mktemp("bundle") / "random", items=200, users=20)
