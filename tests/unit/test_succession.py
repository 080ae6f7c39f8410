"""When another bundle is served, and when the one before is served on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from tamis_pipeline.bundle import write_bundle
from tamis_pipeline.synthetic import random_parts
from tamis_server.bundles.mirror import Directory
from tamis_server.bundles.succession import TRIED_AGAIN_S, Succession
from tamis_server.domain.errors import BundleRejected, DependencyFailed


class Server:
    """Serves what it is told to, or fails as it is told to."""

    def __init__(self, directory: Path) -> None:
        self.now = 0.0
        self.failure: Exception | None = None
        self.tried = 0
        self.reasons: list[str] = []
        self.activated = asyncio.Event()
        self.succession = Succession(
            Directory(directory), asyncio.to_thread, self.activate, self.reasons.append, self.clock
        )

    def clock(self) -> float:
        return self.now

    async def activate(self, directory: Path) -> None:
        self.tried += 1
        if self.failure is not None:
            raise self.failure
        self.activated.set()


@pytest.fixture
def put(tmp_path: Path) -> Callable[[int], None]:
    """Puts another bundle into the directory."""

    def write(seed: int) -> None:
        write_bundle(random_parts(items=40, users=2, seed=seed), tmp_path / "bundle")

    return write


@pytest.fixture
async def server(tmp_path: Path, put: Callable[[int], None]) -> Server:
    """Serves the first bundle."""
    put(0)
    server = Server(tmp_path / "bundle")
    await server.succession.begin(server.activate)
    server.tried = 0
    return server


async def test_only_another_bundle_is_served(server: Server, put: Callable[[int], None]) -> None:
    await server.succession.look()
    await server.succession.look(asked=True)
    assert server.tried == 0
    put(1)
    await server.succession.look()
    await server.succession.look()
    assert server.tried == 1
    assert not server.reasons


@pytest.mark.parametrize("failure", [BundleRejected("vectors.npy", "is short"), ValueError("odd")])
async def test_one_that_was_refused_is_tried_again_after_a_while_or_when_asked_for(
    server: Server,
    put: Callable[[int], None],
    failure: Exception,
    caplog: pytest.LogCaptureFixture,
) -> None:
    put(1)
    server.failure = failure
    await server.succession.look()
    await server.succession.look()
    assert server.tried == 1
    assert len(server.reasons) == 1
    assert str(failure) in server.reasons[0]
    assert [record.levelno for record in caplog.records].count(logging.ERROR) >= 1
    await server.succession.look(asked=True)
    assert server.tried == 2
    server.now += TRIED_AGAIN_S
    server.failure = None
    await server.succession.look()
    await server.succession.look()
    assert server.tried == 3


async def test_one_that_could_not_be_served_at_the_moment_is_tried_at_the_next_look(
    server: Server, put: Callable[[int], None]
) -> None:
    put(1)
    server.failure = DependencyFailed("workers", "none serves")
    await server.succession.look()
    await server.succession.look()
    assert server.tried == 2


async def test_what_keeps_anybody_from_looking_is_said_once_and_looking_goes_on(
    server: Server, put: Callable[[int], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "bundle" / "manifest.json").write_text("no manifest")
    for _ in range(3):
        await server.succession.look()
    assert len(caplog.records) == 1
    assert "manifest.json" in server.reasons[-1]
    put(1)
    await server.succession.look()
    assert server.tried == 1


async def test_who_follows_looks_when_somebody_asks(
    server: Server, put: Callable[[int], None]
) -> None:
    following = asyncio.create_task(server.succession.follow(None))
    put(1)
    server.activated.clear()
    server.succession.ask()
    async with asyncio.timeout(30):
        await server.activated.wait()
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
