"""Objects laid out once in memory that several processes map: pickled (protocol 5, PEP 574), and
the bytes of their arrays beside."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]
_LINE = 64  # arrays keep their places within a cache line
_WORD = 8
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK
_POPULATE_READ = 22  # of madvise, since Linux 5.14


class Segment:
    """Memory that is no file's, and gone when nobody holds it: who made it, or has read it."""

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("tamis", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)

    @property
    def path(self) -> Path:
        """Where other processes of this user find it, while it is open here."""
        return Path(f"/proc/{os.getpid()}/fd/{self.descriptor}")

    def close(self) -> None:
        os.close(self.descriptor)


def write(descriptor: int, make: Callable[[], object]) -> None:
    """What ``make`` returns, into an empty segment, which nobody can change any more then.

    Arrays that share memory do so when they are read. What was made is given up array by array, so
    that there is never much more of it than one.
    """
    buffers: list[pickle.PickleBuffer] = []
    graph = pickle.dumps(make(), protocol=5, buffer_callback=buffers.append)
    parts = [buffer.raw() for buffer in buffers]
    del buffers
    places, size, apart = _layout(parts)
    sizes = [part.nbytes for part in parts]
    head = pickle.dumps((graph, places.tolist(), sizes))
    begin = _aligned(_WORD + len(head))
    os.ftruncate(descriptor, begin + size)
    with mmap.mmap(descriptor, begin + size) as memory:
        _advise(memory, mmap.MADV_HUGEPAGE)
        memory[: _WORD + len(head)] = len(head).to_bytes(_WORD, "little") + head
        for index in apart:
            place = begin + int(places[index])
            memory[place : place + sizes[index]] = parts[index]
            parts[index] = memoryview(b"")
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)


def read(path: Path) -> Any:
    """What was written. Its arrays are of the segment's memory, as far as they aren't changed:
    changes are this process's own. Raises OSError.
    """
    with path.open("rb") as file:
        memory = mmap.mmap(
            file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE
        )
    _advise(memory, mmap.MADV_HUGEPAGE)
    _advise(memory, _POPULATE_READ)  # now, not page by page under requests
    view = memoryview(memory)
    length = int.from_bytes(view[:_WORD], "little")
    graph, places, sizes = pickle.loads(view[_WORD : _WORD + length])  # noqa: S301 ours
    begin = _aligned(_WORD + length)
    parts = [
        view[begin + place : begin + place + size]
        for place, size in zip(places, sizes, strict=True)
    ]
    return pickle.loads(graph, buffers=parts)  # noqa: S301 ours


def _layout(parts: Sequence[memoryview]) -> tuple[Int64, int, list[int]]:
    """A place for each part, overlapping where they do; how much they take; and those that no other
    one holds."""
    starts = np.array([np.frombuffer(part, np.uint8).ctypes.data for part in parts], np.int64)
    sizes = np.array([part.nbytes for part in parts], np.int64)
    places, apart = np.zeros_like(starts), []
    end = moved = filled = 0
    for index in np.lexsort((-sizes, starts)).tolist():
        start, size = int(starts[index]), int(sizes[index])
        if not size:
            continue
        if start >= end:
            moved = _aligned(filled) + start % _LINE - start
        places[index] = start + moved
        if start + size > end:
            end = start + size
            filled = end + moved
            apart.append(index)
    return places, filled, apart


def _aligned(place: int) -> int:
    return -(-place // _LINE) * _LINE


def _advise(memory: mmap.mmap, how: int) -> None:
    """How to map it, without the interpreter's lock. Where that can't be it is only slower."""
    address = np.frombuffer(memory, np.uint8).ctypes.data
    ctypes.CDLL(None).madvise(ctypes.c_void_p(address), ctypes.c_size_t(len(memory)), how)
