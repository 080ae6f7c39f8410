"""Bundles that are changed on disk."""

from __future__ import annotations

import json
from pathlib import Path

from tamis_server.bundles import manifest as fmt


def reseal(directory: Path, **changes: object) -> None:
    """Bring the manifest's file table up to date with what is there now."""
    manifest = json.loads((directory / fmt.MANIFEST).read_text())
    files = {
        name: fmt.FileEntry(
            sha256=fmt.digest(directory / name), bytes=(directory / name).stat().st_size
        )
        for name in manifest["files"]
        if (directory / name).exists()
    }
    manifest["files"] = {name: entry.model_dump() for name, entry in files.items()}
    manifest["bundle_id"] = fmt.bundle_id(manifest["name"], files)
    manifest.update(changes)
    (directory / fmt.MANIFEST).write_text(json.dumps(manifest))
