"""Admission control: a request is refused at the door rather than answered too late.

What decides is how long requests wait before anybody looks at them: the least that a few probes in
a row waited, since a queue that stays is too much work, and one that goes was only a moment
(Nichols and Jacobson, Controlling Queue Delay, 2012); a probe that waits as long as several counts
for them. Up to half the target all come in; beyond, an
ever smaller share; at one and a half times the target none, until the queue is shorter.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic

_SMOOTHING = 0.1
_LEAST_HINT_S = 0.05
_ROUNDING = 1e-9
_PROBES = 3


class Admission:
    """Counts the requests being answered. Every admitted one is ``released`` once."""

    def __init__(
        self, target_s: float, *, most: int = 1000, clock: Callable[[], float] = monotonic
    ) -> None:
        """target_s: of the wait; most: requests at once, whatever they wait for."""
        self._target_s = target_s
        self._most = most
        self._clock = clock
        self._waited_s: deque[float] = deque([0.0] * _PROBES, _PROBES)
        self._sent: float | None = None
        self._asked = False
        self._mean_s = 0.0
        self._credit = 0.0
        self.in_flight = 0
        self.refused = 0

    def worth_a_probe(self) -> bool:
        """Whether anybody has asked since the last probe; where nobody has, nobody waits."""
        if not self._asked:
            self._waited_s.extend([0.0] * _PROBES)
        return self._asked

    def probe_sent(self) -> None:
        """Something takes a place in the queue now."""
        self._sent, self._asked = self._clock(), False

    def probe_seen(self) -> None:
        """And now it was looked at."""
        if self._sent is not None:
            self._waited_s.append(self._clock() - self._sent)
            self._sent = None

    @property
    def wait_s(self) -> float:
        """How long requests wait now. A probe that nobody has looked at yet tells as well: where
        the queue is long, the next answer comes too late to act on."""
        unseen_s = 0.0 if self._sent is None else self._clock() - self._sent
        return max(min(self._waited_s), unseen_s / _PROBES)

    @property
    def retry_after_s(self) -> float:
        """When there may be room."""
        return max(2 * self.wait_s, _LEAST_HINT_S)

    def admit(self, remaining_s: float) -> bool:
        """Whether a request with so much time left may come in."""
        self._asked, wait_s = True, self.wait_s
        share = min(max(1.5 - wait_s / self._target_s, 0.0), 1.0)
        # evenly: at a share of a third every third comes in
        self._credit = min(self._credit + share, 1.0)
        busy = wait_s > self._target_s / 2
        hopeless = busy and remaining_s < self._mean_s
        if self._credit < 1.0 - _ROUNDING or hopeless or self.in_flight >= self._most:
            self.refused += 1
            return False
        self._credit -= 1.0
        self.in_flight += 1
        return True

    def released(self, seconds: float) -> None:
        """One of the admitted was answered, or failed, after so long."""
        self._mean_s += _SMOOTHING * (seconds - self._mean_s)
        self.in_flight -= 1
