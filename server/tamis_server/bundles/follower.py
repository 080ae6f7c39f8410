"""Keeps a copy of the published bundle on disk, for what reads bundles beside a server: Triton."""

from __future__ import annotations

import logging
import os
from functools import partial
from pathlib import Path

from tamis_server.bundles.directory import point
from tamis_server.bundles.manifest import MODELS, read_manifest
from tamis_server.bundles.mirror import Origin
from tamis_server.bundles.succession import Succession
from tamis_server.domain.tasks import on_thread

log = logging.getLogger(__name__)


class Follower:
    """``DIRECTORY/current`` is a link to the bundle that an origin has. It moves at once, and the
    origin keeps the bundle before, so that who reads there finds one bundle or the other."""

    def __init__(self, origin: Origin, directory: Path) -> None:
        self._link = directory / "current"
        self._succession = Succession(origin, on_thread, self._move, lambda _: None)

    async def follow(self, interval_s: float) -> None:
        """Look every so many seconds, for ever. What can't be had later is logged, and tried again.

        Raises BundleRejected and DependencyFailed where there is none to begin with.
        """
        await self._succession.begin(self._move)
        await self._succession.follow(interval_s)

    async def _move(self, bundle: Path) -> None:
        await on_thread(partial(_freshen, bundle / MODELS))
        point(self._link, bundle)
        log.info("%s leads to bundle %s", self._link, read_manifest(bundle).bundle_id)


def _freshen(models: Path) -> None:
    """Triton, where it polls, loads what is newer than what it has: also what was there before."""
    for path in models.rglob("*"):
        os.utime(path)
