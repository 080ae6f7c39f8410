"""A circuit breaker: a dependency that fails is left alone, and asked now and then.

Closed: every call passes; when too many of the last calls failed, it opens. Open: none passes until
a pause is over. Half open: one call at a time passes; so many successes close it, a failure opens
it again for twice as long. A call that is late counts as failed where it had the time that calls
take: the caller got nothing from it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from time import monotonic


class State(Enum):
    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """window: the calls looked at; least: of so many; share: of failures that open it;
    pause_s: before the first probe, doubled up to longest_s; probes: successes that close it."""

    window: int = 20
    least: int = 4
    share: float = 0.5
    pause_s: float = 0.2
    longest_s: float = 2.0
    probes: int = 2


class Breaker:
    """One endpoint's. Every ``begin`` that gave True is followed by exactly one of the others."""

    def __init__(self, policy: BreakerPolicy, clock: Callable[[], float] = monotonic) -> None:
        self._policy = policy
        self._clock = clock
        self._outcomes: deque[bool] = deque(maxlen=policy.window)  # True: failed
        self._opened: float | None = None
        self._pause_s = policy.pause_s
        self._probing = False
        self._successes = 0
        self.openings = 0

    @property
    def state(self) -> State:
        if self._opened is None:
            return State.CLOSED
        over = self._clock() - self._opened >= self._pause_s
        return State.HALF_OPEN if over else State.OPEN

    @property
    def passes(self) -> bool:
        """Whether ``begin`` would give True."""
        state = self.state
        return state is State.CLOSED or (state is State.HALF_OPEN and not self._probing)

    def begin(self) -> bool:
        """Whether a call may be made."""
        if not self.passes:
            return False
        self._probing = self._opened is not None
        return True

    def succeeded(self) -> None:
        self._probing = False
        self._outcomes.append(False)
        if self._opened is None:
            return
        self._successes += 1
        if self._successes >= self._policy.probes:
            self._opened, self._pause_s = None, self._policy.pause_s
            self._outcomes.clear()

    def failed(self) -> None:
        self._probing = False
        self._outcomes.append(True)
        if self._opened is None:
            failures, calls = sum(self._outcomes), len(self._outcomes)
            if calls >= self._policy.least and failures >= self._policy.share * calls:
                self._open(self._policy.pause_s)
        elif self.state is State.HALF_OPEN:  # what began before it opened tells nothing new
            self._open(min(2 * self._pause_s, self._policy.longest_s))

    def abandoned(self) -> None:
        """The caller lost interest: that says nothing of the endpoint."""
        self._probing = False

    def _open(self, pause_s: float) -> None:
        self._opened, self._pause_s, self._successes = self._clock(), pause_s, 0
        self.openings += 1
