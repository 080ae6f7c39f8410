"""The synthetic bundles that the load tests measure on, each made once."""

from __future__ import annotations

import sys
from pathlib import Path

from tamis_pipeline.bundle import write_bundle
from tamis_pipeline.synthetic import random_parts
from tamis_server.bundles.manifest import IndexSpec

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "bench"
DIMS, USERS = 64, 20_000


def bundle(items: int) -> Path:
    """A bundle of ``items`` items, clustered, with an index as the pipeline builds it."""
    directory = CACHE / f"items-{items}"
    if not (directory / "manifest.json").is_file():
        print(f"making a bundle of {items} items …", file=sys.stderr)
        index = IndexSpec(m=16, ef_construction=200, ef_search=200)
        write_bundle(random_parts(items=items, users=USERS, dim=DIMS, index=index), directory)
    return directory
