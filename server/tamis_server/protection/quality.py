"""A quality factor: fewer candidates when answers get slow, all of them when they are fast again.

One number follows a percentile of the latency: an answer in time raises it a little, a late one
lowers it by so much more that both balance out exactly where the percentile meets its target.
"""

from __future__ import annotations


class QualityFactor:
    """``value``, between ``floor`` and 1, is the share of the candidates to work on."""

    def __init__(
        self, target_s: float, *, percentile: float = 99.0, floor: float = 0.2, step: float = 0.001
    ) -> None:
        """step: what an answer in time adds; a late one takes step * p / (100 - p)."""
        self._target_s = target_s
        self._floor = floor
        self._up = step
        self._down = step * percentile / (100.0 - percentile)
        self.value = 1.0

    def observe(self, seconds: float) -> None:
        """An answer took so long."""
        change = self._up if seconds <= self._target_s else -self._down
        self.value = min(1.0, max(self._floor, self.value + change))

    def share(self, count: int) -> int:
        """So many of ``count``, at least one."""
        return max(1, round(count * self.value))
