"""Watches a server's memory and descriptors, and tells whether they grow."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from serving import Server

from scenarios.report import Series

_SETTLING = 0.5  # of a stretch between restarts: caches fill, and the first swaps cost memory
_LEAST_SAMPLES = 20
_BOTH_S = 3.0  # after a swap, as long as the bundle before it may still be there


@dataclass
class Watched:
    """Samples: seconds since the begin, MiB of memory, and what of it is no file, descriptors."""

    at_s: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)
    anonymous_mb: list[float] = field(default_factory=list)
    descriptors: list[float] = field(default_factory=list)

    def series(self) -> list[Series]:
        return [
            Series(plot=plot, name=name, unit=unit, at_s=tuple(self.at_s), values=tuple(values))
            for plot, name, unit, values in (
                ("Memory", "all processes", "MiB", self.memory_mb),
                ("Memory", "without pages of files", "MiB", self.anonymous_mb),
                ("Descriptors", "all processes", "open", self.descriptors),
            )
        ]


@contextmanager
def watching(under: Server, every_s: float) -> Iterator[Watched]:
    """Samples until the end of the block."""
    seen, over, begin = Watched(), threading.Event(), time.perf_counter()

    def sample() -> None:
        while True:
            seen.at_s.append(round(time.perf_counter() - begin, 3))
            seen.memory_mb.append(round(under.pss_mb(), 3))
            seen.anonymous_mb.append(round(under.anonymous_mb(), 3))
            seen.descriptors.append(under.descriptors())
            if over.wait(every_s):
                return

    thread = threading.Thread(target=sample, name="watch", daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def growth(
    at_s: Sequence[float],
    values: Sequence[float],
    restarts_s: Sequence[float],
    swaps_s: Sequence[float] = (),
) -> float | None:
    """How much a value grows per second, as the median of the slopes between any two samples
    (Theil-Sen). Only samples of one stretch are compared, as a restart begins anew, and the first
    half of a stretch is left out; and so are samples of a swap, while there are two bundles. None:
    too few.

    restarts_s, swaps_s: begin and end of each.
    """
    at, value = np.array(at_s), np.array(values)
    calm = np.ones(at.shape, np.bool_)
    for start, end in zip(swaps_s[::2], swaps_s[1::2], strict=True):
        calm &= (at < start) | (at > end + _BOTH_S)
    slopes = []
    bounds = [0.0, *restarts_s, float(at[-1]) + 1e-9]
    for start, end in zip(bounds[::2], bounds[1::2], strict=True):
        inside = calm & (at >= start + _SETTLING * (end - start)) & (at < end)
        if inside.sum() < _LEAST_SAMPLES:
            continue
        first, second = np.triu_indices(int(inside.sum()), k=1)
        rise = value[inside][second] - value[inside][first]
        slopes.append(rise / (at[inside][second] - at[inside][first]))
    return float(np.median(np.concatenate(slopes))) if slopes else None
