from __future__ import annotations

from dataclasses import dataclass

import pytest

from tamis_server.protection.admission import Admission


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def waiting(seconds: float, clock: Clock | None = None, most: int = 1000) -> Admission:
    """The last probes waited so long; the target is 100 ms."""
    clock = clock or Clock()
    admission = Admission(0.1, most=most, clock=clock)
    for _ in range(3):
        probe(admission, clock, seconds)
    return admission


def probe(admission: Admission, clock: Clock, seconds: float) -> None:
    admission.probe_sent()
    clock.now += seconds
    admission.probe_seen()


@pytest.mark.parametrize(
    ("wait_s", "let_in"), [(0.0, 60), (0.05, 60), (0.1, 30), (0.13, 12), (0.15, 0), (1.0, 0)]
)
def test_the_longer_requests_wait_the_fewer_come_in(wait_s: float, let_in: int) -> None:
    admission = waiting(wait_s)
    assert sum(admission.admit(1.0) for _ in range(60)) == pytest.approx(let_in, abs=1)
    assert admission.refused == 60 - admission.in_flight


def test_a_moment_is_no_overload_and_one_good_probe_ends_one() -> None:
    clock = Clock()
    admission = waiting(0.0, clock)
    for _ in range(2):
        probe(admission, clock, 1.0)
    assert admission.admit(1.0)
    probe(admission, clock, 1.0)
    assert not admission.admit(1.0)
    probe(admission, clock, 0.0)
    assert admission.admit(1.0)


def test_no_more_than_so_many_at_once_whatever_they_wait_for() -> None:
    admission = waiting(0.0, most=3)
    assert [admission.admit(1.0) for _ in range(5)] == [True, True, True, False, False]
    admission.released(0.01)
    assert admission.admit(1.0)


def test_while_requests_wait_one_that_could_not_be_answered_in_time_is_refused() -> None:
    admission = waiting(0.06)
    for _ in range(100):
        assert admission.admit(1.0) or admission.admit(1.0)
        admission.released(0.5)
    assert not any(admission.admit(0.3) for _ in range(3))
    assert any(admission.admit(0.9) for _ in range(3))


def test_the_hint_grows_with_the_wait() -> None:
    assert waiting(0.0).retry_after_s == 0.05
    assert waiting(0.3).retry_after_s == pytest.approx(0.6)


def test_where_nobody_asks_nobody_waits_and_no_probe_is_needed() -> None:
    admission = waiting(1.0)
    assert not admission.admit(1.0)
    assert admission.worth_a_probe()
    admission.probe_sent()
    assert not admission.worth_a_probe()
    assert admission.wait_s == 0.0
    assert admission.admit(1.0)
