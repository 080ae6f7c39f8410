"""Whether a bundle is what its manifest says."""

from __future__ import annotations

from pathlib import Path

from tamis_server.bundles import manifest as fmt
from tamis_server.domain.errors import BundleRejected


def require_whole(bundle: Path) -> fmt.Manifest:
    """The manifest of ``bundle``, each file of which has been read. Raises BundleRejected."""
    manifest = fmt.read_manifest(bundle)
    for name, entry in manifest.files.items():
        try:
            found = fmt.digest(bundle / name)
        except OSError as error:
            raise BundleRejected(name, error.strerror or str(error)) from None
        if found != entry.sha256:
            raise BundleRejected(name, "is not what the manifest says")
    return manifest
