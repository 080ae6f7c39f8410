"""What a soak lets pass: a few calls that a worker which went had not looked at, no others."""

from __future__ import annotations

import numpy as np
import pytest

from scenarios.answers import OK, Answers, Recorder
from scenarios.disturbances import Disturbances
from scenarios.soak import failures

RESTART_S = (30.0, 32.0)
LOCUST_S, DISTURBED_S = 1003.0, 1000.0  # locust needs some seconds to begin


def answered(**failed_at_s: list[float]) -> Answers:
    """A hundred answers a second for a minute, and failures of this status at these times, which
    are since the disturbances began."""
    recorder = Recorder(LOCUST_S)
    for at_s in np.arange(0.0, 60.0, 0.01):
        recorder.add(float(at_s), 0.01, "Recommend", OK, 1)
    for code, times in failed_at_s.items():
        for time_s in times:
            recorder.add(time_s + DISTURBED_S - LOCUST_S, 0.01, "Recommend", code, 0)
    return recorder.answers()


def held(answers: Answers) -> list[bool]:
    """That nothing failed by itself; that a restart gave few back."""
    disturbed = Disturbances(DISTURBED_S, restarts=1, restarted_at_s=list(RESTART_S))
    return list(failures(answers, disturbed).values())


def test_a_restart_may_give_back_a_few_calls() -> None:
    assert held(answered()) == [True, True]
    assert held(answered(CANCELLED=[30.5] * 10, UNAVAILABLE=[33.9] * 10)) == [True, True]


def test_a_restart_that_gives_back_what_comes_in_half_a_second_is_found() -> None:
    assert held(answered(CANCELLED=[30.5] * 50)) == [True, False]


@pytest.mark.parametrize(
    ("code", "at_s"),
    [("UNAVAILABLE", 29.0), ("CANCELLED", 34.5), ("INTERNAL", 31.0), ("DEADLINE_EXCEEDED", 31.0)],
)
def test_what_fails_in_another_way_or_at_another_time_has_failed(code: str, at_s: float) -> None:
    assert held(answered(**{code: [at_s]})) == [False, True]
