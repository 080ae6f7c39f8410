"""What stays in memory, and what is to leave it."""

from __future__ import annotations

import ctypes
import gc

import pyarrow as pa


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
