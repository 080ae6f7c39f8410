"""How many users there are when, in the scenarios that locust offers.

Each user asks ``PACE`` times a second, as long as answers come that fast. A plan is given as shares
of what the server can do, so that it means the same on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from scenarios.report import Phase

PACE = 2.0
SHAPES = ("ramp", "spike", "soak")


@dataclass(frozen=True, slots=True)
class Step:
    """A share of the server's capacity for some seconds."""

    name: str
    share: float
    seconds: float

    def users(self, capacity: float) -> int:
        """Who together ask for this share of ``capacity`` (requests/s): one at least."""
        return max(1, math.ceil(self.share * capacity / PACE))


def plan(scenario: str, seconds: float) -> list[Step]:
    """ramp: to half as much again as it can do, ``seconds`` a step. spike: calm, four times as
    much, calm again, ``seconds`` each. soak: 70 % for ``seconds``."""
    if scenario == "ramp":
        shares = (0.1, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
        return [Step(f"{share:.0%}", share, seconds) for share in shares]
    if scenario == "spike":
        return [
            Step("before", 0.4, seconds),
            Step("spike", 1.6, seconds),
            Step("after", 0.4, seconds),
        ]
    if scenario == "soak":
        return [Step("70%", 0.7, seconds)]
    raise ValueError(f"scenario {scenario!r}: there are {', '.join(SHAPES)}")


def users_at(steps: Sequence[Step], capacity: float, time_s: float) -> int | None:
    """Users at a time of the run; None when it is over."""
    for step, end in zip(steps, accumulate(step.seconds for step in steps), strict=True):
        if time_s < end:
            return step.users(capacity)
    return None


def phases(steps: Sequence[Step]) -> list[Phase]:
    """When each step is."""
    ends = list(accumulate(step.seconds for step in steps))
    return [
        Phase(name=step.name, start_s=end - step.seconds, end_s=end)
        for step, end in zip(steps, ends, strict=True)
    ]
