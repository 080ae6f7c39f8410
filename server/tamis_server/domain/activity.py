"""Item counters with exponential decay, stored so that they need no touch while time passes.

A counter with half-life h is ``sum(w_i * 2 ** ((t_i - now) / h))``. Stored is its forward form,
``log2(sum(w_i * 2 ** (t_i / h)))`` (Cormode et al., Forward Decay, ICDE 2009): it does not change
with time, grows by each event, and keeps the order of items; log2 keeps it within float64.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tamis_server.domain.candidates import Keys
from tamis_server.domain.context import EventKind
from tamis_server.domain.events import Events
from tamis_server.domain.ports import ItemCounters

Forward = npt.NDArray[np.float64]  # [n, 4]: log2 of views, purchases, trending; time of the latest
TRENDING = 2  # the column that items are ordered by

NEVER = np.full(4, -np.inf)
_WEIGHTS = {
    EventKind.VIEW: (1.0, 0.0, 1.0),
    EventKind.CLICK: (1.0, 0.0, 1.0),
    EventKind.ADD_TO_CART: (0.0, 0.0, 3.0),
    EventKind.LIKE: (0.0, 0.0, 3.0),
    EventKind.PURCHASE: (0.0, 1.0, 5.0),
}
with np.errstate(divide="ignore"):
    # by kind: what an event adds to views, purchases and trending
    _LOG_WEIGHTS = np.log2([_WEIGHTS.get(kind, (0.0, 0.0, 0.0)) for kind in EventKind])


@dataclass(frozen=True, slots=True)
class Decay:
    """half_life_s: after so many seconds an event counts half."""

    half_life_s: float

    def forward(self, events: Events, now: float) -> Forward:
        """What each event adds to its item; one from a clock ahead of ours counts as of now."""
        times = np.minimum(events.times, now)
        at = times[:, None] / self.half_life_s + _LOG_WEIGHTS[events.kinds]
        return np.column_stack([at, times])

    def counters(self, forward: Forward, now: float) -> ItemCounters:
        """Counters as they are ``now``."""
        views, purchases, trending, last = forward.T
        return ItemCounters(
            views=self.value(views, now),
            purchases=self.value(purchases, now),
            trending=self.value(trending, now),
            last=np.where(np.isneginf(last), np.nan, last),
        )

    def value(self, forward: npt.NDArray[np.float64], now: float) -> npt.NDArray[np.float64]:
        """Counters at ``now`` from their forward form."""
        return np.exp2(np.minimum(forward - now / self.half_life_s, 1000.0))


def decode(stored: Iterable[bytes | None]) -> Forward:
    """float64[n, 4]; never, where nothing is stored."""
    never = NEVER.tobytes()
    return np.frombuffer(b"".join(entry or never for entry in stored)).reshape(-1, 4)


def added(first: Forward, second: Forward) -> Forward:
    """The counters of two sets of events together."""
    return np.column_stack(
        [np.logaddexp2(first[:, :3], second[:, :3]), np.maximum(first[:, 3], second[:, 3])]
    )


def summed(items: Keys, forward: Forward) -> tuple[Keys, Forward]:
    """Several counters of an item together: the distinct ones of uint64[n], ascending, with one
    counter each."""
    order = np.argsort(items, kind="stable")
    keys, starts = np.unique(items[order], return_index=True)
    ordered = forward[order]
    counts, times = ordered[:, :3], ordered[:, 3]
    return keys, np.column_stack(
        [np.logaddexp2.reduceat(counts, starts), np.maximum.reduceat(times, starts)]
    )
