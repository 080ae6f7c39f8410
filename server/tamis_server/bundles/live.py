"""Follows the changes of the catalogue and keeps the engine being served up to date with them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tamis_server.domain.candidates import Keys, Mask
from tamis_server.domain.changes import (
    Availability,
    Change,
    Deletion,
    Upsert,
    decode,
    encode,
    ended,
    facet,
    stamp,
)
from tamis_server.domain.errors import ContractViolation, DependencyFailed
from tamis_server.domain.ports import CatalogueStore
from tamis_server.domain.tasks import begin, end

log = logging.getLogger(__name__)
_RETRY_S = 0.5
_SEEN_S = 2.0
_KEPT_S = 86_400.0  # an upsert that the bundle has is kept so long: the bundle may be rolled back


class Applied(Protocol):
    """What changes are made to."""

    def apply(self, changes: Sequence[Change]) -> None: ...

    def known(self, keys: Keys) -> Mask:
        """Of which of the items the bundle knows without any change."""


@dataclass(frozen=True, slots=True)
class LiveStatus:
    """age_s: since the store was last heard of; None: never."""

    upserts: int
    deletions: int
    availabilities: int
    age_s: float | None


class LiveCatalogue:
    """What is known of changes in this process.

    A publisher waits until its own process has made the change, so that it reads its writes; other
    processes follow. When the store can't be reached the last that was known stays in effect.
    """

    def __init__(self, store: CatalogueStore) -> None:
        self._store = store
        self._last: dict[bytes, Change] = {}  # by facet
        self._position = 0
        self._moved = asyncio.Condition()
        self._serving: Applied | None = None
        self._meanwhile: list[Change] | None = None
        self._heard: float | None = None
        self._follower: asyncio.Task[None] | None = None
        self._forgetting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Learn what there is, as far as the store answers, and follow it from then on."""
        try:
            await self._reload()
        except DependencyFailed as error:
            log.error("changes of the catalogue are not known yet: %s", error)
        self._follower = begin(self._follow(), "following the catalogue")

    async def stop(self) -> None:
        await end(self._follower)

    async def publish(self, changes: Sequence[Change]) -> None:
        """Store the changes and return when they are in effect here. Raises DependencyFailed."""
        position = await self._store.publish([encode(change) for change in changes])
        try:
            async with asyncio.timeout(_SEEN_S), self._moved:
                await self._moved.wait_for(lambda: self._position >= position)
        except TimeoutError:
            log.warning("changes are stored, but not heard of within %g s", _SEEN_S)

    @contextmanager
    def building(self) -> Iterator[list[Change]]:
        """What a new engine starts from; what comes while it is built is made up at ``adopt``."""
        self._meanwhile = []
        try:
            yield list(self._last.values())
        except BaseException:
            self._meanwhile = None
            raise

    def adopt(self, engine: Applied, as_of: float) -> None:
        """Keep this engine up to date from now on; its data is as of this Unix time."""
        if self._meanwhile:
            engine.apply(self._meanwhile)
        self._meanwhile = None
        self._serving = engine
        old = [
            change
            for change in self._last.values()
            if isinstance(change, Upsert) and change.time < as_of - _KEPT_S
        ]
        known = engine.known(np.array([upsert.key for upsert in old], np.uint64)).tolist()
        settled = [
            stamp(upsert)
            for upsert, is_known in zip(old, known, strict=True)
            if is_known  # the bundle may be of a table that is older than its events
        ]
        if settled:
            self._forgetting = asyncio.get_running_loop().create_task(self._forget(settled))

    @property
    def status(self) -> LiveStatus:
        kinds = [type(change) for change in self._last.values()]
        return LiveStatus(
            upserts=kinds.count(Upsert),
            deletions=kinds.count(Deletion),
            availabilities=kinds.count(Availability),
            age_s=self.age_s,
        )

    @property
    def age_s(self) -> float | None:
        """Since the store was last heard of; None: never."""
        return None if self._heard is None else time.monotonic() - self._heard

    async def _follow(self) -> None:
        while True:
            try:
                found = await self._store.since(self._position)
                if found is None:
                    log.warning("too far behind the changes of the catalogue: reading all again")
                    await self._reload()
                else:
                    await self._advance(*found)
            except DependencyFailed as error:
                log.warning("changes of the catalogue can't be followed: %s", error)
                await asyncio.sleep(_RETRY_S)
            except Exception:  # a fault of our own: who follows no more would serve what is over
                log.exception("changes of the catalogue can't be followed")
                await asyncio.sleep(_RETRY_S)

    async def _reload(self) -> None:
        position, stored = await self._store.snapshot()
        changes = _decoded(stored)
        # an upsert first: it would end what is said of availability after it
        changes.sort(key=lambda change: isinstance(change, Availability))
        before, self._last = self._last, {}
        self._apply(changes)
        if position < self._position:
            lost = [change for name, change in before.items() if name not in self._last]
            log.warning("the store lost changes of the catalogue: giving back %d", len(lost))
            self._apply(lost)  # first: a store that fails now is given them the next time
            await self._store.publish([encode(change) for change in lost])
        await self._advance(position, [])

    async def _advance(self, position: int, stored: Sequence[bytes]) -> None:
        self._heard = time.monotonic()
        if stored:
            self._apply(_decoded(stored))
        if position != self._position:
            async with self._moved:
                self._position = position
                self._moved.notify_all()

    def _apply(self, changes: Sequence[Change]) -> None:
        for change in changes:
            head = stamp(change)
            self._last[facet(head)] = change
            if (over := ended(head)) is not None:
                self._last.pop(over, None)
        if self._meanwhile is not None:
            self._meanwhile += changes
        if self._serving is not None:
            self._serving.apply(changes)

    async def _forget(self, stamps: Sequence[bytes]) -> None:
        try:
            await self._store.forget(stamps)
        except DependencyFailed as error:
            log.warning("old changes of the catalogue are kept: %s", error)
        else:
            for each in stamps:
                last = self._last.get(facet(each))
                if last is not None and stamp(last) == each:
                    del self._last[facet(each)]


def _decoded(stored: Sequence[bytes]) -> list[Change]:
    """The changes; one that is damaged must not keep the others from being made."""
    changes = []
    for each in stored:
        try:
            changes.append(decode(each))
        except ContractViolation as error:
            log.error("%s", error)
    return changes
