"""What stays in memory, and what is to leave it."""

from __future__ import annotations

import ctypes
import gc

import pyarrow as pa

_M_ARENA_MAX = -8  # of glibc's <malloc.h>


def one_arena() -> None:
    """The C library allocates for all threads in one place from now on (glibc; elsewhere as it
    does). In its default of several arenas each thread that loads a bundle leaves holes in another
    one, and a process grows with every swap; requests are answered as fast by one."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


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
