"""A Redis server or cluster as the stores want it: typed failures, time-outs, one round trip."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError

from tamis_server.domain.errors import DependencyFailed, StateRejected
from tamis_server.domain.redaction import redacted

Command = tuple[str | bytes | int | float, ...]
_PIPELINED = 500  # commands in one write: a reply of any size fits the time-out


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script beside this module."""

    text: str
    digest: str

    @classmethod
    def named(cls, name: str) -> Script:
        text = (files(__package__) / "scripts" / f"{name}.lua").read_text("utf-8")
        return cls(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())

    def call(
        self, keys: Sequence[bytes], arguments: Sequence[str | bytes | int | float]
    ) -> Command:
        return ("EVALSHA", self.digest, len(keys), *keys, *arguments)

    def whole(self, command: Command) -> Command:
        """The same call for a server that does not have the script yet."""
        return ("EVAL", self.text, *command[2:])


class Connection:
    """Sends commands; reconnects by itself. Every failure is a DependencyFailed.

    url: redis://, rediss:// (TLS), redis+cluster:// or rediss+cluster://, with user and password
    where the server wants them; connections: at most, beside that of a single listener. Writes must
    be safe to repeat: a broken connection is tried again.
    """

    def __init__(
        self,
        url: str,
        *,
        read_timeout_s: float,
        write_timeout_s: float,
        connections: int,
        ca_file: Path | None,
    ) -> None:
        scheme, _, rest = url.partition("://")
        options: dict[str, Any] = {
            "protocol": 2,
            "socket_timeout": write_timeout_s,
            "socket_connect_timeout": write_timeout_s,
            "socket_keepalive": True,
            "max_connections": connections + 1,  # one is for who listens
            "retry": Retry(NoBackoff(), 1, (RedisConnectionError,)),
        }
        if scheme.startswith("rediss") and ca_file is not None:
            options["ssl_ca_certs"] = str(ca_file)
        # who finds all connections busy waits, which counts against the time-out
        self._free = asyncio.Semaphore(connections)
        self._known, self._learning = False, asyncio.Lock()
        self._read_timeout_s = read_timeout_s
        self._write_timeout_s = write_timeout_s
        self._client: Redis | RedisCluster
        try:
            if scheme.endswith("+cluster"):
                kind = scheme.removesuffix("+cluster")
                self._client = RedisCluster.from_url(f"{kind}://{rest}", **options)
            else:
                self._client = Redis.from_url(url, **options)
        except (ValueError, RedisError) as error:
            raise StateRejected(redacted(url), str(error)) from None

    async def read(self, *command: str | bytes | int | float) -> Any:
        """The reply to one command. Raises DependencyFailed."""
        return (await self.read_many([command]))[0]

    async def read_many(self, commands: Sequence[Command]) -> list[Any]:
        """The replies, in one round trip to each server. Raises DependencyFailed."""
        return await self._within(self._read_timeout_s, commands)

    async def write(self, commands: Sequence[Command]) -> list[Any]:
        """The replies; commands may be done twice. Raises DependencyFailed."""
        return await self._within(self._write_timeout_s, commands)

    async def run(self, script: Script, calls: Sequence[Command]) -> list[Any]:
        """The results of calls of ``script``, loading it where it is missing."""
        results = await self._within(self._write_timeout_s, calls, NoScriptError)
        missing = [at for at, found in enumerate(results) if isinstance(found, NoScriptError)]
        again = [script.whole(calls[at]) for at in missing]
        for at, found in zip(missing, await self.write(again), strict=True):
            results[at] = found
        return results

    @property
    def block_s(self) -> float:
        """How long a command may block: connections don't wait for answers much longer."""
        return min(1.0, self._write_timeout_s / 2)

    async def listen(self, *command: str | bytes | int) -> Any:
        """The reply to a command that may block for ``block_s``. Raises DependencyFailed."""
        timeout_s = self.block_s + self._write_timeout_s
        return await self._guarded(timeout_s, lambda: self._client.execute_command(*command))

    async def close(self) -> None:
        await self._client.aclose()

    async def _within(
        self,
        timeout_s: float,
        commands: Sequence[Command],
        expected: type[RedisError] | None = None,
    ) -> list[Any]:
        results: list[Any] = []
        for start in range(0, len(commands), _PIPELINED):
            part = commands[start : start + _PIPELINED]
            results += await self._guarded(timeout_s, partial(self._send, part))
        for found in results:
            if isinstance(found, Exception) and not (expected and isinstance(found, expected)):
                await self._failed(found)
        return results

    async def _send(self, commands: Sequence[Command]) -> list[Any]:
        if len(commands) == 1 or isinstance(self._client, RedisCluster):
            work = (self._send_one(command) for command in commands)
            return list(await asyncio.gather(*work, return_exceptions=True))
        async with self._free, self._client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            return list(await pipeline.execute(raise_on_error=False))

    async def _send_one(self, command: Command) -> Any:
        async with self._free:
            if not self._known:
                await self._learn()
            return await self._client.execute_command(*command)

    async def _learn(self) -> None:
        """Ask a cluster for its nodes, once: asked by many at once, redis-py closes connections
        that others of them use."""
        async with self._learning:
            if not self._known and isinstance(self._client, RedisCluster):
                await self._client.initialize()
            self._known = True

    async def _guarded(self, timeout_s: float, work: Callable[[], Awaitable[Any]]) -> Any:
        try:
            async with asyncio.timeout(timeout_s):
                return await work()
        except TimeoutError as error:
            reason = f"no answer within {timeout_s * 1e3:.0f} ms"
            raise DependencyFailed("state store", reason) from error
        except (RedisError, OSError) as error:
            return await self._failed(error)

    async def _failed(self, error: Exception) -> None:
        if isinstance(error, ReadOnlyError) and isinstance(self._client, Redis):
            # a primary that became a replica: the name may lead to another one by now
            await self._client.connection_pool.disconnect()
        if not isinstance(error, RedisError | OSError):
            raise error
        raise DependencyFailed("state store", str(error) or type(error).__name__) from error
