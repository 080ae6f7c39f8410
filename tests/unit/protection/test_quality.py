from __future__ import annotations

import numpy as np
import pytest

from tamis_server.protection.quality import QualityFactor


class Steady:
    """Each look is an answer later, a thousand a second: time alone raises nothing to speak of."""

    def __init__(self, step: float = 0.001) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def test_fast_answers_keep_all_candidates() -> None:
    quality = QualityFactor(0.1, clock=Steady())
    for _ in range(1000):
        quality.observe(0.05)
    assert quality.share(500) == 500


def test_slow_answers_cost_candidates_but_never_more_than_the_floor() -> None:
    quality = QualityFactor(0.1, floor=0.2, clock=Steady())
    for _ in range(100):
        quality.observe(0.2)
    assert quality.share(500) == 100
    assert QualityFactor(0.1, floor=0.001).share(1) == 1


@pytest.mark.parametrize("load", [0.12, 0.2, 0.4])
def test_it_settles_where_the_percentile_meets_the_target(load: float) -> None:
    """Answers take time in proportion to the candidates, and some luck."""
    rng = np.random.default_rng(0)
    quality = QualityFactor(0.1, percentile=99, floor=0.01, clock=Steady())
    late = []
    for _ in range(20_000):
        seconds = load * quality.value * rng.uniform(0.5, 1.0)
        quality.observe(seconds)
        late.append(seconds > 0.1)
    assert np.mean(late[5_000:]) == pytest.approx(0.01, abs=0.003)
    assert quality.value == pytest.approx(0.1 / load, rel=0.25)


def test_where_few_ask_a_slow_moment_is_forgotten_in_seconds() -> None:
    quality = QualityFactor(0.1, clock=Steady(step=1.0))
    for _ in range(20):
        quality.observe(1.0)
    for _ in range(5):
        quality.observe(0.01)
    assert quality.value == 1.0


def test_a_single_late_answer_costs_nothing() -> None:
    quality = QualityFactor(0.1, clock=Steady())
    quality.observe(10.0)
    assert quality.share(500) == 500
    for _ in range(3):
        quality.observe(10.0)
    assert quality.share(500) < 500
