"""Vectors under the hash of what they are vectors of, so that nothing is encoded twice."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tamis_pipeline.dataset import DatasetRejected

Float32 = npt.NDArray[np.float32]
_MOST_ASKED = 500  # below what SQLite takes of parameters in one statement
_BROKEN = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
_DISK = {sqlite3.SQLITE_FULL: errno.ENOSPC, sqlite3.SQLITE_IOERR: errno.EIO}


class VectorCache:
    """One SQLite file. What was put is there after the process was killed."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[VectorCache]:
        """Raises DatasetRejected where ``path`` is no such file or another run has it open, OSError
        where the disk is full or fails: what was put before stays."""
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=0)
        try:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL)"
            )
            connection.commit()
            yield cls(connection)
        except sqlite3.DatabaseError as error:
            code = error.sqlite_errorcode & 0xFF  # above it: which of its kind
            if code in _DISK:
                raise OSError(_DISK[code], str(error), str(path)) from None
            advice = "; delete it to encode all again" if code in _BROKEN else ""
            raise DatasetRejected(f"{path}: {error}{advice}") from None
        finally:
            connection.close()

    def known(self, keys: Iterable[bytes]) -> set[bytes]:
        return {key for key, _ in self._rows(keys)}

    def put(self, keys: Iterable[bytes], vectors: Float32) -> None:
        """On disk when it returns."""
        rows = [(key, row.tobytes()) for key, row in zip(keys, vectors, strict=True)]
        self._connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)
        self._connection.commit()

    def vectors(self, keys: list[bytes | None], dim: int) -> Float32:
        """float32[keys, dim]; a zero row for None and for what is not known."""
        found = np.zeros((len(keys), dim), np.float32)
        by_key = dict(self._rows(key for key in keys if key is not None))
        for row, key in enumerate(keys):
            if key in by_key:
                found[row] = np.frombuffer(by_key[key], np.float32)
        return found

    def keep_only(self, keys: Iterable[bytes]) -> None:
        """Forget what the catalogue no longer has."""
        self._connection.execute("CREATE TEMP TABLE kept (key BLOB PRIMARY KEY)")
        self._connection.executemany(
            "INSERT OR IGNORE INTO kept VALUES (?)", ((key,) for key in keys)
        )
        self._connection.execute("DELETE FROM vectors WHERE key NOT IN (SELECT key FROM kept)")
        self._connection.execute("DROP TABLE kept")
        self._connection.commit()

    def _rows(self, keys: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
        asked = list(dict.fromkeys(keys))
        for start in range(0, len(asked), _MOST_ASKED):
            part = asked[start : start + _MOST_ASKED]
            marks = ",".join("?" * len(part))
            yield from self._connection.execute(
                f"SELECT key, vector FROM vectors WHERE key IN ({marks})",  # noqa: S608 only ?s
                part,
            )
