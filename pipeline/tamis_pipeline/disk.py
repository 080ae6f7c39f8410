"""Commands that write, on a disk that does not take it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console


@contextmanager
def telling() -> Iterator[None]:
    """A disk that is full or can't be written is no fault of the program: one line, status 1."""
    try:
        yield
    except OSError as error:
        message = f"tamis: {error}; what was there before has not been touched"
        Console(stderr=True).print(message, markup=False, soft_wrap=True)
        sys.exit(1)
