"""Item counters with exponential decay, stored so that they need no touch while time passes.

A counter with half-life h is ``sum(w_i * 2 ** ((t_i - now) / h))``. Stored is its forward form,
``log2(sum(w_i * 2 ** (t_i / h)))`` (Cormode et al., Forward Decay, ICDE 2009): it does not change
with time, grows by each event, and keeps the order of items; log2 keeps it within float64.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tamis_server.domain.context import Event, EventKind
from tamis_server.domain.ports import ItemCounters

COUNTER = struct.Struct("<dddd")  # forward log2 of views, purchases, trending; time of the latest
NEVER = (-math.inf, -math.inf, -math.inf, -math.inf)
_WEIGHTS = {
    EventKind.VIEW: 1.0,
    EventKind.CLICK: 1.0,
    EventKind.ADD_TO_CART: 3.0,
    EventKind.LIKE: 3.0,
    EventKind.PURCHASE: 5.0,
}
Counter = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Decay:
    """half_life_s: after so many seconds an event counts half."""

    half_life_s: float

    def forward(self, event: Event, now: float) -> Counter:
        """What one event adds; one from a clock ahead of ours counts as of now."""
        time = min(event.time, now)
        at, weight = time / self.half_life_s, _WEIGHTS.get(event.kind, 0.0)
        return (
            at if event.kind in (EventKind.VIEW, EventKind.CLICK) else -math.inf,
            at if event.kind is EventKind.PURCHASE else -math.inf,
            at + math.log2(weight) if weight else -math.inf,
            time,
        )

    def decode(self, stored: Iterable[bytes | None], now: float) -> ItemCounters:
        """The counters of items as they are ``now``; None where nothing is stored."""
        never = COUNTER.pack(*NEVER)
        table = np.frombuffer(b"".join(entry or never for entry in stored), np.float64)
        views, purchases, trending, last = table.reshape(-1, 4).T
        return ItemCounters(
            views=self.value(views, now),
            purchases=self.value(purchases, now),
            trending=self.value(trending, now),
            last=np.where(np.isneginf(last), np.nan, last),
        )

    def value(
        self, forward: np.ndarray[tuple[int], np.dtype[np.float64]], now: float
    ) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Counters at ``now`` from their forward form."""
        return np.exp2(np.minimum(forward - now / self.half_life_s, 1000.0))


def add(first: Counter, second: Counter) -> Counter:
    """The counter of two sets of events together."""
    return (
        _log2_sum(first[0], second[0]),
        _log2_sum(first[1], second[1]),
        _log2_sum(first[2], second[2]),
        max(first[3], second[3]),
    )


def _log2_sum(first: float, second: float) -> float:
    """log2(2 ** first + 2 ** second)."""
    high, low = (first, second) if first > second else (second, first)
    if low == -math.inf:
        return high
    return high + math.log2(1.0 + 2.0 ** (low - high))
