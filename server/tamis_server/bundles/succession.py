"""Has the bundle served that should be, now and whenever it is another one."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tamis_server.bundles.manifest import read_manifest
from tamis_server.bundles.mirror import Origin
from tamis_server.domain.errors import DependencyFailed, TamisError

log = logging.getLogger(__name__)
T = TypeVar("T")
TRIED_AGAIN_S = 300.0  # a bundle that was being copied, or was unlucky, may be whole by then


class Succession:
    """Looks what bundle an origin has, and has it served if it is another one.

    One that was refused is tried again after a while, or when somebody asks. Whatever keeps a
    bundle from being served, the one before is served on, and ``reject`` is told the reason.
    """

    def __init__(
        self,
        origin: Origin,
        apart: Callable[[Callable[[], Any]], Awaitable[Any]],
        activate: Callable[[Path], Awaitable[object]],
        reject: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """apart: does what blocks on a thread; activate: has the bundle in a directory served."""
        self._origin = origin
        self._apart = apart
        self._activate = activate
        self._reject = reject
        self._clock = clock
        self._served = self._refused = self._reason = ""
        self._due_at = 0.0
        self._changing = asyncio.Lock()
        self._asked = asyncio.Event()

    async def begin(self, start: Callable[[Path], Awaitable[T]]) -> T:
        """Have ``start`` serve what there is. Raises what it raises, and DependencyFailed."""
        async with self._changing:
            return await self._begin(await self._apart(self._origin.locate), start)

    async def follow(self, interval_s: float | None) -> None:
        """Look every so many seconds, and when somebody asks; for ever."""
        while True:
            try:
                async with asyncio.timeout(interval_s):
                    await self._asked.wait()
            except TimeoutError:
                await self.look()
            else:
                self._asked.clear()
                await self.look(asked=True)

    def ask(self) -> None:
        """Have ``follow`` look now."""
        self._asked.set()

    async def look(self, *, asked: bool = False) -> None:
        """Have another bundle served, if there is one."""
        async with self._changing:
            try:
                directory = await self._apart(self._origin.locate)
                bundle_id = read_manifest(directory).bundle_id
                if bundle_id == self._served:
                    if asked:
                        log.info("bundle %s is served already", bundle_id)
                elif asked or bundle_id != self._refused or self._clock() >= self._due_at:
                    await self._try(directory, bundle_id)
            except TamisError as error:
                self._tell(str(error))
            except Exception as error:  # or nobody would look any more
                log.exception("the next bundle can't be looked for, keeping the one that is served")
                self._tell(f"{type(error).__name__}: {error}")

    async def _try(self, directory: Path, bundle_id: str) -> None:
        try:
            await self._begin(directory, self._activate)
        except DependencyFailed:
            raise
        except Exception:
            self._refused, self._due_at = bundle_id, self._clock() + TRIED_AGAIN_S
            self._reason = ""  # said each time
            raise
        log.info("serving bundle %s", bundle_id)

    async def _begin(self, directory: Path, start: Callable[[Path], Awaitable[T]]) -> T:
        bundle_id = read_manifest(directory).bundle_id
        started = await start(directory)
        self._served, self._refused, self._reason = bundle_id, "", ""
        await self._apart(partial(self._origin.serves, directory))
        return started

    def _tell(self, reason: str) -> None:
        if reason != self._reason:
            log.error("the next bundle can't be served, keeping the one that is: %s", reason)
        self._reason = reason
        self._reject(reason)
