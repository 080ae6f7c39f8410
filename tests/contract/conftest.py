from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.engines import Bench, bench
from support.stores import Opener


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The engine of a small random bundle that nobody writes to."""
    return bench(tmp_path_factory.mktemp("bundle") / "random", items=200, users=20)


@pytest.fixture(params=["lmdb", "redis", "redis cluster"])
async def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opener]:
    """Opens the same, at first empty, store; again and again, with settings at will."""
    if request.param == "lmdb":
        url = f"lmdb://{tmp_path / 'state'}"
    elif request.param == "redis":
        url = request.getfixturevalue("redis_empty").url
    else:
        node = request.getfixturevalue("cluster_empty").nodes[0]
        url = node.url.replace("redis://", "redis+cluster://")
    # what is promised here does not hang on the speed of the machine
    opener = Opener(url=url, timeout_s=30.0, write_timeout_s=30.0)
    yield opener
    await opener.close()
