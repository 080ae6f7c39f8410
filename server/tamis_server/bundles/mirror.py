"""Where the bundle to be served lies on disk: a directory, or what was fetched from S3 last."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Protocol

from tamis_server.bundles.s3 import S3Bundles
from tamis_server.domain.errors import BundleRejected


class Origin(Protocol):
    """Says where the bundle is that should be served now; blocking, so on a thread."""

    def locate(self) -> Path: ...


class Directory:
    """One directory, whose content is replaced; or a link, which is followed once a look, so that
    what it names does not change while it is loaded."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def locate(self) -> Path:
        return self._path.resolve()


class Mirror:
    """Published bundles in S3, and a directory of those fetched: the current one, and the one
    before, which is still mapped while a swap happens."""

    def __init__(self, url: str, cache: Path) -> None:
        """Raises BundleRejected."""
        self._store = S3Bundles(url)
        self._cache = cache
        self._kept: tuple[str, ...] = ()

    def locate(self) -> Path:
        """Raises BundleRejected and DependencyFailed; then what was fetched before stays."""
        bundle_id = self._store.current()
        if bundle_id is None:
            raise BundleRejected(self._store.url, "no bundle has been published there")
        directory = self._store.fetch(bundle_id, self._cache)
        if bundle_id not in self._kept:
            self._kept = (*self._kept, bundle_id)[-2:]
            self._forget()
        return directory

    def _forget(self) -> None:
        for path in self._cache.iterdir():
            if not path.name.startswith(".") and path.name not in self._kept:
                shutil.rmtree(path, ignore_errors=True)
