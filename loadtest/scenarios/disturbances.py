"""What happens to a server in the course of its days, while a soak watches: new bundles, and
workers that are restarted. (Events and changed items are part of the traffic.)"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from serving import Server

from tamis.v1 import admin_service_pb2, admin_service_pb2_grpc
from tamis_server.bundles import manifest as fmt

_PATIENCE_S = 60.0
_LOOK_S = 0.2


class Releases:
    """One bundle under two names, hence two ids, and a link to the one to serve.

    What is served changes in nothing but its id, so that requests go on meaning the same; to the
    server it is a new bundle, read, checked and swapped in as any other.
    """

    def __init__(self, bundle: Path, directory: Path) -> None:
        self.link = directory / "current"
        self.ids: list[str] = []
        self._homes: list[Path] = []
        manifest = fmt.read_manifest(bundle)
        for name in (manifest.name, f"{manifest.name}-again"):
            home = directory / name
            shutil.copytree(bundle, home)
            bundle_id = fmt.bundle_id(name, manifest.files)
            renamed = manifest.model_copy(update={"name": name, "bundle_id": bundle_id})
            (home / fmt.MANIFEST).write_text(renamed.model_dump_json())
            self.ids.append(bundle_id)
            self._homes.append(home)
        self._released = -1
        self.release()

    def release(self) -> str:
        """Lets the link point to the other one, at once; the id of what it points to now."""
        self._released += 1
        home = self._homes[self._released % 2]
        partial = self.link.with_suffix(".partial")
        partial.symlink_to(home)
        partial.rename(self.link)
        return self.ids[self._released % 2]


@dataclass
class Disturbances:
    """swaps, restarts: how many were carried through; failed: those that were not, and why; the
    others: begin and end of each, since ``began_s`` by ``perf_counter``."""

    began_s: float
    swaps: int = 0
    restarts: int = 0
    failed: list[str] = field(default_factory=list)
    swapped_at_s: list[float] = field(default_factory=list)
    restarted_at_s: list[float] = field(default_factory=list)


@contextmanager
def disturbing(
    under: Server, releases: Releases, *, every_s: float, restart_each: int
) -> Iterator[Disturbances]:
    """A swap every so often until the end of the block; the first time and each ``restart_each``-th
    a restart in its place. The next comes only when the one before was carried through."""
    done, over = Disturbances(time.perf_counter()), threading.Event()

    def disturb() -> None:
        for number in itertools.count():
            if over.wait(every_s):
                return
            restarts = number % restart_each == 0
            at_s = done.restarted_at_s if restarts else done.swapped_at_s
            at_s.append(time.perf_counter() - done.began_s)
            if restarts:
                done.restarts += _restart(under, done.failed)
            else:
                done.swaps += swap(under, releases, done.failed)
            at_s.append(time.perf_counter() - done.began_s)

    thread = threading.Thread(target=disturb, name="disturbances", daemon=True)
    thread.start()
    try:
        yield done
    finally:
        over.set()
        thread.join()


def swap(under: Server, releases: Releases, failed: list[str]) -> bool:
    """A new bundle; whether it is served. What went wrong is added to ``failed``."""
    released = releases.release()
    os.kill(under.pid, signal.SIGHUP)
    with grpc.insecure_channel(under.target) as channel:
        stub = admin_service_pb2_grpc.AdminServiceStub(channel)

        def served() -> bool:
            try:
                status = stub.GetStatus(admin_service_pb2.GetStatusRequest(), timeout=10)
            except grpc.RpcError:
                return False
            return status.bundle.bundle_id == released

        return _carried_through(f"swap to {released}", served, failed)


def _restart(under: Server, failed: list[str]) -> bool:
    before = set(under.processes()) - {under.pid}
    os.kill(under.pid, signal.SIGUSR2)

    def replaced() -> bool:
        now = set(under.processes()) - {under.pid}
        return len(now) == len(before) and not now & before

    return _carried_through(f"restart of workers {sorted(before)}", replaced, failed)


def _carried_through(what: str, done: Callable[[], bool], failed: list[str]) -> bool:
    end = time.perf_counter() + _PATIENCE_S
    while not done():
        if time.perf_counter() > end:
            failed.append(f"{what}: not within {_PATIENCE_S:g} s")
            return False
        time.sleep(_LOOK_S)
    return True
