"""Starts and stops a tritonserver on the loopback."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType
from typing import Self

HERE = Path(__file__).resolve().parent
INSTALLED = HERE.parents[1] / ".tools" / "triton"
VARIABLE = "TAMIS_TRITON"
PYTHONS = ("3.11", "3.12")
# below those that systems give to clients, so that a server that was stopped finds its own again
_PORTS = range(22_000, 32_000)
# its backend for Python gives a lock a second, and aborts: on a machine that pauses, at times
_LOCK = "boost::interprocess::lock_exception"


class _Paused(RuntimeError):
    """It ended for that lock, and may be begun again."""


class NoTriton(Exception):
    """There is no tritonserver to run; says where it was looked for."""


def installed() -> Path:
    """The directory that `make triton-install` made. Raises NoTriton."""
    where = Path(os.environ.get(VARIABLE, INSTALLED))
    if not (where / ".installed").is_file():
        raise NoTriton(f"none in {where}; `make triton-install` fetches it")
    return where


class TritonServer:
    """One server over a model repository. Ready once entered; killed on exit, and with us."""

    def __init__(
        self, repository: Path, *options: str, grpc_port: int = 0, start_timeout_s: float = 60.0
    ) -> None:
        """grpc_port: 0 takes a free one. Raises NoTriton."""
        self._home = installed()
        self._repository = repository
        self._options = options
        self._timeout_s = start_timeout_s
        self._work = Path(mkdtemp(prefix="tamis-triton-"))
        self._backends(self._work / "backends")
        self.http_port, self.metrics_port, free = _free_ports(3)
        self.grpc_port = grpc_port or free
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def log(self) -> str:
        return (self._work / "log").read_text("utf-8", "replace")

    def start(self) -> Self:
        """Also again after a stop, on the same ports. Raises RuntimeError where it doesn't."""
        self._launch()
        try:
            self._wait()
        except _Paused:
            self._launch()
            self._wait()
        return self

    def _launch(self) -> None:
        wheel, binaries = self._home / "wheel", self._home / "python" / "bin"
        environment = {
            **os.environ,
            "LD_LIBRARY_PATH": f"{wheel / 'nvidia_pytriton.libs'}:{self._libraries}",
            "PATH": f"{binaries}:{os.environ['PATH']}",  # its stub takes the first python3
        }
        with (self._work / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, HERE / "tether.py", *self._command(wheel)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def signal(self, which: signal.Signals) -> None:
        """To the server and its backends' processes."""
        if self.process is not None:
            os.killpg(self.process.pid, which)

    def cpu_seconds(self) -> float:
        """What the server and its backends' processes have used."""
        used = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:  # it has just ended
                continue
            if self.process is not None and int(fields[2]) == self.process.pid:  # its group
                used += int(fields[11]) + int(fields[12])
        return used / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """At once: nothing in flight is answered."""
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGKILL)
            self.process.wait()

    def drain(self) -> None:
        """As an orderly shutdown does."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self._work, ignore_errors=True)

    def _backends(self, into: Path) -> None:
        """Copies: Triton refuses links that lead out of the directory."""
        shutil.copytree(HERE / "backends", into)
        tree = self._home / "wheel" / "pytriton" / "tritonserver"
        version, self._libraries = _facts(self._home / "python" / "bin" / "python")
        if version not in PYTHONS:
            raise NoTriton(f"its models need CPython {' or '.join(PYTHONS)}, not {version}")
        (into / "python").mkdir()
        for file in (
            tree / "backends" / "python" / "libtriton_python.so",
            tree / "backends" / "python" / "triton_python_backend_utils.py",
            tree / "python_backend_stubs" / version / "triton_python_backend_stub",
        ):
            shutil.copy2(file, into / "python")

    def _command(self, wheel: Path) -> Sequence[str]:
        tree = wheel / "pytriton" / "tritonserver"
        return [
            str(tree / "bin" / "tritonserver"),
            f"--model-repository={self._repository}",
            f"--backend-directory={self._work / 'backends'}",
            f"--cache-directory={tree / 'caches'}",
            "--model-config-name=cpu",
            "--disable-auto-complete-config",
            "--allow-gpu-metrics=false",
            "--exit-timeout-secs=5",
            f"--grpc-port={self.grpc_port}",
            f"--http-port={self.http_port}",
            f"--metrics-port={self.metrics_port}",
            *(f"--{which}-address=127.0.0.1" for which in ("grpc", "http", "metrics")),
            *self._options,
        ]

    def _wait(self) -> None:
        end = time.monotonic() + self._timeout_s
        assert self.process is not None
        while time.monotonic() < end:
            if self.process.poll() is not None:
                failure = self._failure(f"ended with {self.process.returncode}")
                raise _Paused(*failure.args) if _LOCK in self.log else failure
            try:
                url = f"http://127.0.0.1:{self.http_port}/v2/health/ready"
                with urllib.request.urlopen(url, timeout=1):
                    return
            except OSError:
                time.sleep(0.02)
        self.stop()
        raise self._failure(f"not ready in {self._timeout_s:g} s")

    def _failure(self, what: str) -> RuntimeError:
        """With the end of its log, tables left out."""
        said = [line for line in self.log.splitlines() if line[:1] not in "+|" and line.strip()]
        return RuntimeError("\n".join([f"tritonserver {what}:", *said[-20:]]))


def _free_ports(count: int) -> list[int]:
    found: set[int] = set()
    while len(found) < count:
        port = random.choice(_PORTS)  # noqa: S311 no secret
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.add(port)
    return list(found)


def _facts(python: Path) -> list[str]:
    """Its version and where its shared library lies."""
    code = (
        "import sys, sysconfig\n"
        "print('%d.%d' % sys.version_info[:2], sysconfig.get_config_var('LIBDIR'), sep='\\n')"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()
