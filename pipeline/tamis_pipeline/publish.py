"""Puts a bundle where servers look for it: content first, then the pointer that makes it served."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from tamis_pipeline.gates import NotPromoted, Verdict, judge, measured_beside
from tamis_pipeline.integrity import require_whole
from tamis_server.bundles import manifest as fmt
from tamis_server.bundles.directory import point, replacing
from tamis_server.bundles.s3 import S3Bundles


class Store(Protocol):
    """Published bundles, and which of them is served."""

    def current(self) -> str | None: ...
    def read(self, bundle_id: str, name: str) -> bytes | None: ...
    def put(self, bundle: Path) -> None: ...
    def point(self, bundle_id: str) -> None: ...


class DirectoryBundles:
    """``DIRECTORY/BUNDLE_ID/`` and ``DIRECTORY/current``, a symbolic link that names one: what
    ``tamis serve --bundle DIRECTORY/current`` follows."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._pointer = directory / "current"

    def current(self) -> str | None:
        return self._pointer.readlink().name if self._pointer.is_symlink() else None

    def read(self, bundle_id: str, name: str) -> bytes | None:
        path = self._directory / bundle_id / name
        return path.read_bytes() if path.is_file() else None

    def put(self, bundle: Path) -> None:
        out = self._directory / fmt.read_manifest(bundle).bundle_id
        if out.is_dir():
            return  # it was renamed there whole, and its name says what it holds
        with replacing(out) as temporary:
            shutil.copytree(bundle, temporary, dirs_exist_ok=True)

    def point(self, bundle_id: str) -> None:
        point(self._pointer, self._directory / bundle_id)


def store_of(target: str) -> Store:
    """By the form of ``target``: ``s3://bucket/prefix`` or a directory. Raises BundleRejected."""
    return S3Bundles(target) if "://" in target else DirectoryBundles(Path(target))


def publish(
    bundle: Path, store: Store, margins: Mapping[str, float], force: bool = False
) -> list[Verdict]:
    """Check ``bundle``, put it into ``store`` and make it the one that is served.

    Raises NotPromoted where it is worse than the one served now by more than ``margins`` (see
    ``gates``), unless forced, and BundleRejected where a file is not what its manifest says;
    then what is served stays. Returns the comparison.
    """
    manifest = require_whole(bundle)
    serving = store.current()
    verdicts: list[Verdict] = []
    if serving is not None and serving != manifest.bundle_id:
        new = _report((bundle / fmt.EVALUATION).read_bytes())
        old = measured_beside(new, serving)
        if old is None:
            old = _report(store.read(serving, fmt.EVALUATION))
        verdicts = judge(old, new, margins)
        if not force and not all(each.passed for each in verdicts):
            raise NotPromoted(manifest.bundle_id, serving, verdicts)
    store.put(bundle)
    store.point(manifest.bundle_id)
    return verdicts


def _report(text: bytes | None) -> dict[str, Any]:
    report: dict[str, Any] = {} if text is None else json.loads(text)
    return report
