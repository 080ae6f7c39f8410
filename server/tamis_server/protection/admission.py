"""Admission control: a request is refused at the door rather than answered too late.

The limit of requests at once goes up slowly while answers are fast and down quickly when they are
slow (additive increase, multiplicative decrease), so it finds what this machine and what it
depends on can do together, whatever the bottleneck is.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

_SMOOTHING = 0.1
_DECREASE = 0.9


class Admission:
    """Counts the requests being answered. Every admitted one is ``released`` once."""

    def __init__(
        self,
        target_s: float,
        *,
        least: int = 4,
        most: int = 1000,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """target_s: an answer that takes longer means that too many are at it."""
        self._target_s = target_s
        self._least = float(least)
        self._most = float(most)
        self._clock = clock
        self._limit = float(most)
        self._mean_s = 0.0
        self._decreased = -target_s
        self.in_flight = 0
        self.refused = 0

    @property
    def limit(self) -> float:
        return self._limit

    def admit(self) -> bool:
        if self.in_flight >= int(self._limit):
            self.refused += 1
            return False
        self.in_flight += 1
        return True

    def released(self, seconds: float) -> None:
        """One of the admitted was answered, or failed, after so long."""
        self._mean_s += _SMOOTHING * (seconds - self._mean_s)
        busy = 2 * self.in_flight >= self._limit
        self.in_flight -= 1
        if seconds <= self._target_s:
            if busy:
                self._limit = min(self._most, self._limit + 1.0 / self._limit)
        elif self._clock() - self._decreased >= self._target_s:
            # once for all that were slow together: they are one sign, not many
            self._decreased = self._clock()
            self._limit = max(self._least, min(self._limit, self.in_flight + 1.0) * _DECREASE)

    @property
    def retry_after_s(self) -> float:
        """When there may be room: about as long as an answer takes now."""
        return max(self._mean_s, 0.01)
