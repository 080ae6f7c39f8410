from __future__ import annotations

from collections.abc import Iterator

import pytest

from support import redis_binary, triton
from support.redis_servers import RedisCluster, RedisServer, redis_cluster, redis_server


def pytest_report_header() -> list[str]:
    return [redis_binary.report(), triton.report()]


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One redis-server for the run: take ``redis_empty`` unless keys of others do no harm."""
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_empty(shared_redis: RedisServer) -> RedisServer:
    """The run's redis-server without a key. Don't stop it: start your own for that."""
    shared_redis.flush()
    return shared_redis


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """One Redis Cluster of three for the run: take ``cluster_empty``."""
    with redis_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def cluster_empty(shared_cluster: RedisCluster) -> RedisCluster:
    """The run's Redis Cluster without a key."""
    shared_cluster.flush()
    return shared_cluster
