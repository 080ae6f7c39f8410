"""Changes of the catalogue in LMDB: the last of each facet of each item, and a log to follow."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence

from tamis_server.adapters.embedded.lmdb_environment import Environment, Read, Write
from tamis_server.batching.batcher import MicroBatcher
from tamis_server.domain.changes import ended, facet

_POSITION = struct.Struct(">Q")
_POLL_S = 0.005  # far below the 100 ms in which a change is promised to be seen
_WAIT_S = 1.0


class LmdbChanges:
    """Implements CatalogueStore.

    Databases: ``catalogue`` holds under each facet the last change; ``changes`` the change at
    each position, the last ``log_size`` of them. Other processes' commits are seen by polling the
    number of the last transaction, which is a read of mapped memory.
    """

    def __init__(self, environment: Environment, *, log_size: int) -> None:
        self._environment = environment
        self._log_size = log_size
        self._writer: MicroBatcher[Sequence[bytes], int] = MicroBatcher("state store", self._commit)

    async def publish(self, stored: Sequence[bytes]) -> int:
        return await self._writer.submit(stored)

    async def snapshot(self) -> tuple[int, list[bytes]]:
        return await asyncio.to_thread(self._snapshot)

    async def since(self, position: int) -> tuple[int, list[bytes]] | None:
        waited, transaction = 0.0, -1
        while waited < _WAIT_S:
            last = self._environment.last_transaction()
            if last != transaction:
                transaction = last
                found = self._after(position)
                if found is None or found[1]:
                    return found
            await asyncio.sleep(_POLL_S)
            waited += _POLL_S
        return position, []

    async def forget(self, stamps: Sequence[bytes]) -> None:
        def work(write: Write) -> None:
            for stamp in stamps:
                last = write.get("catalogue", facet(stamp))
                if last is not None and last.startswith(stamp):
                    write.delete("catalogue", facet(stamp))

        await asyncio.to_thread(self._environment.write, work)

    def close(self) -> None:
        self._writer.close()

    def _commit(self, batches: Sequence[Sequence[bytes]]) -> list[int]:
        def work(write: Write) -> list[int]:
            last = write.last_key("changes")
            position = _POSITION.unpack(last)[0] if last else 0
            positions = []
            for batch in batches:
                for stored in batch:
                    position += 1
                    write.put("changes", _POSITION.pack(position), stored)
                    write.put("catalogue", facet(stored), stored)
                    if (over := ended(stored)) is not None:
                        write.delete("catalogue", over)
                positions.append(position)
            kept = _POSITION.pack(max(0, position - self._log_size + 1))
            for key in write.below("changes", kept, 2 * sum(map(len, batches)) + 2):
                write.delete("changes", key)
            return positions

        return self._environment.write(work)

    def _snapshot(self) -> tuple[int, list[bytes]]:
        # the log first: what is published in between is in both, which does no harm
        with self._environment.reading("changes") as changes:
            position = _last(changes)
        with self._environment.reading("catalogue") as catalogue:
            return position, list(catalogue.values())

    def _after(self, position: int) -> tuple[int, list[bytes]] | None:
        with self._environment.reading("changes") as changes:
            last = _last(changes)
            if last <= position:
                return (position, []) if last == position else None
            stored = [value for _, value in changes.from_key(_POSITION.pack(position + 1))]
            return (last, stored) if stored else None


def _last(changes: Read) -> int:
    key = next(changes.backwards(), None)
    return int.from_bytes(key, "big") if key else 0
