"""Memory that was freed, and is kept by the C library for ourselves."""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Return free pages of the heap to the system (glibc's `malloc_trim`; elsewhere nothing). Takes
    milliseconds, without the interpreter's lock."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))
