"""The embedded store with its disk or its map full, its file damaged, and killed at its work."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import lmdb
import numpy as np
import pytest

from support.events import columns
from support.stores import Opener, event, write_for_ever
from tamis_server.adapters.embedded import lmdb_environment
from tamis_server.adapters.embedded.lmdb_environment import Environment, Fsync
from tamis_server.domain.errors import DependencyFailed, StateRejected

NOW = time.time()
ROUNDS = 200
NOISE = np.random.default_rng(1).bytes(65_536)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def digest_of(directory: Path) -> bytes:
    return (directory / "data.mdb").read_bytes()


def filled(directory: Path, events: int = 200) -> None:
    async def fill() -> None:
        opener = Opener(url=f"lmdb://{directory}")
        await opener().users.record(
            columns(*[event(n, f"item-{n}", time=NOW, user=f"user-{n % 7}") for n in range(events)])
        )
        await opener.close()

    asyncio.run(fill())


def refusal(directory: Path) -> str:
    before = digest_of(directory)
    with pytest.raises(StateRejected) as caught:
        Opener(url=f"lmdb://{directory}")()
    assert digest_of(directory) == before, "nothing is overwritten"
    assert str(directory) in str(caught.value)
    return str(caught.value)


async def test_a_full_map_grows(state: Path) -> None:
    opener = Opener(url=f"lmdb://{state}", map_mb=1)
    store = opener()
    events = [event(n, f"item-{n}", time=NOW + n, user=f"user-{n % 50}") for n in range(20_000)]
    for start in range(0, len(events), 2_000):
        assert (await store.users.record(columns(*events[start : start + 2_000]))).all()
        assert (await store.users.read("user-7", NOW)).counts.sum() == (start + 2_000) / 50
    assert (state / "data.mdb").stat().st_size > 1 << 20
    await opener.close()


def test_the_map_grows_while_other_threads_write_read_and_poll(state: Path) -> None:
    environment = Environment(state, fsync="never", interval_s=1.0, map_bytes=1 << 17)
    growing, done = threading.Event(), queue.SimpleQueue[Exception | None]()
    growing.set()

    def grow() -> None:
        for n in range(300):
            environment.write(lambda write, n=n: write.put("users", b"%d" % n, NOISE))
        growing.clear()

    def write() -> None:
        environment.write(lambda write: [write.put("catalogue", b"a", NOISE) for _ in range(99)])

    def again_and_again(work: Callable[[], object]) -> None:
        while growing.is_set():
            work()

    def told(work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            growing.clear()
            done.put(error)
        else:
            done.put(None)

    works = [write, write, environment.last_transaction, lambda: environment.get("users", b"1")]
    for work in [grow, *(partial(again_and_again, work) for work in works)]:
        threading.Thread(target=told, args=(work,), daemon=True).start()
    assert [done.get(timeout=60) for _ in range(5)] == [None] * 5
    assert environment.get("users", b"299") == NOISE
    environment.close()


async def test_a_map_that_another_process_grew_is_read_on(state: Path) -> None:
    opener = Opener(url=f"lmdb://{state}", map_mb=1)
    store = opener()
    await store.users.record(columns(event(1, "hat", time=NOW)))
    filling = (
        "import sys; from pathlib import Path; from integration.test_lmdb_faults import filled;"
        "filled(Path(sys.argv[1]), 30_000)"
    )
    tests = Path(__file__).parents[1]
    env = {**os.environ, "PYTHONPATH": str(tests)}
    await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", filling, str(state)], check=True, env=env
    )
    assert (state / "data.mdb").stat().st_size > 1 << 20
    assert (await store.users.read("user-3", NOW)).counts.sum() > 4_000
    assert (await store.users.record(columns(event(2, "hat", time=NOW)))).all()
    await opener.close()


async def test_on_a_full_disk_nothing_is_acknowledged_and_all_stays_readable(state: Path) -> None:
    opener = Opener(url=f"lmdb://{state}")
    store = opener()
    await store.users.record(columns(event(1, "hat", time=NOW)))
    size = (state / "data.mdb").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    many = [event(n, f"item-{n}", time=NOW, user=f"user-{n}") for n in range(5_000)]
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        with pytest.raises(DependencyFailed, match="state store"):
            await store.users.record(columns(*many))
        assert (await store.users.read("ada", NOW)).keys.shape == (1,)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert (await store.users.record(columns(*many))).all(), (
        "with room again, and none of them was stored"
    )
    await opener.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    mount = tmp_path / "disk"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(mount)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("a file system can't be mounted here: needs root")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


async def test_a_disk_without_space_is_said_and_space_is_used_again(small_disk: Path) -> None:
    opener = Opener(url=f"lmdb://{small_disk / 'state'}")
    store = opener()
    await store.users.record(columns(event(1, "hat", time=NOW)))
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(3 << 20))
    many = [event(n, f"item-{n}", time=NOW, user=f"user-{n}") for n in range(5_000)]
    with pytest.raises(DependencyFailed, match="no space left on the disk"):
        await store.users.record(columns(*many))
    assert (await store.users.read("ada", NOW)).keys.shape == (1,)
    ballast.unlink()
    assert (await store.users.record(columns(*many[:1_000]))).all()
    await opener.close()


OPENING_TOGETHER = """
import os, sys
from pathlib import Path
from tamis_server.adapters.embedded.lmdb_environment import Environment

