"""Redis fails in every way it can: answers degrade as declared, and full quality comes back.

No event is acknowledged that was not stored.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from support.redis_servers import RedisServer, redis_server, tls_server
from support.servers import running
from support.slow import slow
from tamis.v1 import item_pb2
from tamis.v1 import recommend_service_pb2 as pb
from tamis_client import AsyncTamisClient, RequestFailed
from tamis_server.adapters.remote.redis_connection import Connection

FULL, POPULARITY = pb.DEGRADATION_LEVEL_FULL, pb.DEGRADATION_LEVEL_POPULARITY


def event(number: int, item_id: str = "item-1", user_id: str = "ada") -> item_pb2.Event:
    return item_pb2.Event(
        event_id=f"e{number}", user_id=user_id, item_id=item_id, kind=item_pb2.EVENT_KIND_VIEW
    )


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[RedisServer]:
    """A server of the test's own that keeps what it acknowledged over a kill."""
    with redis_server(tmp_path, appendfsync="always") as server:
        yield server


async def test_requests_wait_for_a_connection_while_another_listens(durable: RedisServer) -> None:
    connection = Connection(
        durable.url, read_timeout_s=30, write_timeout_s=30, connections=2, ca_file=None
    )
    listening = asyncio.create_task(connection.listen("BLPOP", "nothing", 0))
    await asyncio.sleep(0)
    answers = await asyncio.gather(*(connection.read("ECHO", number) for number in range(40)))
    assert answers == [b"%d" % number for number in range(40)]
    listening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listening
    await connection.close()


@asynccontextmanager
async def served(bundle: Path, url: str) -> AsyncIterator[AsyncTamisClient]:
    state = {"url": url, "timeout_s": 0.2, "write_timeout_s": 0.5}
    async with (
        running(bundle, {"state": state}) as server,
        AsyncTamisClient(server.target, timeout_s=10.0) as client,
    ):
        yield client


async def level(client: AsyncTamisClient) -> pb.DegradationLevel.ValueType:
    """Of an answer; it has items and a cause, whatever the store does."""
    answer = await client.recommend(user_id="ada", page_size=10)
    assert len(answer.items) == 10
    if answer.degradation.level != FULL:
        assert [cause.stage for cause in answer.degradation.causes] == ["user_state"]
    return answer.degradation.level


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await true():
            pass


async def recovered(client: AsyncTamisClient, number: int) -> None:
    """The next answers are of full quality, events are stored again and seen."""

    async def is_full() -> bool:
        return await level(client) == FULL

    async def records() -> bool:
        try:
            await client.record_events([event(number, "item-42")])
        except RequestFailed:
            return False
        return True

    await until(is_full)
    await until(records)
    answer = await client.recommend(user_id="ada", page_size=500)
    assert "item-42" not in {item.item_id for item in answer.items}


async def refused(client: AsyncTamisClient, number: int) -> str:
    with pytest.raises(RequestFailed) as caught:
        await client.record_events([event(number)])
    return str(caught.value)


async def test_killed(bundle: Path, durable: RedisServer) -> None:
    async with served(bundle, durable.url) as client:
        await client.record_events([event(1, "item-3")])
        durable.kill()
        assert await level(client) == POPULARITY
        assert "state store" in await refused(client, 2)
        durable.start()
        await recovered(client, 3)
        answer = await client.recommend(user_id="ada", page_size=500)
        assert "item-3" not in {item.item_id for item in answer.items}, "it was acknowledged"


async def test_hung(bundle: Path, durable: RedisServer) -> None:
    async with served(bundle, durable.url) as client:
        await client.record_events([event(1)])
        durable.pause()
        start = time.monotonic()
        assert await level(client) == POPULARITY
        assert "no answer within" in await refused(client, 2)
        assert time.monotonic() - start < 10, "within its deadline"
        durable.resume()
        await recovered(client, 3)


async def test_slow(bundle: Path, durable: RedisServer) -> None:
    with slow(durable.port, 0.0) as proxy:
        async with served(bundle, durable.url_of("", "", proxy.port)) as client:
            await client.record_events([event(1)])
            assert await level(client) == FULL
            proxy.delay_ms = 400
            assert await level(client) == POPULARITY
            proxy.delay_ms = 0
            await recovered(client, 2)


async def test_restarted_empty(bundle: Path, durable: RedisServer) -> None:
    async with served(bundle, durable.url) as client:
        await client.record_events([event(1, "item-3")])
        await client.set_availability({"item-5": False})
        durable.restart_empty()
        await recovered(client, 2)
        assert not (await client.get_items(["item-5"])).items[0].available

        async def given_back() -> bool:
            await asyncio.sleep(0.01)  # nobody tells
            return durable.control.exists("tamis:{catalogue}:last") == 1

        await until(given_back)
        async with served(bundle, durable.url) as other:
            assert not (await other.get_items(["item-5"])).items[0].available
        await client.set_availability({"item-5": True})
        assert (await client.get_items(["item-5"])).items[0].available


