"""An LMDB environment as the stores want it: typed failures, a map that grows, syncs by policy."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice, takewhile
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import lmdb

from tamis_server.adapters.embedded.lmdb_file import check
from tamis_server.domain.errors import DependencyFailed, StateRejected

T = TypeVar("T")
Fsync = Literal["commit", "interval", "never"]
FORMAT = b"tamis-state 2"
DATABASES = ("users", "expiry", "activity", "catalogue", "changes")
_DATA = "data.mdb"
_META = b"meta"
_LOOK_S = 60.0  # how often readers that were killed are looked for
_LITTLE = 1 << 20  # with fewer bytes free a commit fails, whatever LMDB calls it
log = logging.getLogger(__name__)


class Environment:
    """One directory of state, shared by all processes of a machine that open it.

    fsync: ``commit`` makes every commit durable before it returns. ``interval`` leaves out the page
    that says which commit is the last: the machine's death may cost the last commit, for at most
    ``interval_s``. With ``never`` the kernel writes pages in any order, and it may cost all. The
    death of the process costs nothing. Writes are one at a time, across processes too.
    """

    def __init__(self, directory: Path, *, fsync: Fsync, interval_s: float, map_bytes: int) -> None:
        self.directory = directory
        self._open = True
        # the map may be resized neither under a writer of this process nor under a reader;
        # who needs both locks takes ``_writing`` first
        self._writing = threading.Lock()
        self._resizing = threading.Lock()
        if directory.exists() and not directory.is_dir():
            raise StateRejected(str(directory), "is not a directory")
        try:
            directory.mkdir(parents=True, exist_ok=True)
            with _alone(directory):
                check(directory / _DATA)
                size = _file_size(directory)
                self._env = lmdb.open(
                    str(directory),
                    map_size=max(map_bytes, size + (size >> 1)),
                    max_dbs=len(DATABASES) + 1,
                    max_readers=1024,
                    max_spare_txns=4,
                    sync=fsync != "never",
                    metasync=fsync == "commit",
                    readahead=False,
                )
        except (lmdb.Error, OSError) as error:
            raise StateRejected(str(directory), _said(error)) from None
        try:
            self._drop_dead_readers()
            self._check_format()
            with self._env.begin(write=True) as txn:
                self._databases = {
                    name: self._env.open_db(name.encode(), txn=txn) for name in DATABASES
                }
        except lmdb.Error as error:
            self._env.close()
            raise StateRejected(str(directory), _said(error)) from None
        except StateRejected:
            self._env.close()
            raise
        if fsync == "never":
            log.warning(
                "state.fsync is never: if the machine dies, all of %s may be lost", directory
            )
        self._closing = threading.Event()
        self._syncing: threading.Thread | None = None
        if fsync == "interval":
            self._syncing = threading.Thread(
                target=self._sync_every, args=(interval_s,), name="state sync", daemon=True
            )
            self._syncing.start()

    @contextmanager
    def reading(self, database: str) -> Iterator[Read]:
        """A snapshot of one database. Raises DependencyFailed."""
        with self._resizing:
            try:
                txn = self._begin()
            except lmdb.Error as error:
                raise self._failed(error) from None
            try:
                yield Read(txn, self._databases[database])
            except lmdb.Error as error:
                raise self._failed(error) from None
            finally:
                txn.abort()

    def get(self, database: str, key: bytes) -> bytes | None:
        """One value, as ``reading`` would find it. Raises DependencyFailed."""
        try:
            with self._resizing, self._begin() as txn:
                return cast("bytes | None", txn.get(key, None, self._databases[database]))
        except lmdb.Error as error:
            raise self._failed(error) from None

    def write(self, work: Callable[[Write], T]) -> T:
        """Run ``work`` in one transaction and commit it. Blocks; ``work`` may run again.

        Raises DependencyFailed, and then nothing of it is stored.
        """
        with self._writing:
            try:
                while True:
                    try:
                        if time.monotonic() >= self._looked + _LOOK_S:
                            self._drop_dead_readers()
                        with self._env.begin(write=True) as txn:
                            return work(Write(txn, self._databases))
                    except lmdb.MapFullError:
                        if not self._drop_dead_readers():
                            self._grow()
                    except lmdb.MapResizedError:  # another process grew it
                        self._resize(0)
            except (lmdb.Error, OSError) as error:
                raise self._failed(error) from None

    def last_transaction(self) -> int:
        """The number of the last commit, by whatever process: cheap enough to poll.

        Raises DependencyFailed.
        """
        try:
            return self._info("last_txnid")
        except lmdb.Error as error:
            raise self._failed(error) from None

    def close(self) -> None:
        """Make all durable and close; closing again does nothing."""
        self._closing.set()
        if self._syncing is not None:
            self._syncing.join()
        with self._writing, self._resizing:
            if self._open:
                self._open = False
                try:
                    self._env.sync(True)
                finally:
                    self._env.close()

    def _failed(self, error: Exception) -> DependencyFailed:
        said = _said(error)
        if shutil.disk_usage(self.directory).free < _LITTLE:
            said += f" (no space left on the disk of {self.directory})"
        return DependencyFailed("state store", said)

    def _begin(self) -> lmdb.Transaction:
        """A reader, to be begun and ended with ``_resizing`` held."""
        while True:
            try:
                return self._env.begin()
            except lmdb.MapResizedError:  # another process grew it
                self._resizing.release()
                try:
                    with self._writing:
                        self._resize(0)
                finally:
                    self._resizing.acquire()

    def _info(self, name: Literal["last_txnid", "map_size"]) -> int:
        with self._resizing:
            return int(self._env.info()[name])

    def _sync_every(self, interval_s: float) -> None:
        synced = 0
        while not self._closing.wait(interval_s):
            try:
                last = self._info("last_txnid")
                if last != synced:
                    with self._writing:
                        self._env.sync(True)
                    synced = last
            except lmdb.Error as error:
                log.error("state can't be synced: %s", self._failed(error))

    def _drop_dead_readers(self) -> int:
        """A process that is killed while it reads holds what it read, and all that came after it,
        until its place in the table of readers is taken back; how many there were."""
        self._looked = time.monotonic()
        return self._env.reader_check()

    def _grow(self) -> None:
        size = 2 * self._info("map_size")
        self._resize(size)
        log.info("state map grown", extra={"bytes": size})

    def _resize(self, size: int) -> None:
        """0: to what another process made it. With ``_writing`` held."""
        with self._resizing:
            self._env.set_mapsize(size)

    def _check_format(self) -> None:
        with self._env.begin(write=True) as txn:
            names = [bytes(name) for name, _ in txn.cursor()]
            meta = self._env.open_db(_META, txn=txn)
            found = txn.get(b"format", db=meta)
            if found is None and not names:
                txn.put(b"format", FORMAT, db=meta)
            elif found != FORMAT:
                txn.abort()
                what = "holds another program's data" if found is None else f"has format {found!r}"
                raise StateRejected(str(self.directory), f"{what}; {FORMAT!r} is needed")


class Read:
    """One database, as a transaction sees it."""

    def __init__(self, txn: lmdb.Transaction, database: Any) -> None:
        self._txn = txn
        self._database = database

    def get(self, key: bytes) -> bytes | None:
        return cast("bytes | None", self._txn.get(key, None, self._database))

    def under(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Keys that begin so, with their values."""
        with self._txn.cursor(self._database) as cursor:
            if cursor.set_range(prefix):
                for key, value in cast("Iterator[tuple[bytes, bytes]]", iter(cursor)):
                    if not key.startswith(prefix):
                        return
                    yield key, value

    def from_key(self, key: bytes) -> Iterator[tuple[bytes, bytes]]:
        """This key and all behind it; nothing where it is not there."""
        with self._txn.cursor(self._database) as cursor:
            if cursor.set_key(key):
                yield from cast("Iterator[tuple[bytes, bytes]]", iter(cursor))

    def backwards(self) -> Iterator[bytes]:
        """Keys, the last first."""
        with self._txn.cursor(self._database) as cursor:
            if cursor.last():
                yield from cast("Iterator[bytes]", cursor.iterprev(values=False))

    def values(self) -> Iterator[bytes]:
        with self._txn.cursor(self._database) as cursor:
            yield from cast("Iterator[bytes]", cursor.iternext(keys=False))


