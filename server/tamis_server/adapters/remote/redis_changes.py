"""Changes of the catalogue in Redis: a hash of the last of each facet, and a stream to follow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tamis_server.adapters.remote.redis_connection import Connection, Script

_FORGET = Script.named("forget")
_PUBLISH = Script.named("publish")
_AT_ONCE = 10_000  # changes read at a time, and hash entries scanned
_FORGOTTEN = 1_000  # changes at a time: the script keeps others waiting


class RedisChanges:
    """Implements CatalogueStore.

    Keys, all in one slot: ``tamis:{catalogue}:last`` (hash), ``:changes`` (stream, ids are
    positions), ``:position``.
    """

    def __init__(self, connection: Connection, *, namespace: str, log_size: int) -> None:
        self._connection = connection
        self._log_size = log_size
        self._last, self._stream, self._position = (
            f"{namespace}:{{catalogue}}:{name}".encode() for name in ("last", "changes", "position")
        )

    async def publish(self, stored: Sequence[bytes]) -> int:
        keys = [self._last, self._stream, self._position]
        call = _PUBLISH.call(keys, [self._log_size, *stored])
        return int((await self._connection.run(_PUBLISH, [call]))[0])

    async def snapshot(self) -> tuple[int, list[bytes]]:
        # the position first: what is published in between is in both, which does no harm
        position = int(await self._connection.read("GET", self._position) or 0)
        found: dict[bytes, bytes] = {}
        cursor: Any = 0
        while True:
            scan = ("HSCAN", self._last, cursor, "COUNT", _AT_ONCE)
            (cursor, part), *_ = await self._connection.write([scan])
            found.update(part)
            if not int(cursor):
                return position, list(found.values())

    async def since(self, position: int) -> tuple[int, list[bytes]] | None:
        wait_ms = int(self._connection.block_s * 1e3)
        reply = await self._connection.listen(
            "XREAD", "COUNT", _AT_ONCE, "BLOCK", wait_ms, "STREAMS", self._stream,
            b"%d-1" % position,
        )  # fmt: skip
        if not reply:
            # a server that lost its data counts from the start again
            known = int(await self._connection.read("GET", self._position) or 0)
            return (position, []) if known == position else None
        entries = reply[0][1]
        first, last = (int(bytes(entries[at][0]).partition(b"-")[0]) for at in (0, -1))
        if first != position + 1:
            return None
        return last, [bytes(fields[b"c"]) for _, fields in entries]

    async def forget(self, stamps: Sequence[bytes]) -> None:
        for start in range(0, len(stamps), _FORGOTTEN):
            call = _FORGET.call([self._last], stamps[start : start + _FORGOTTEN])
            await self._connection.run(_FORGET, [call])