async def test_full(bundle: Path, tmp_path: Path) -> None:
    with redis_server(tmp_path, maxmemory="64mb") as redis:
        async with served(bundle, redis.url) as client:
            await client.record_events([event(1)])
            redis.control.config_set("maxmemory", "100kb")
            assert await level(client) == FULL, "what is stored is still read"
            assert "maxmemory" in await refused(client, 2)
            assert redis.control.config_set("maxmemory", "64mb")
            assert (await client.record_events([event(2)])).recorded_count == 1, "it was not before"
            await recovered(client, 3)


async def test_wrong_password(bundle: Path, tmp_path: Path) -> None:
    users = {"tamis": "on >right ~* &* +@all"}
    with redis_server(tmp_path, users=users) as redis:
        async with served(bundle, redis.url_of("tamis", "wrong")) as client:
            assert await level(client) == POPULARITY
            assert "wrong" not in (message := await refused(client, 1)), message
            status = await client.status()
            assert status.state_store.startswith("redis://tamis:***@")
            redis.control.execute_command("ACL", "SETUSER", "tamis", ">wrong")
            await recovered(client, 2)


async def test_an_acl_user_needs_no_more_than_the_docs_say(bundle: Path, tmp_path: Path) -> None:
    rules = (
        "on >secret ~tamis:* resetchannels -@all +mget +get +evalsha +eval +xread +zrevrange"
        " +hget +hscan +hdel +append +exists +getrange +hset +pexpire +pexpireat +sadd +set"
        " +setrange +sismember +strlen +xadd +zadd +zremrangebyrank +ping +select"
    )
    with redis_server(tmp_path, users={"tamis": rules}) as redis:
        async with served(bundle, redis.url_of("tamis", "secret")) as client:
            await client.set_availability({"item-5": False})
            await recovered(client, 1)


async def test_tls_with_an_authority_of_our_own(bundle: Path, tmp_path: Path) -> None:
    with tls_server(tmp_path) as redis:
        assert redis.options.tls is not None
        url = redis.url.partition("?")[0]
        state = {"url": url, "ca_file": redis.options.tls.authority, "timeout_s": 5}
        async with (
            running(bundle, {"state": state}) as server,
            AsyncTamisClient(server.target, timeout_s=10.0) as client,
        ):
            await recovered(client, 1)
        async with served(bundle, url) as client:  # which does not know the authority
            assert await level(client) == POPULARITY
            assert "certificate" in (await refused(client, 2)).lower()


async def test_a_read_only_replica_after_a_failover(bundle: Path, tmp_path: Path) -> None:
    for name in ("primary", "replica"):
        (tmp_path / name).mkdir()
    with (
        redis_server(tmp_path / "primary") as primary,
        redis_server(tmp_path / "replica") as other,
    ):
        async with served(bundle, primary.url) as client:
            await client.record_events([event(1)])
            primary.control.replicaof("127.0.0.1", str(other.port))
            assert await refused(client, 2)
            assert len((await client.recommend(user_id="ada", page_size=10)).items) == 10
            primary.control.replicaof("NO", "ONE")
            await recovered(client, 3)


async def test_unreachable_at_the_start(bundle: Path, durable: RedisServer) -> None:
    durable.stop()
    async with served(bundle, durable.url) as client:
        assert await level(client) == POPULARITY
        durable.start()
        await recovered(client, 1)
        await client.set_availability({"item-5": False})
        assert not (await client.get_items(["item-5"])).items[0].available


async def test_no_event_is_acknowledged_that_was_not_stored(
    bundle: Path, durable: RedisServer
) -> None:
    acknowledged: list[int] = []
    over = asyncio.Event()

    async with served(bundle, durable.url) as client:

        async def write(writer: int) -> None:
            number = writer
            while not over.is_set():
                number += 8
                try:
                    await client.record_events([event(number, f"item-{number % 300}")])
                except RequestFailed:
                    continue
                acknowledged.append(number)

        writers = [asyncio.create_task(write(writer)) for writer in range(8)]
        for _ in range(5):
            seen = len(acknowledged)

            async def written(seen: int = seen) -> bool:
                await asyncio.sleep(0.01)
                return len(acknowledged) > seen + 20

            await until(written)
            durable.kill()
            durable.start()
        over.set()
        await asyncio.gather(*writers)
        events = [event(number, f"item-{number % 300}") for number in acknowledged]
        again = await client.record_events(events)
    assert again.recorded_count == 0, "all of them are known"
    assert again.duplicate_count == len(acknowledged) > 100
