"""Second tries, only as many as a budget allows: what helps one slow call would double an overload.

(Dean and Barroso, The Tail at Scale, CACM 2013.)
"""

from __future__ import annotations

from collections import deque


class RetryBudget:
    """Second tries may be ``share`` of the calls, and ``burst`` at once."""

    def __init__(self, *, burst: float, share: float = 0.1) -> None:
        self._share = share
        self._burst = burst
        self._tokens = burst

    def called(self) -> None:
        """A first try was made."""
        self._tokens = min(self._burst, self._tokens + self._share)

    def take(self) -> bool:
        """Whether a second try may be made; if so it is accounted for."""
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


class Latencies:
    """Quantiles of the last calls' seconds."""

    def __init__(self, window: int = 100, least: int = 20) -> None:
        self._seconds: deque[float] = deque(maxlen=window)
        self._least = least

    def add(self, seconds: float) -> None:
        self._seconds.append(seconds)

    def quantile(self, q: float) -> float | None:
        """None while too few calls are known."""
        if len(self._seconds) < self._least:
            return None
        ordered = sorted(self._seconds)
        return ordered[min(int(q * len(ordered)), len(ordered) - 1)]
