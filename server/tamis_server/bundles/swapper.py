"""Swaps what is served: build and warm up beside, then one assignment; the old one on a failure."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from tamis_server.bundles.memory import give_back
from tamis_server.domain.errors import ContractViolation
from tamis_server.funnel.engine import BundleInfo

_LAST_REQUESTS_S = 2.0  # of the bundle before


class Served(Protocol):
    """What is served of a bundle."""

    @property
    def bundle(self) -> BundleInfo: ...


T = TypeVar("T", bound=Served)


class Swapper(Generic[T]):
    """Holds what is served now. ``warm_up`` answers a request or two.

    A request takes ``current`` once, so it keeps the one it began with.
    """

    def __init__(
        self,
        build: Callable[[Path], Awaitable[T]],
        warm_up: Callable[[T], Awaitable[None]],
        adopt: Callable[[T], None],
    ) -> None:
        self._build = build
        self._warm_up = warm_up
        self._adopt = adopt
        self._current: T | None = None
        self._swapping = asyncio.Lock()
        self._tidying: asyncio.Task[None] | None = None
        self.last_rejection = ""  # why the next bundle is not served, by whoever knows
        self.swaps = 0

    @property
    def current(self) -> T:
        if self._current is None:
            raise ContractViolation("no bundle has been loaded yet")
        return self._current

    async def activate(self, directory: Path) -> None:
        """Serve the bundle in ``directory``. Raises BundleRejected and keeps what is served."""
        async with self._swapping:
            candidate = await self._build(directory)
            await self._warm_up(candidate)
            self._adopt(candidate)
            before, self._current = self._current, candidate
            if before is not None:
                self._tidying = asyncio.create_task(_tidy([before]))
            self.last_rejection = ""
            self.swaps += 1


async def _tidy(before: list[T]) -> None:
    """What is served no more goes, and its memory is the system's again: it takes too long to have
    the last request do that."""

    def free() -> None:
        before.clear()
        give_back()

    await asyncio.sleep(_LAST_REQUESTS_S)
    await asyncio.to_thread(free)
