"""Whether an LMDB file has all the pages that are in use, without mapping it.

LMDB maps its file, and a page that the file lacks is a SIGBUS once it is met. But a file that is
shorter than its last page says is not always truncated: pages that a transaction took at the end
and gave back before its commit are never written. They are in the list of free pages, a tree of
its own, which is read here. The format: mdb.c of LMDB 0.9 (MDB_meta, MDB_page, MDB_node, FREE_DBI).
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path

from tamis_server.domain.errors import StateRejected

_MAGIC = 0xBEEFC0DE
_META = struct.Struct("<16x I I 8x 8x IHHQQQQQ 48x QQ")  # dbs[0] is that of free pages
_PAGE = struct.Struct("<8x H H H H")  # pad, flags, lower, upper
_NODE = struct.Struct(
    "<HHHH"
)  # low and high half of a size, or thirds of a page number; flags, key
_WORD = struct.Struct("<Q")
_BRANCH, _LEAF = 0x01, 0x02
_ELSEWHERE = 0x01  # a node whose data has pages of its own
_NO_PAGE = (1 << 64) - 1
_TRIES = 20  # while others write, what is read may be of two commits


@dataclass(frozen=True, slots=True)
class _Commit:
    """The last one: its number, the last page, and the root of the tree of free pages."""

    number: int
    last: int
    free: int


def check(path: Path) -> None:
    """Raises StateRejected where the file is none of LMDB's, damaged, or lacks pages in use."""
    try:
        with path.open("rb") as file:
            _check(path, file.fileno())
    except FileNotFoundError:
        return
    except OSError as error:
        raise StateRejected(str(path), error.strerror or str(error)) from None


def _check(path: Path, file: int) -> None:
    page = _page_size(path, file)
    commit = _last_commit(path, file, page)
    for _ in range(_TRIES):
        # after the pages that say it: a commit makes the file longer first
        size = os.fstat(file).st_size
        lacking = set(range(size // page, commit.last + 1))
        try:
            if not lacking or lacking <= _free(file, page, commit.free):
                return
        except (ValueError, struct.error):  # of no such page
            pass
        before, commit = commit, _last_commit(path, file, page)
        if commit == before:
            break
    needed = (commit.last + 1) * page
    raise StateRejected(
        str(path), f"is truncated: {size} bytes where {needed} are in use; restore a copy"
    )


def _page_size(path: Path, file: int) -> int:
    first = os.pread(file, _META.size, 0)
    if len(first) < _META.size or _META.unpack(first)[0] != _MAGIC:
        raise StateRejected(str(path), "is no LMDB file, or its first page is damaged")
    size: int = _META.unpack(first)[2]
    if size < 512 or size & (size - 1) or size > 65_536:
        raise StateRejected(str(path), "its first page is damaged")
    return size


def _last_commit(path: Path, file: int, page: int) -> _Commit:
    found = []
    for number in range(2):
        meta = os.pread(file, page, number * page)
        if len(meta) < page or _META.unpack_from(meta)[0] != _MAGIC:
            raise StateRejected(str(path), "one of its two meta pages is damaged")
        *_, free, last, commit = _META.unpack_from(meta)
        found.append(_Commit(commit, last, free))
    return max(found, key=lambda each: each.number)


def _free(file: int, size: int, root: int) -> set[int]:
    """Raises ValueError and struct.error where the tree is none."""
    free: set[int] = set()
    waiting, seen = [] if root == _NO_PAGE else [root], set[int]()
    while waiting:
        number = waiting.pop()
        if number in seen:
            raise ValueError(f"page {number} is in the tree twice")
        seen.add(number)
        page = _read(file, number * size, size)
        _, flags, lower, _ = _PAGE.unpack_from(page)
        for place in struct.unpack_from(f"<{(lower - _PAGE.size) // 2}H", page, _PAGE.size):
            low, high, of, key = _NODE.unpack_from(page, place)
            data = place + _NODE.size + key
            if flags & _BRANCH:
                waiting.append(low | high << 16 | of << 32)
            elif flags & _LEAF:
                bytes_ = low | high << 16
                if of & _ELSEWHERE:
                    (first,) = _WORD.unpack_from(page, data)
                    free.update(_numbers(_read(file, first * size + _PAGE.size, bytes_), 0))
                else:
                    free.update(_numbers(page, data))
            else:
                raise ValueError(f"page {number} is of no tree")
    return free


def _numbers(data: bytes, place: int) -> tuple[int, ...]:
    """Behind their count."""
    (count,) = _WORD.unpack_from(data, place)
    return struct.unpack_from(f"<{count}Q", data, place + _WORD.size)


def _read(file: int, place: int, size: int) -> bytes:
    if place + size > os.fstat(file).st_size:
        raise ValueError("the tree has pages that the file lacks")
    return os.pread(file, size, place)
