"""What takes memory, and what stays there when it is needed no more."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.resources import files
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

LOAD_AND_LEAVE = r"""
import gc, re, sys
from pathlib import Path

from tamis_server.bundles.memory import give_back
from tamis_server.settings import load_settings
from tamis_server.tables import Tables


def taken_kb():
    told = Path("/proc/self/smaps_rollup").read_text()
    return int(re.search(r"^Anonymous:\s+(\d+) kB", told, re.MULTILINE)[1])


before = taken_kb()
tables = Tables.load(Path(sys.argv[1]), load_settings(None, {}), threads=2)
with_tables = taken_kb()
del tables
gc.collect()
give_back()
print(before, with_tables, taken_kb())
"""


def test_what_a_bundle_took_is_the_systems_again_when_the_bundle_is_gone() -> None:
    given = {name: value for name, value in os.environ.items() if not name.startswith("ARROW_")}
    shop = str(files("tamis_pipeline.shop") / "bundle")
    command = [sys.executable, "-c", LOAD_AND_LEAVE, shop]
    done = subprocess.run(command, env=given, check=True, capture_output=True, text=True)
    before, with_tables, after = map(int, done.stdout.split())
    assert with_tables > before
    assert after - before < 12 << 10  # what libraries allot once: 4 MiB; with Arrow's own pool 29


TAKE_AND_LEAVE = r"""
import re, sys, threading
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from tamis_server.bundles.memory import returned_at_once


def taken_mb():
    told = Path("/proc/self/smaps_rollup").read_text()
    return int(re.search(r"^Anonymous:\s+(\d+) kB", told, re.MULTILINE)[1]) / 1024


def take(count, size):
    held = [np.ones(size, np.uint8) for _ in range(count)]
    del held


def take_on_a_thread(*pieces):
    thread = threading.Thread(target=take, args=pieces)
    thread.start()
    thread.join()


take_on_a_thread(1, 30 << 20)  # after which glibc keeps as much
before = taken_mb()
with returned_at_once() if sys.argv[1] == "returned" else nullcontext():
    take_on_a_thread(20, 3 << 20)
print(taken_mb() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
def test_large_pieces_are_the_systems_again_when_they_are_free() -> None:
    def left_mb(how: str) -> float:
        command = [sys.executable, "-c", TAKE_AND_LEAVE, how]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert left_mb("returned") < 5
    assert left_mb("as it comes") > 20, "otherwise nothing would have to be done"


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
