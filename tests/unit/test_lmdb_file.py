"""An LMDB file is refused where pages in use are missing, and only there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb
import numpy as np
import pytest

from tamis_server.adapters.embedded.lmdb_file import check
from tamis_server.domain.errors import StateRejected

PAGE = 4096
SIZES = (100, 3000, 9000, 30_000, 60_000)

READ_ALL = """
import lmdb, sys
with lmdb.open(sys.argv[1], map_size=1 << 30) as environment, environment.begin() as transaction:
    print(sum(len(key) + len(value) for key, value in transaction.cursor()))
"""

WRITE = """
import lmdb, random, sys
with lmdb.open(sys.argv[1], map_size=1 << 30, sync=False) as environment:
    print("writing", flush=True)
    while True:
        with environment.begin(write=True) as transaction:
            for _ in range(4):
                key = b"%d" % random.randrange(50)
                transaction.put(key, bytes(random.choice((100, 3000, 9000, 60_000))))
                if random.random() < 0.3:
                    transaction.delete(key)
"""


def used(directory: Path, seed: int, commits: int) -> Iterator[int]:
    """Keys are put, put again and deleted; after each commit, how many pages the file lacks of
    those that LMDB counts."""
    rng = np.random.default_rng(seed)
    with lmdb.open(str(directory), map_size=1 << 30, sync=False) as environment:
        for _ in range(commits):
            with environment.begin(write=True) as transaction:
                for _ in range(int(rng.integers(1, 6))):
                    key = b"%d" % rng.integers(50)
                    transaction.put(key, rng.bytes(int(rng.choice(SIZES))))
                    if rng.random() < 0.3:
                        transaction.delete(key)
            pages = (directory / "data.mdb").stat().st_size // PAGE
            yield environment.info()["last_pgno"] + 1 - pages


@pytest.mark.parametrize("seed", range(3))
def test_a_store_is_good_after_each_commit_though_its_last_pages_were_never_written(
    tmp_path: Path, seed: int
) -> None:
    short = 0
    for lacking in used(tmp_path / "store", seed, commits=300):
        short += lacking > 0
        check(tmp_path / "store" / "data.mdb")
    assert short


def read(directory: Path) -> int:
    """How many bytes there are, as a process of its own counts them: one that meets a page that is
    not there is killed."""
    return int(subprocess.check_output([sys.executable, "-c", READ_ALL, str(directory)]))


@pytest.mark.parametrize("seed", range(3))
def test_what_is_cut_off_is_refused_or_was_not_in_use(tmp_path: Path, seed: int) -> None:
    for _ in used(tmp_path / "store", seed, commits=40):
        pass
    data = tmp_path / "store" / "data.mdb"
    whole = data.read_bytes()
    expected = read(data.parent)
    refused = good = 0
    for pages in range(2, len(whole) // PAGE + 1):
        data.write_bytes(whole[: pages * PAGE])
        try:
            check(data)
        except StateRejected:
            refused += 1
        else:
            good += 1
            assert read(data.parent) == expected
    assert refused > good > 0


@contextmanager
def another_writing(directory: Path) -> Iterator[None]:
    command = [sys.executable, "-c", WRITE, str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield
        assert process.poll() is None, "it writes to the end"
        process.kill()


def test_a_store_that_another_process_writes_to_is_good(tmp_path: Path) -> None:
    with another_writing(tmp_path / "store"):
        for _ in range(2000):
            check(tmp_path / "store" / "data.mdb")


def test_no_file_is_a_store_to_come(tmp_path: Path) -> None:
    check(tmp_path / "data.mdb")
