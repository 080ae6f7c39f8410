from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from tamis_server.protection.breaker import Breaker, BreakerPolicy, State

POLICY = BreakerPolicy(window=10, least=4, share=0.5, pause_s=1.0, longest_s=4.0, probes=2)


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock) -> Breaker:
    breaker = Breaker(POLICY, clock)
    for _ in range(4):
        assert breaker.begin()
        breaker.failed()
    assert breaker.state is State.OPEN
    return breaker


def test_a_few_failures_among_successes_leave_it_closed() -> None:
    breaker = Breaker(POLICY, Clock())
    for failed in (False, True, False, False) * 5:
        assert breaker.begin()
        (breaker.failed if failed else breaker.succeeded)()
    assert breaker.state is State.CLOSED


def test_it_opens_when_half_of_the_last_calls_failed() -> None:
    breaker = Breaker(POLICY, Clock())
    for failed in (False, True, False):
        breaker.begin()
        (breaker.failed if failed else breaker.succeeded)()
    assert breaker.begin()
    breaker.failed()
    assert breaker.state is State.OPEN
    assert not breaker.begin()


def test_after_a_pause_one_call_at_a_time_probes_and_successes_close_it() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now = 1.0
    assert breaker.begin()
    assert not breaker.begin(), "one probe is enough"
    breaker.succeeded()
    assert breaker.state is State.HALF_OPEN
    assert breaker.begin()
    breaker.succeeded()
    assert breaker.state is State.CLOSED
    assert breaker.begin()
    breaker.failed()
    assert breaker.state is State.CLOSED, "old failures are forgotten"


def test_a_failed_probe_doubles_the_pause_up_to_the_longest() -> None:
    clock = Clock()
    breaker = opened(clock)
    for pause in (1.0, 2.0, 4.0, 4.0):
        clock.now += pause - 0.01
        assert not breaker.begin()
        clock.now += 0.01
        assert breaker.begin()
        breaker.failed()


def test_calls_that_began_before_it_opened_neither_lengthen_the_pause_nor_end_it() -> None:
    clock = Clock()
    breaker = opened(clock)
    breaker.failed()
    breaker.abandoned()
    assert breaker.state is State.OPEN
    clock.now = 1.0
    assert breaker.begin()


def test_an_abandoned_probe_lets_the_next_one_through() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now = 1.0
    assert breaker.begin()
    breaker.abandoned()
    assert breaker.begin()


@given(st.lists(st.tuples(st.floats(0, 5), st.sampled_from(["ok", "fail", "leave"]))))
def test_whatever_happens_it_lets_a_call_through_again_in_time(
    history: list[tuple[float, str]],
) -> None:
    clock = Clock()
    breaker = Breaker(POLICY, clock)
    for pause, outcome in history:
        clock.now += pause
        if breaker.begin():
            {"ok": breaker.succeeded, "fail": breaker.failed, "leave": breaker.abandoned}[outcome]()
    clock.now += 1.001 * POLICY.longest_s
    assert breaker.begin()
