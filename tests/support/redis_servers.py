"""Real redis-servers on the loopback: one, a replica, with TLS or users, or a cluster of three.

Servers are ready when their own log says so and PING is answered. Data outlives ``kill`` and
``start`` as far as their settings promise (``appendfsync``); the directory is the caller's.
"""

from __future__ import annotations

import random
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import redis

from support.certificates import Certificates, certificates
from support.redis_binary import NoRedis, binary

HOST = "127.0.0.1"
SLOTS = 16_384
_START_S = 30.0
_CONTROL = "control"  # the tests' own user, so that a server's users may be anything
# below the ports that systems give to clients, and so is the cluster bus, 10,000 further up
_PORTS = range(12_000, 22_000)
_BUS = 10_000


class StartFailed(Exception):
    """redis-server ended before it was ready; says what it logged."""


@dataclass(frozen=True)
class Options:
    """How a server runs.

    appendfsync: with an append-only file, synced so; None keeps nothing over a restart.
    maxmemory: bytes or "64mb"; past it writes are refused (noeviction).
    password: of the default user. users: name -> ACL rules ("on >secret ~* +@read"); with users
    and no password the default user is off. replica_of: whom to follow. tls: serve only so.
    """

    appendfsync: Literal["always", "everysec"] | None = None
    maxmemory: str | None = None
    password: str | None = None
    users: Mapping[str, str] = field(default_factory=dict)
    replica_of: RedisServer | None = None
    tls: Certificates | None = None
    cluster: bool = False


class RedisServer:
    """A redis-server process that keeps its port and directory over restarts."""

    def __init__(self, directory: Path, options: Options = Options()) -> None:
        self.directory = directory
        self.options = options
        self.port = 0
        self._secret = secrets.token_hex(16)
        self._process: _Process | None = None
        self._control: redis.Redis | None = None

    @property
    def pid(self) -> int:
        return self._running.pid

    @property
    def url(self) -> str:
        """Where the default user gets in."""
        return self.url_of("", self.options.password or "")

    def url_of(self, user: str, password: str, port: int | None = None) -> str:
        """Where ``user`` gets in, by another ``port`` if there is a proxy before the server."""
        scheme = "rediss" if self.options.tls else "redis"
        credentials = f"{user}:{password}@" if user or password else ""
        trust = f"?ssl_ca_certs={self.options.tls.authority}" if self.options.tls else ""
        return f"{scheme}://{credentials}{HOST}:{port or self.port}/0{trust}"

    @property
    def control(self) -> redis.Redis:
        """A connection that may do everything, whatever users there are."""
        if self._control is None:
            url = self.url_of(_CONTROL, self._secret)
            self._control = redis.Redis.from_url(url, decode_responses=True, socket_timeout=10.0)
        return self._control

    def start(self) -> None:
        """Start, on the same port and data as before if there was a before. Raises StartFailed."""
        while self._process is None:
            port = self.port or _free_port()
            try:
                self._process = _Process(self._configuration(port), self.directory)
            except StartFailed as error:
                if self.port or "Address already in use" not in str(error):
                    raise
                continue  # someone was quicker than we
            self.port = port
        self.control.ping()

    def kill(self) -> None:
        """SIGKILL: what a crash leaves is what the next ``start`` finds."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and wait until it is gone; nothing if it is not running."""
        if self._process is not None:
            self.resume()
            self._end(signal.SIGTERM)

    def pause(self) -> None:
        """SIGSTOP: connections stay open, and nothing answers."""
        self._running.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._running.signal(signal.SIGCONT)

    def restart_empty(self) -> None:
        """Kill it, forget its data and start it again on the same port."""
        self.kill()
        for path in (*self.directory.glob("appendonly*"), *self.directory.glob("*.rdb")):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.start()

    def flush(self) -> None:
        """Forget all keys and scripts, between tests."""
        self.control.flushall()
        self.control.script_flush()

    @property
    def _running(self) -> _Process:
        assert self._process is not None, "the server is not running"
        return self._process

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._running, None
        process.end(how)
        if self._control is not None:
            self._control.close()
            self._control = None

    def _configuration(self, port: int) -> str:
        options, primary = self.options, self.options.replica_of
        lines = [f"bind {HOST}", f'dir "{self.directory}"', 'save ""', "loglevel notice"]
        lines += [f"user {_CONTROL} on >{self._secret} ~* &* +@all"]
        lines += [f"user {name} {rules}" for name, rules in options.users.items()]
        lines += ["user default off"] if options.users and options.password is None else []
        lines += [f"requirepass {options.password}"] if options.password is not None else []
        lines += [f"port {0 if options.tls else port}"]
        if options.tls:
            lines += [f"tls-port {port}", "tls-auth-clients no", "tls-replication yes"]
            lines += [f'tls-cert-file "{options.tls.certificate}"']
            lines += [f'tls-key-file "{options.tls.key}"']
            lines += [f'tls-ca-cert-file "{options.tls.authority}"']
        if options.appendfsync:
            lines += ["appendonly yes", f"appendfsync {options.appendfsync}"]
        if options.maxmemory:
            lines += [f"maxmemory {options.maxmemory}", "maxmemory-policy noeviction"]
        if primary is not None:
            lines += [f"replicaof {HOST} {primary.port}", "repl-diskless-sync-delay 0"]
            lines += [f"masteruser {_CONTROL}", f"masterauth {primary._secret}"]
        if options.cluster:
            lines += ["cluster-enabled yes", "cluster-node-timeout 2000"]
            lines += [f"cluster-announce-ip {HOST}"]
        return "\n".join(lines) + "\n"


