"""A quality factor: fewer candidates when answers get slow, all of them when they are fast again.

One number follows a percentile of the latency: an answer in time raises it a little, a late one
lowers it by so much more that both balance out where the percentile meets its target. Where few
ask, time raises it instead: what was slow for a moment is forgotten in seconds, and one or two late
answers cost nothing yet.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

_RECOVERY_S = 5.0
_FORGIVEN = 0.9  # above it nothing is given up


class QualityFactor:
    """``value``, between ``floor`` and 1, is the share of the candidates to work on."""

    def __init__(
        self,
        target_s: float,
        *,
        percentile: float = 99.0,
        floor: float = 0.2,
        step: float = 0.0005,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """step: what an answer in time adds; a late one takes step * p / (100 - p)."""
        self._target_s = target_s
        self._floor = floor
        self._up = step
        self._down = step * percentile / (100.0 - percentile)
        self._clock = clock
        self._last = clock()
        self.value = 1.0

    def observe(self, seconds: float) -> None:
        """An answer took so long."""
        now = self._clock()
        change = -self._down
        if seconds <= self._target_s:
            change = max(self._up, (now - self._last) / _RECOVERY_S)
        self._last = now
        self.value = min(1.0, max(self._floor, self.value + change))

    def share(self, count: int) -> int:
        """So many of ``count``, at least one."""
        if self.value > _FORGIVEN:
            return count
        return max(1, round(count * self.value))
