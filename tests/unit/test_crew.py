"""What a supervisor does beside its workers keeps it from nothing."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tamis_server.domain.errors import DependencyFailed
from tamis_server.settings import Settings
from tamis_server.workers.crew import Crew


async def test_the_loop_goes_on_while_a_bundle_is_fetched_and_no_thread_is_left() -> None:
    crew, fetched = Crew(Settings(), "127.0.0.1:0"), threading.Event()
    fetching = asyncio.ensure_future(crew.apart(fetched.wait))
    another = asyncio.ensure_future(crew.apart(threading.current_thread))
    await asyncio.wait([fetching], timeout=0.05)
    assert not fetching.done()
    assert not another.done(), "one at a time"
    fetched.set()
    assert await fetching is True
    assert not (await another).is_alive()


async def test_what_goes_wrong_there_is_raised_here() -> None:
    def unreachable() -> None:
        raise DependencyFailed("s3://bucket", "unreachable")

    with pytest.raises(DependencyFailed, match="unreachable"):
        await Crew(Settings(), "127.0.0.1:0").apart(unreachable)
