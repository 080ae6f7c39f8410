"""What takes memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from support.bundles import reseal
from tamis_pipeline.bundle import write_bundle
from tamis_pipeline.synthetic import random_parts
from tamis_server.bundles import manifest as fmt
from tamis_server.settings import load_settings
from tamis_server.tables import Tables


@pytest.mark.parametrize("at_once", [100, 2000], ids=["many row groups", "one row group"])
def test_a_few_items_are_looked_up_without_a_copy_of_all(at_once: int, tmp_path: Path) -> None:
    write_bundle(random_parts(items=2000), tmp_path)
    items = pq.read_table(tmp_path / fmt.ITEMS)
    pq.write_table(items, tmp_path / fmt.ITEMS, row_group_size=at_once)
    reseal(tmp_path)
    catalogue = Tables.load(tmp_path, load_settings(None, {})).catalogue
    whole, watched = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    pa.set_memory_pool(watched)
    try:
        catalogue.items(np.array([3, 1500], np.int32))
    finally:
        pa.set_memory_pool(whole)
    assert 0 < watched.max_memory() < items.nbytes / 10