class Write:
    """A write transaction over the databases."""

    def __init__(self, txn: lmdb.Transaction, databases: Mapping[str, Any]) -> None:
        self._txn = txn
        self._databases = databases

    def reading(self, database: str) -> Read:
        return Read(self._txn, self._databases[database])

    def get(self, database: str, key: bytes) -> bytes | None:
        return self.reading(database).get(key)

    def get_all(self, database: str, keys: Sequence[bytes]) -> list[bytes | None]:
        get, place = self._txn.get, self._databases[database]
        return cast("list[bytes | None]", [get(key, None, place) for key in keys])

    def put_all(self, database: str, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Keys with their values, cheapest in the order of keys."""
        with self._txn.cursor(self._databases[database]) as cursor:
            cursor.putmulti(pairs)

    def put(self, database: str, key: bytes, value: bytes) -> None:
        self._txn.put(key, value, db=self._databases[database])

    def delete(self, database: str, key: bytes) -> None:
        self._txn.delete(key, db=self._databases[database])

    def delete_prefix(self, database: str, prefix: bytes) -> None:
        with self._txn.cursor(self._databases[database]) as cursor:
            found = cursor.set_range(prefix)
            while found and bytes(cursor.key()).startswith(prefix):
                found = cursor.delete()

    def below(self, database: str, end: bytes, most: int) -> list[bytes]:
        """The first keys, in order, as far as they lie before ``end``."""
        with self._txn.cursor(self._databases[database]) as cursor:
            keys = cast("Iterator[bytes]", cursor.iternext(values=False))
            return list(islice(takewhile(lambda key: key < end, keys), most))

    def last_key(self, database: str) -> bytes | None:
        with self._txn.cursor(self._databases[database]) as cursor:
            return bytes(cursor.key()) if cursor.last() else None


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """One process at a time: a file that another is just creating looks damaged."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _file_size(directory: Path) -> int:
    try:
        return (directory / _DATA).stat().st_size
    except FileNotFoundError:
        return 0


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
