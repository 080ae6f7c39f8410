"""Several workers on one port: one bundle, one store, one page of metrics, and no request lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from support.servers import ServerProcess, server_process
from tamis.v1 import item_pb2
from tamis_client import AsyncTamisClient, TamisClient
from tamis_pipeline.bundle import write_bundle
from tamis_pipeline.synthetic import random_parts
from tamis_server.bundles import manifest as fmt

WORKERS = 3
PATIENCE_S = 30.0


@contextmanager
def several(bundle: Path, *options: str, workers: int = WORKERS) -> Iterator[ServerProcess]:
    quiet = ("--set", "server.access_log=false", "--set", "server.drain_delay_s=0.1")
    with server_process(bundle, "--workers", str(workers), *quiet, *options) as server:
        yield server


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("workers") / "bundle"
    write_bundle(random_parts(items=300, users=30), directory)
    return directory


@asynccontextmanager
async def load(target: str, callers: int = 6) -> AsyncIterator[Counter[str]]:
    """Requests without a pause, each of which must be answered; counts them by bundle."""
    answered: Counter[str] = Counter()
    going = True

    async def caller(client: AsyncTamisClient, number: int) -> None:
        while going:
            response = await client.recommend(user_id=f"user-{number}", page_size=10)
            assert len(response.items) == 10
            answered[response.bundle_id] += 1

    async with AsyncTamisClient(target, channels=4, timeout_s=PATIENCE_S) as client:
        callers_ = [asyncio.ensure_future(caller(client, number)) for number in range(callers)]
        try:
            yield answered
        finally:
            going = False
            await asyncio.gather(*callers_)


async def eventually(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < end, "that never came"
        await asyncio.sleep(0.02)


def children(server: ServerProcess) -> list[int]:
    return children_of(server.process.pid)


def children_of(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]


def segments(pid: int) -> set[str]:
    """The segments that a process has mapped, by their inodes."""
    with contextlib.suppress(OSError):  # it is gone
        maps = Path(f"/proc/{pid}/maps").read_text()
        return set(re.findall(r"(\d+) +/memfd:tamis", maps))
    return set()


def descriptors(pid: int) -> int:
    """How many segments a process holds open: Python does while one is mapped."""
    found = 0
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # it is closed
            found += "/memfd:tamis" in str(each.readlink())
    return found


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def page(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def test_eight_channels_load_the_workers_evenly(bundle: Path) -> None:
    port = free_port()
    with (
        several(bundle, "--set", f"metrics.listen=127.0.0.1:{port}", workers=2) as server,
        TamisClient(server.target, channels=8, timeout_s=PATIENCE_S) as client,
    ):

        def answered() -> Counter[str]:
            found = re.findall(
                r'request_duration_seconds_count\{worker="(\d)",.*Recommend"\} (\S+)', page(port)
            )
            return Counter({worker: int(float(count)) for worker, count in found})

        for _ in range(200):  # in which the connections spread
            client.recommend(user_id="user-1", page_size=1)
        before = answered()
        for _ in range(400):
            client.recommend(user_id="user-1", page_size=1)
        counts = answered() - before
    assert sum(counts.values()) == 400
    assert len(counts) == 2
    assert max(counts.values()) <= 1.3 * 200


def test_one_page_has_the_metrics_of_all(bundle: Path) -> None:
    port = free_port()
    with several(bundle, "--set", f"metrics.listen=127.0.0.1:{port}"):
        text = page(port)
    assert f'tamis_workers{{worker="0"}} {WORKERS}.0' in text
    for worker in range(1, WORKERS + 1):
        assert f'tamis_bundle_info{{worker="{worker}",' in text
    types = [line for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(types) == len(set(types))


async def test_a_worker_that_is_killed_is_replaced_and_the_others_don_t_notice(
    bundle: Path,
) -> None:
    with several(bundle) as server:
        async with load(server.target) as answered:
            victims = children(server)[:2]
            for victim in victims:
                os.kill(victim, signal.SIGKILL)
                await eventually(lambda gone=victim: gone not in children(server))  # type: ignore[misc]
                await eventually(lambda: len(children(server)) == WORKERS)
                before = answered.total()
                await eventually(lambda seen=before: answered.total() > seen + 50)  # type: ignore[misc]
        died = [entry for entry in server.log if "died" in str(entry["message"])]
        assert len(died) == len(victims)
        assert server.stop() == 0


async def test_a_restart_replaces_the_workers_and_loses_no_request(bundle: Path) -> None:
    with several(bundle) as server:
        before = set(children(server))
        async with load(server.target) as answered:
            await eventually(lambda: answered.total() > 20)
            server.process.send_signal(signal.SIGUSR2)
            await eventually(
                lambda: len(children(server)) == WORKERS and not before & set(children(server))
            )
            seen = answered.total()
            await eventually(lambda: answered.total() > seen + 20)


async def test_workers_share_the_memory_of_what_they_serve_and_hold_no_other(
    tmp_path: Path,
) -> None:
    directory = tmp_path / "bundle"
    write_bundle(random_parts(seed=0), directory)
    with several(directory, "--set", "bundle.watch_s=0") as server:
        pid, gone = server.process.pid, set[str]()

        def share_another() -> bool:
            found = [segments(child) for child in children(server)]
            shared = set.intersection(*found)
            return (
                len(found) == WORKERS and len(shared) == 1 and set().union(*found) == shared - gone
            )

        for seed in (1, 2):
            write_bundle(random_parts(seed=seed), directory)
            server.process.send_signal(signal.SIGHUP)
            await eventually(lambda: share_another() and descriptors(pid) == 1)
            (shared,) = {frozenset(segments(each)) for each in children(server)}
            assert segments(pid) == shared, "for workers to come"
            gone |= shared
        served = gone.copy()
        gone.clear()
        victim = children(server)[0]
        os.kill(victim, signal.SIGKILL)
        await eventually(lambda: victim not in children(server) and share_another())
        assert segments(children(server)[0]) < served
        assert {descriptors(each) for each in (pid, *children(server))} == {1}
        gone |= served
        server.process.send_signal(signal.SIGUSR2)
        await eventually(share_another)
        assert {descriptors(each) for each in (pid, *children(server))} == {1}


async def test_after_a_swap_a_worker_is_replaced_whatever_became_of_the_directory(
    tmp_path: Path,
) -> None:
    directory = tmp_path / "bundle"
    write_bundle(random_parts(seed=0), directory)
    with (
        several(directory, "--set", "bundle.watch_s=0") as server,
        TamisClient(server.target, channels=2 * WORKERS, timeout_s=PATIENCE_S) as client,
    ):
        served = write_bundle(random_parts(seed=1), directory).bundle_id
        server.process.send_signal(signal.SIGHUP)
        await eventually(lambda: client.status().bundle.bundle_id == served)
        write_bundle(random_parts(seed=2), directory)
        (directory / fmt.VECTORS).unlink()
        server.process.send_signal(signal.SIGHUP)
        await eventually(lambda: bool(client.status().last_rejection))
        before = children(server)
        for each in before:
            os.kill(each, signal.SIGKILL)
        await eventually(
            lambda: len(children(server)) == WORKERS and not {*before} & {*children(server)}
        )
        assert client.recommend(page_size=3).bundle_id == served


async def test_one_silent_worker_leaves_the_others_on_the_page(bundle: Path) -> None:
    port = free_port()
    with several(bundle, "--set", f"metrics.listen=127.0.0.1:{port}") as server:
        os.kill(children(server)[0], signal.SIGSTOP)
        text = await asyncio.to_thread(page, port)
        os.kill(children(server)[0], signal.SIGCONT)
        assert 'tamis_workers_silent{worker="0"} 1.0' in text
        heard = {int(found) for found in re.findall(r'tamis_bundle_info{worker="(\d)"', text)}
        assert len(heard) == WORKERS - 1
        text = await asyncio.to_thread(page, port)
        assert 'tamis_workers_silent{worker="0"} 0.0' in text


async def test_a_worker_that_is_stuck_is_replaced(bundle: Path) -> None:
    with (
        several(bundle, "--set", "server.stuck_s=1") as server,
        TamisClient(server.target, channels=2 * WORKERS, timeout_s=PATIENCE_S) as client,
    ):
        before = children(server)
        os.kill(before[0], signal.SIGSTOP)
        await eventually(
            lambda: len(children(server)) == WORKERS and before[0] not in children(server)
        )
        assert {*before[1:]} < {*children(server)}, "the others stay"
        for _ in range(4 * WORKERS):
            assert client.recommend(page_size=3).items


async def test_why_the_next_bundle_is_not_served_every_worker_says(tmp_path: Path) -> None:
    directory = tmp_path / "bundle"
    write_bundle(random_parts(seed=0), directory)
    with (
        several(directory, "--set", "bundle.watch_s=0") as server,
        TamisClient(server.target, channels=2 * WORKERS, timeout_s=PATIENCE_S) as client,
    ):

        def said() -> set[str]:
            return {client.status().last_rejection for _ in range(4 * WORKERS)}

        assert said() == {""}
        write_bundle(random_parts(seed=1), directory)
        path = directory / fmt.VECTORS
        path.write_bytes(path.read_bytes()[:-1])
        server.process.send_signal(signal.SIGHUP)
        await eventually(lambda: all(each.startswith("vectors.npy: ") for each in said()))
        write_bundle(random_parts(seed=2), directory)
        server.process.send_signal(signal.SIGHUP)
        await eventually(lambda: said() == {""})


async def test_a_new_bundle_is_served_by_all_and_a_bad_one_by_none(tmp_path: Path) -> None:
    directory = tmp_path / "bundle"
    first = write_bundle(random_parts(seed=0), directory).bundle_id
    with several(directory, "--set", "bundle.watch_s=0.05") as server:
        async with load(server.target) as answered:
            await eventually(lambda: answered[first] > 20)
            second = write_bundle(random_parts(seed=1), directory).bundle_id
            await asyncio.to_thread(server.wait_for, f"serving bundle {second}")
            victim = children(server)[0]  # its successor begins with the new bundle
            os.kill(victim, signal.SIGKILL)
            await eventually(lambda: victim not in children(server))
            await eventually(lambda: len(children(server)) == WORKERS)
            await eventually(lambda: answered[second] > 20)
            write_bundle(random_parts(seed=2), directory)
            path = directory / fmt.VECTORS
            path.write_bytes(path.read_bytes()[:-1])

            def refused() -> bool:
                said = [str(entry["message"]) for entry in server.log]
                return any("vectors.npy: " in each for each in said)

            await eventually(refused)
            seen = answered[second]
            await eventually(lambda: answered[second] > seen + 20)
        assert set(answered) == {first, second}


def test_an_event_told_to_one_worker_is_known_to_all(bundle: Path) -> None:
    with (
        several(bundle) as server,
        TamisClient(server.target, channels=2 * WORKERS, timeout_s=PATIENCE_S) as client,
    ):
        for _ in range(100):  # so that each worker is asked
            client.status()
        met: list[str] = []
        for number in range(20):
            response = client.recommend(user_id="ada", page_size=10)
            items = [item.item_id for item in response.items]
            assert not set(items) & set(met)
            met.append(items[0])
            event = item_pb2.Event(
                event_id=f"e{number}",
                user_id="ada",
                item_id=items[0],
                kind=item_pb2.EVENT_KIND_CLICK,
            )
            assert client.record_events([event]).recorded_count == 1


async def test_a_worker_that_dies_while_the_next_bundle_is_loaded_comes_back_with_that(
    tmp_path: Path,
) -> None:
    directory, port = tmp_path / "bundle", free_port()
    write_bundle(random_parts(seed=0), directory)
    options = ("--set", "bundle.watch_s=0", "--set", f"metrics.listen=127.0.0.1:{port}")
    with several(directory, *options) as server:

        def served() -> list[str]:
            found = r'tamis_bundle_info{worker="\d",bundle_id="([^"]+)"} 1'
            return re.findall(found, page(port))

        for seed, place in ((1, 0), (2, WORKERS - 1)):
            bundle_id = write_bundle(random_parts(seed=seed), directory).bundle_id
            server.process.send_signal(signal.SIGHUP)
            loader = WORKERS + 1
            await eventually(lambda: len(children(server)) == loader)  # noqa: B023
            os.kill(children(server)[place], signal.SIGKILL)
            await eventually(lambda: served() == [bundle_id] * WORKERS)  # noqa: B023


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL, signal.SIGHUP])
async def test_whatever_becomes_of_a_supervisor_that_starts_no_worker_is_left(
    bundle: Path, how: signal.Signals
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # that workers wait for
        command = [sys.executable, "-m", "tamis_server", "serve", "--bundle", str(bundle)]
        command += ["--workers", "2", "--listen", "127.0.0.1:0"]
        command += ["--set", f"state.url=redis://127.0.0.1:{silent.getsockname()[1]}"]
        command += ["--set", "state.write_timeout_s=2"]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:  # noqa: ASYNC220
            await eventually(lambda: len(children_of(process.pid)) == 2)
            workers = children_of(process.pid)
            process.send_signal(how)
            if how is signal.SIGHUP:  # which it heeds when it serves
                process.send_signal(signal.SIGTERM)
            status = await asyncio.to_thread(process.wait, PATIENCE_S)
    assert status == (-how if how is signal.SIGKILL else 0)
    await eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


async def test_workers_go_when_their_supervisor_is_killed(bundle: Path) -> None:
    with several(bundle) as server:
        orphans = children(server)
        assert len(orphans) == WORKERS
        server.stop(signal.SIGKILL)
        await eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in orphans))


def test_a_port_that_somebody_else_has_is_refused(bundle: Path, tmp_path: Path) -> None:
    with several(bundle) as server:
        command = [sys.executable, "-m", "tamis_server", "serve", "--bundle", str(bundle)]
        command += ["--workers", "2", "--listen", server.target]
        command += ["--set", f"state.url=lmdb://{tmp_path}/state"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert f"can't listen on {server.target}: " in done.stderr


async def test_a_start_that_fails_leaves_no_worker_behind(bundle: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # that workers wait for
        command = [sys.executable, "-m", "tamis_server", "serve", "--bundle", str(bundle)]
        command += ["--workers", "3", "--listen", "127.0.0.1:0"]
        command += ["--set", f"state.url=redis://127.0.0.1:{silent.getsockname()[1]}"]
        command += ["--set", f"state.timeout_s={PATIENCE_S}"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:  # noqa: ASYNC220
            await eventually(lambda: len(children_of(process.pid)) == 3)
            workers = children_of(process.pid)
            os.kill(workers[1], signal.SIGTERM)  # there is nothing to drain
            _, said = await asyncio.to_thread(process.communicate, timeout=PATIENCE_S)
    assert process.returncode == 2
    assert "worker 2 died" in said
    await eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


def test_a_worker_that_can_t_serve_says_why_and_nothing_is_served(
    bundle: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "tamis_server", "serve", "--bundle", str(bundle)]
    command += ["--workers", "2", "--listen", "127.0.0.1:0"]
    command += ["--set", "state.url=lmdb:///proc/nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    # whichever is first: the other is told to go, and may not get to say it
    assert re.search("worker [12].*/proc/nowhere", done.stderr), done.stderr
