"""Observations add up, under the labels they were made with, in the buckets they belong to."""

from __future__ import annotations

from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from tamis_server.observability.metrics import Metrics
from tamis_server.observability.series import Counter, Histogram

BOUNDS = (0.5, 1.0, 2.5)


def scraped(collector: Collector) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """As Prometheus reads it."""
    registry = CollectorRegistry()
    registry.register(collector)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }


def of(**labels: str) -> frozenset[tuple[str, str]]:
    return frozenset(labels.items())


@given(st.lists(st.floats(0, 10), min_size=1))
def test_a_bucket_counts_all_that_is_at_most_its_bound(values: list[float]) -> None:
    histogram = Histogram("t_seconds", "of a test", (), BOUNDS)
    for value in values:
        histogram.record(value)
    found = scraped(histogram)
    for bound in BOUNDS:
        at_most = sum(value <= bound for value in values)
        assert found["t_seconds_bucket", of(le=str(bound))] == at_most
    assert found["t_seconds_bucket", of(le="+Inf")] == len(values)
    assert found["t_seconds_count", of()] == len(values)
    assert found["t_seconds_sum", of()] == pytest.approx(sum(values))


def test_a_value_on_a_bound_belongs_below_it() -> None:
    assert bisect_left(BOUNDS, 0.5) == 0
    histogram = Histogram("t_seconds", "of a test", (), BOUNDS)
    histogram.record(0.5)
    assert scraped(histogram)["t_seconds_bucket", of(le="0.5")] == 1


def test_each_combination_of_labels_is_a_series_of_its_own() -> None:
    histogram = Histogram("t_seconds", "of a test", ("stage", "outcome"), BOUNDS)
    for outcome in ("ok", "ok", "timeout"):
        histogram.record(0.1, "ranking", outcome)
    found = scraped(histogram)
    assert found["t_seconds_count", of(stage="ranking", outcome="ok")] == 2
    assert found["t_seconds_count", of(stage="ranking", outcome="timeout")] == 1


def test_a_counter_adds_up_and_is_called_total() -> None:
    counter = Counter("t_dropped", "of a test", ("filter",))
    for name, count in (("seen", 3), ("seen", 4), ("eligible", 0)):
        counter.add(count, name)
    assert scraped(counter) == {
        ("t_dropped_total", of(filter="seen")): 7,
        ("t_dropped_total", of(filter="eligible")): 0,
    }


@pytest.mark.parametrize("labels", [(), ("ranking",), ("ranking", "ok", "more")])
def test_labels_that_do_not_fit_are_refused_where_they_are_given(labels: tuple[str, ...]) -> None:
    histogram = Histogram("t_seconds", "of a test", ("stage", "outcome"), BOUNDS)
    counter = Counter("t", "of a test", ("stage", "outcome"))
    with pytest.raises(ValueError, match="'stage', 'outcome'"):
        histogram.record(0.1, *labels)
    with pytest.raises(ValueError, match="'stage', 'outcome'"):
        counter.add(1, *labels)
    assert not [name for name, _ in scraped(histogram)]


def test_a_name_is_given_once() -> None:
    metrics = Metrics()
    metrics.histogram("t_seconds", "of a test", (), BOUNDS)
    with pytest.raises(ValueError, match="t_seconds"):
        metrics.histogram("t_seconds", "of another", (), BOUNDS)
    metrics.close()
