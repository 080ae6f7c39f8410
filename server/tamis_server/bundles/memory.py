"""What stays in memory, and what is to leave it."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_PIECE = 2 << 20  # bytes; of a million items a column is read in pieces of 3 MB
_LARGE = 32 << 20


@contextmanager
def returned_at_once() -> Iterator[None]:
    """What is large and ends meanwhile goes back to the system, with glibc; elsewhere as it comes.

    Otherwise up to 64 MiB stay with each thread that took them, where `malloc_trim` does not reach
    and of forked processes each has to give them back.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        yield
        return
    mallopt(_MMAP_THRESHOLD, _PIECE)
    try:
        yield
    finally:
        # as glibc sets them by itself once something as large was freed; told once, it no more does
        mallopt(_MMAP_THRESHOLD, _LARGE)
        mallopt(_TRIM_THRESHOLD, 2 * _LARGE)


def keep() -> None:
    """Python's collector never looks again at what there is now: looking takes 0.1 s, and writes to
    pages that forked processes would share. What ends later is still freed by its last reference.
    """
    gc.collect()
    gc.freeze()


def give_back() -> None:
    """Return free pages, which Arrow and the C library (glibc's `malloc_trim`; elsewhere nothing)
    keep, to the system. Takes milliseconds, without the interpreter's lock."""
    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))