def opened(directory):
    try:
        os.read(begin, 1)  # until all are there
        Environment(directory, fsync="commit", interval_s=1.0, map_bytes=1 << 20).close()
    except BaseException as error:
        print(error, flush=True)

for number in range(150):
    begin, go = os.pipe()
    processes = []
    for _ in range(6):
        processes.append(os.fork())
        if not processes[-1]:
            opened(Path(sys.argv[1]) / str(number))
            os._exit(0)
    os.write(go, bytes(len(processes)))
    for process in processes:
        os.waitpid(process, 0)
    os.close(begin), os.close(go)
"""


def test_processes_that_open_a_new_store_at_the_same_moment_all_have_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OPENING_TOGETHER, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == ""


OPENED = """
import contextlib, sys
from pathlib import Path
from tamis_server.adapters.embedded.lmdb_environment import Environment

environment = Environment(Path(sys.argv[1]), fsync="never", interval_s=1.0, map_bytes=1 << 20)
with environment.reading("users") if sys.argv[2] == "reading" else contextlib.nullcontext():
    print("opened", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process(directory: Path, doing: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", OPENED, str(directory), doing]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"opened\n"
        yield process


def kill_a_reader(directory: Path) -> None:
    with another_process(directory, "reading") as process:
        process.kill()


def written_again_and_again(environment: Environment) -> int:
    """What 8 MiB of changes to one value make of the file, in bytes."""
    for n in range(256):
        environment.write(lambda write, n=n: write.put("users", b"1", NOISE[n : n + 32_768]))
    return (environment.directory / "data.mdb").stat().st_size


def test_what_a_reader_held_that_was_killed_is_free_when_the_state_is_opened(state: Path) -> None:
    with another_process(state, "idle"):
        kill_a_reader(state)
        environment = Environment(state, fsync="never", interval_s=1.0, map_bytes=1 << 25)
        assert written_again_and_again(environment) < 1 << 20
        environment.close()


def test_what_a_reader_held_that_was_killed_is_free_when_it_is_looked_for(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lmdb_environment, "_LOOK_S", 0.0)
    environment = Environment(state, fsync="never", interval_s=1.0, map_bytes=1 << 25)
    kill_a_reader(state)
    assert written_again_and_again(environment) < 1 << 20
    environment.close()


def test_what_a_reader_held_that_was_killed_is_free_before_the_map_grows(state: Path) -> None:
    environment = Environment(state, fsync="never", interval_s=1.0, map_bytes=1 << 21)
    kill_a_reader(state)
    assert written_again_and_again(environment) <= 1 << 21
    environment.close()


def test_a_file_that_is_no_lmdb_file_is_refused(state: Path) -> None:
    state.mkdir()
    (state / "data.mdb").write_bytes(NOISE)
    assert "is no LMDB file" in refusal(state)


@pytest.mark.parametrize("kept", [0, 1, 100, 4095, 4096, 8191, 8192, 12_288, 0.5, -4096, -1])
def test_a_truncated_file_is_refused(state: Path, kept: float) -> None:
    filled(state)
    whole = digest_of(state)
    size = int(kept * len(whole)) if 0 < kept < 1 else int(kept) % len(whole)
    (state / "data.mdb").write_bytes(whole[:size])
    said = refusal(state)
    assert "truncated" in said or "damaged" in said


@pytest.mark.parametrize("page", [0, 1])
def test_a_damaged_meta_page_is_refused(state: Path, page: int) -> None:
    filled(state)
    with (state / "data.mdb").open("r+b") as file:
        file.seek(4096 * page)
        file.write(NOISE[:512])
    assert "damaged" in refusal(state)


def test_another_programs_lmdb_is_refused(state: Path) -> None:
    with (
        lmdb.open(str(state), max_dbs=2) as environment,
        environment.begin(write=True) as transaction,
    ):
        transaction.put(b"x", b"y", db=environment.open_db(b"theirs", txn=transaction))
    assert "another program's data" in refusal(state)


def test_state_of_another_format_is_refused(state: Path) -> None:
    filled(state)
    with (
        lmdb.open(str(state), max_dbs=16) as environment,
        environment.begin(write=True) as transaction,
    ):
        meta = environment.open_db(b"meta", txn=transaction)
        transaction.put(b"format", b"tamis-state 99", db=meta)
    assert "tamis-state 99" in refusal(state)


def test_a_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateRejected, match="is not a directory"):
        Opener(url=f"lmdb://{tmp_path / 'file'}")()


def test_a_server_refuses_to_start_on_damaged_state(state: Path, bundle: Path) -> None:
    filled(state)
    (state / "data.mdb").write_bytes(digest_of(state)[:20_000])
    command = [sys.executable, "-m", "tamis_server", "serve", "--bundle", str(bundle)]
    command += ["--listen", "127.0.0.1:0", "--set", f"state.url=lmdb://{state}"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 2
    assert "is truncated" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("fsync", "pages", "last"),
    [("commit", True, True), ("interval", True, False), ("never", False, False)],
)
def test_pages_reach_the_disk_before_what_refers_to_them_unless_nothing_is_synced(
    state: Path, fsync: Fsync, pages: bool, last: bool
) -> None:
    environment = Environment(state, fsync=fsync, interval_s=1.0, map_bytes=1 << 20)
    flags = environment._env.flags()
    environment.close()
    assert (flags["sync"], flags["metasync"]) == (pages, last)


def test_killed_at_random_moments_for_200_rounds_every_acknowledged_event_is_found(
    state: Path,
) -> None:
    filled(state, 0)
    found: set[int] = set()
    moments, start = np.random.default_rng(4), 0
    forks = get_context("forkserver")  # the imports done once: killed at its work, not at its start
    forks.set_forkserver_preload(["tamis_server.stores"])
    for _ in range(ROUNDS):
        reading, writing = forks.Pipe(duplex=False)
        child = forks.Process(target=write_for_ever, args=(str(state), start, writing, NOW))
        child.start()
        writing.close()
        found.add(int.from_bytes(reading.recv_bytes(), "big"))
        time.sleep(moments.uniform(0, 0.01))
        child.kill()
        child.join()
        with contextlib.suppress(EOFError):
            while True:
                found.add(int.from_bytes(reading.recv_bytes(), "big"))
        reading.close()
        start = max(found) + 100

    async def look() -> None:
        opener = Opener(url=f"lmdb://{state}")
        events = [event(n, f"item-{n}", time=NOW + n, user=f"user-{n % 5}") for n in sorted(found)]
        new = await opener().users.record(columns(*events))
        await opener.close()
        assert not new.any(), "acknowledged, and not there"

    asyncio.run(look())
    assert len(found) > ROUNDS