class _Process:
    """One life of a redis-server, from ready to gone."""

    def __init__(self, configuration: str, directory: Path) -> None:
        """Returns when it is ready. Raises StartFailed."""
        file = directory / "redis.conf"
        file.write_text(configuration)
        self._popen = subprocess.Popen(
            [binary().path, file],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C is for pytest, whose fixtures then stop the server
        )
        self._warden = _warden(self._popen.pid)
        self._log: list[str] = []
        self._told = threading.Event()
        self._ready = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._told.wait(_START_S)
        if not self._ready:
            self.end(signal.SIGKILL)
            raise StartFailed("redis-server did not start:\n" + "".join(self._log))

    @property
    def pid(self) -> int:
        return self._popen.pid

    def signal(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def end(self, how: signal.Signals) -> None:
        """Send the signal and wait until the process is gone."""
        self._popen.send_signal(how)
        try:
            self._popen.wait(_START_S)
        finally:
            self._popen.kill()
            self._popen.wait()
            self._warden.kill()
            self._warden.communicate()
            self._reader.join()
            if self._popen.stdout is not None:
                self._popen.stdout.close()

    def _read(self) -> None:
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            self._log.append(line)
            if "Ready to accept connections" in line:
                self._ready = True
                self._told.set()
        self._told.set()


def _warden(pid: int) -> subprocess.Popen[bytes]:
    """Kills ``pid`` when this process is gone, however it went: its input ends only then."""
    return subprocess.Popen(
        ["sh", "-c", 'read _; kill -9 "$1"', "warden", str(pid)],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )


def _free_port() -> int:
    """A port that is free, as is the one that a cluster's bus would take."""
    while True:
        port = random.choice(_PORTS)  # noqa: S311 no secret
        with socket.socket() as own, socket.socket() as bus:
            try:
                own.bind((HOST, port))
                bus.bind((HOST, port + _BUS))
            except OSError:
                continue
        return port


@contextmanager
def redis_server(directory: Path, **options: Any) -> Iterator[RedisServer]:
    """A server with these ``Options``; skips the test where there is no redis-server."""
    _or_skip()
    server = RedisServer(directory, Options(**options))
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def tls_server(directory: Path, **options: Any) -> Iterator[RedisServer]:
    """A server that speaks TLS only; skips the test where redis-server or openssl can't."""
    _or_skip()
    if not binary().tls:
        pytest.skip(f"TLS: {binary().path} {binary().version} was built without it")
    try:
        made = certificates(directory)
    except FileNotFoundError:
        pytest.skip("TLS: no openssl to make certificates with")
    with redis_server(directory, tls=made, **options) as server:
        yield server


@dataclass(frozen=True)
class RedisCluster:
    """Primaries that share the slots, in equal ranges."""

    nodes: tuple[RedisServer, ...]

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        return tuple((HOST, node.port) for node in self.nodes)

    def wait_until_ok(self, timeout_s: float = 30.0) -> None:
        """Until every node knows all and covers all slots, or AssertionError."""
        deadline, turn = time.monotonic() + timeout_s, threading.Event()
        while seen := [state for node in self.nodes if (state := self._amiss(node))]:
            assert time.monotonic() < deadline, f"no cluster after {timeout_s} s: {seen}"
            turn.wait(0.02)  # gossip has no event to wait for

    def flush(self) -> None:
        for node in self.nodes:
            node.flush()

    def _amiss(self, node: RedisServer) -> Mapping[str, str] | None:
        state = node.control.cluster("INFO")
        known = int(state["cluster_known_nodes"]) == len(self.nodes)
        return None if state["cluster_state"] == "ok" and known else state


@contextmanager
def redis_cluster(directory: Path, nodes: int = 3, **options: Any) -> Iterator[RedisCluster]:
    """A cluster of ``nodes`` primaries that is whole; skips where there is no redis-server."""
    with ExitStack() as stack:
        started = []
        for number in range(nodes):
            (home := directory / str(number)).mkdir()
            started.append(stack.enter_context(redis_server(home, cluster=True, **options)))
        for number, node in enumerate(started):
            first, end = number * SLOTS // nodes, (number + 1) * SLOTS // nodes
            # distinct from the start, so that no two of them have to settle who is which
            node.control.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            node.control.execute_command("CLUSTER", "ADDSLOTS", *range(first, end))
            node.control.execute_command("CLUSTER", "MEET", HOST, started[0].port)
        cluster = RedisCluster(tuple(started))
        cluster.wait_until_ok()
        yield cluster


def _or_skip() -> None:
    try:
        binary()
    except NoRedis as error:
        pytest.skip(f"redis-server: {error}")
