"""Where the bundle to be served lies on disk: a directory, or what was fetched from S3 last."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections import deque
from pathlib import Path
from typing import Protocol

from tamis_server.bundles.directory import sweep
from tamis_server.bundles.s3 import CURRENT, S3Bundles, named
from tamis_server.domain.errors import BundleRejected, DependencyFailed

log = logging.getLogger(__name__)


class Origin(Protocol):
    """Says where the bundle is that should be served now; blocking, so on a thread."""

    def locate(self) -> Path:
        """Raises BundleRejected and DependencyFailed."""

    def serves(self, directory: Path) -> None:
        """What was located there is served now."""


class Directory:
    """One directory, whose content is replaced; or a link, which is followed once a look, so that
    what it names does not change while it is loaded."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def locate(self) -> Path:
        return self._path.resolve()

    def serves(self, directory: Path) -> None:
        pass


class Mirror:
    """Published bundles in S3, and a directory with those fetched: the one being served, the one
    served before, and what may come next. ``current.json`` there names the first, for a start while
    S3 can't be reached."""

    def __init__(self, url: str, cache: Path) -> None:
        """Raises BundleRejected."""
        self._store = S3Bundles(url)
        self._cache = cache
        self._served: deque[str] = deque(maxlen=2)

    def locate(self) -> Path:
        """What should be served. Before anything is, what was served last where S3 can't be asked;
        later that is a DependencyFailed, as is a full disk. Raises BundleRejected."""
        try:
            bundle_id = self._store.current()
            if bundle_id is None:
                raise BundleRejected(self._store.url, "no bundle has been published there")
            directory = self._store.fetch(bundle_id, self._cache)
        except DependencyFailed as error:
            last = None if self._served else self._last()
            if last is None:
                raise
            log.error("%s; beginning with the bundle that was served last, %s", error, last.name)
            return last
        self._forget({*self._served, bundle_id})
        return directory

    def serves(self, directory: Path) -> None:
        bundle_id = directory.name
        if bundle_id in self._served:
            self._served.remove(bundle_id)
        self._served.append(bundle_id)
        temporary = self._cache / f".{CURRENT}.{os.getpid()}.partial"
        try:
            temporary.write_text(json.dumps({"bundle_id": bundle_id}))
            temporary.replace(self._cache / CURRENT)
        except OSError as error:
            log.error("a start without S3 will begin with another bundle or none: %s", error)
        self._forget({*self._served})

    def _last(self) -> Path | None:
        try:
            pointer = self._cache / CURRENT
            directory = self._cache / named(pointer.read_bytes(), str(pointer))
        except (OSError, BundleRejected):
            return None
        return directory if directory.is_dir() else None

    def _forget(self, kept: set[str]) -> None:
        sweep(self._cache)
        for path in self._cache.iterdir():
            if path.is_dir() and not path.name.startswith(".") and path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)
