"""The redis-servers that other tests rely on do what they are there for."""

from __future__ import annotations

import gc
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.cluster import RedisCluster as ClusterClient

from support.redis_servers import (
    HOST,
    SLOTS,
    RedisCluster,
    RedisServer,
    StartFailed,
    redis_server,
    tls_server,
)
from support.slow import slow


def connect(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, decode_responses=True, socket_timeout=10.0)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as started:
        yield started


def test_a_shared_server_is_empty_for_each_test(redis_empty: RedisServer) -> None:
    with connect(redis_empty.url) as client:
        assert client.dbsize() == 0
        client.set("left", "behind")
    redis_empty.flush()
    with connect(redis_empty.url) as client:
        assert client.dbsize() == 0


@pytest.mark.parametrize("appendfsync", ["always", "everysec"])
def test_what_was_appended_outlives_a_kill(tmp_path: Path, appendfsync: str) -> None:
    with redis_server(tmp_path, appendfsync=appendfsync) as server:
        with connect(server.url) as client:
            client.set("kept", "yes")
        port, pid = server.port, server.pid
        server.kill()
        with connect(server.url) as client, pytest.raises(redis.ConnectionError):
            client.ping()
        server.start()
        assert (server.port, server.pid != pid) == (port, True)
        with connect(server.url) as client:
            assert client.get("kept") == "yes"
        server.restart_empty()
        with connect(server.url) as client:
            assert client.get("kept") is None


def test_without_an_append_only_file_a_kill_loses_all(server: RedisServer) -> None:
    server.control.set("gone", "soon")
    server.kill()
    server.start()
    assert server.control.dbsize() == 0


def test_a_paused_server_answers_once_resumed(server: RedisServer) -> None:
    with redis.Redis.from_url(server.url, socket_timeout=0.2, retry=None) as client:
        client.ping()
        server.pause()
        with pytest.raises(redis.TimeoutError):
            client.ping()
        server.resume()
        assert client.ping()


def test_a_full_server_refuses_writes_and_evicts_nothing(tmp_path: Path) -> None:
    with (
        redis_server(tmp_path, maxmemory="3mb") as server,
        connect(server.url) as client,
    ):
        client.set("first", "here")
        server.control.config_set("maxmemory", "100kb")
        with pytest.raises(redis.OutOfMemoryError):
            client.set("second", "x")
        assert client.get("first") == "here"


def test_a_wrong_password_is_refused(tmp_path: Path) -> None:
    with redis_server(tmp_path, password="right") as server:
        with connect(server.url) as client:
            assert client.ping()
        with (
            connect(server.url_of("", "wrong")) as client,
            pytest.raises(redis.AuthenticationError),
        ):
            client.ping()


def test_a_user_may_do_what_its_rules_say(tmp_path: Path) -> None:
    with redis_server(tmp_path, users={"reader": "on >right ~* +@read"}) as server:
        with connect(server.url_of("reader", "right")) as client:
            assert client.get("anything") is None
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.set("anything", "at all")
        for url in (server.url, server.url_of("reader", "wrong")):
            with connect(url) as client, pytest.raises(redis.AuthenticationError):
                client.ping()


def test_a_replica_follows_and_is_read_only(tmp_path: Path, redis_empty: RedisServer) -> None:
    with (
        redis_server(tmp_path, replica_of=redis_empty) as replica,
        connect(redis_empty.url) as primary,
        connect(replica.url) as client,
    ):
        primary.set("followed", "yes")
        assert primary.wait(1, 10_000) == 1
        assert client.get("followed") == "yes"
        with pytest.raises(redis.ReadOnlyError):
            client.set("own", "will")


def test_tls_is_checked_against_our_own_authority(tmp_path: Path) -> None:
    with tls_server(tmp_path, password="right") as server:
        with connect(server.url) as client:
            assert client.ping()
        distrusting = server.url.partition("?")[0]
        with connect(distrusting) as client, pytest.raises(redis.ConnectionError):
            client.ping()


def test_a_cluster_spans_all_slots_and_sends_keys_where_they_belong(
    cluster_empty: RedisCluster,
) -> None:
    host, port = cluster_empty.addresses[0]
    client = ClusterClient(host=host, port=port, decode_responses=True)
    try:
        for number in range(50):
            client.set(f"key-{number}", number)
        assert [client.get(f"key-{number}") for number in range(50)] == [
            str(number) for number in range(50)
        ]
    finally:
        client.close()
    for node in cluster_empty.nodes:
        assert node.control.dbsize() > 0
        assert int(node.control.cluster("INFO")["cluster_slots_ok"]) == SLOTS


def test_answers_are_as_late_as_the_proxy_is_told(server: RedisServer) -> None:
    with slow(server.port, 0.0) as proxy, connect(f"redis://{HOST}:{proxy.port}") as client:
        assert client.ping()
        proxy.delay_ms = 60.0
        start = time.monotonic()
        with client.pipeline(transaction=False) as pipeline:
            pipeline.set("large", "x" * 500_000).get("large")
            assert len(pipeline.execute()[1]) == 500_000
        assert time.monotonic() - start >= 0.06
        proxy.delay_ms = 0.0
        assert client.ping()


def test_a_proxy_that_is_stopped_while_connections_end_leaves_none_open(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    warned: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda about: warned.append(str(about.exc_value)))
    for _ in range(50):
        with slow(server.port, 0.0) as proxy:
            clients = [socket.create_connection((HOST, proxy.port)) for _ in range(4)]
            for client in clients:
                client.sendall(b"PING\r\n")
                assert client.recv(16) == b"+PONG\r\n"
            for client in clients:
                client.close()
    gc.collect()
    assert warned == []


def test_a_server_that_can_not_start_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(StartFailed, match="maxmemory"),
        redis_server(tmp_path, maxmemory="plenty"),
    ):
        pass


def test_no_server_outlives_the_tests_that_started_it(tmp_path: Path) -> None:
    started = (
        "import os, sys; from pathlib import Path\n"
        "from support.redis_servers import RedisServer\n"
        "server = RedisServer(Path(sys.argv[1])); server.start()\n"
        "print(server.pid, flush=True); sys.stdin.read()\n"
    )
    root = Path(__file__).resolve().parents[1]
    with subprocess.Popen(
        [sys.executable, "-c", started, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(root)},
        text=True,
    ) as tests:
        assert tests.stdout is not None
        server = os.pidfd_open(int(tests.stdout.readline()))
        tests.kill()
    try:
        gone, _, _ = select.select([server], [], [], 30)
        assert gone, "redis-server is still there"
    finally:
        os.close(server)
