"""Real servers: in this process on a loop of their own, or as a process of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tamis_server.app import Application
from tamis_server.settings import load_settings

PATIENCE_S = 30.0  # a machine that tests several things at once is no overload


@dataclass(frozen=True)
class Running:
    """An application in this process and where it listens."""

    application: Application
    target: str


@asynccontextmanager
async def running(
    bundle: Path, sections: Mapping[str, Mapping[str, object]] | None = None, **server: object
) -> AsyncIterator[Running]:
    """Serve ``bundle`` on a free port, with a store of its own unless ``sections`` has another.

    server: settings of the section server; sections: settings of other sections.
    """
    with TemporaryDirectory() as state:
        settings = load_settings(
            None,
            {
                "bundle": {"path": bundle, "watch_s": 0},
                "state": {"url": f"lmdb://{state}", "fsync": "never"},
                "protection": {"wait_s": PATIENCE_S},
                **(sections or {}),
                "server": {
                    "listen": "127.0.0.1:0", "access_log": False, "drain_delay_s": 0, **server,
                },
            },
        )  # fmt: skip
        application = Application(settings)
        port = await application.start()
        try:
            yield Running(application, f"127.0.0.1:{port}")
        finally:
            await application.stop()


class ServerProcess:
    """``tamis serve`` as a process; its log lines are kept."""

    def __init__(self, bundle: Path, *options: str) -> None:
        self._state = TemporaryDirectory()
        command = [sys.executable, "-m", "tamis_server", "serve", "--bundle", str(bundle)]
        command += ["--set", f"state.url=lmdb://{self._state.name}"]
        command += ["--set", f"protection.wait_s={PATIENCE_S}"]
        command += ["--listen", "127.0.0.1:0", *options]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ)
        self.log: list[dict[str, object]] = []
        self._grown = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.target = f"127.0.0.1:{self.wait_for('serving')['port']}"
        except BaseException:
            self.stop(signal.SIGKILL)
            raise

    def wait_for(self, message: str, timeout_s: float = 60) -> dict[str, object]:
        """The first log entry with this message."""

        def find() -> dict[str, object] | None:
            return next((entry for entry in self.log if entry["message"] == message), None)

        with self._grown:
            self._grown.wait_for(lambda: find() or self._ended, timeout_s)
        found = find()
        assert found is not None, f"no {message!r} in the log: {self.log}"
        return found

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        try:
            return self.process.wait(60)
        finally:
            self.process.kill()  # one that does not go fails its test, and no other
            self.process.wait()
            self._reader.join(10)
            if self.process.stderr is not None:
                self.process.stderr.close()
            self._state.cleanup()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                entry = {"message": line.rstrip()}
            with self._grown:
                self.log.append(entry)
                self._grown.notify_all()
        with self._grown:
            self._ended = True
            self._grown.notify_all()


@contextmanager
def server_process(bundle: Path, *options: str) -> Iterator[ServerProcess]:
    server = ServerProcess(bundle, *options)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()
