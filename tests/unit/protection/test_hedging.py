from __future__ import annotations

from tamis_server.protection.hedging import Latencies, RetryBudget


def test_second_tries_are_a_share_of_the_calls() -> None:
    budget = RetryBudget(share=0.1, burst=5)
    assert sum(budget.take() for _ in range(10)) == 5
    taken = 0
    for _ in range(1000):
        budget.called()
        taken += budget.take()
    assert 95 <= taken <= 100


def test_what_was_not_used_is_not_saved_beyond_the_burst() -> None:
    budget = RetryBudget(share=0.5, burst=3)
    for _ in range(100):
        budget.called()
    assert sum(budget.take() for _ in range(10)) == 3


def test_quantiles_are_of_the_last_calls_and_unknown_at_first() -> None:
    latencies = Latencies(window=100, least=20)
    for seconds in range(19):
        latencies.add(float(seconds))
    assert latencies.quantile(0.5) is None
    for seconds in range(100):
        latencies.add(float(seconds))
    assert latencies.quantile(0.95) == 95.0
    assert latencies.quantile(0.5) == 50.0
