"""Observations counted as they come, and told when Prometheus asks.

Recording is some list and dict arithmetic: docs/decisions/0007 has what it costs beside the
OpenTelemetry SDK. It is the event loop's alone; a scrape may read from another thread meanwhile,
and then finds buckets that add up to their count, with a sum that may lack the last observation.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class _Buckets:
    __slots__ = ("counts", "total")

    def __init__(self, bounds: int) -> None:
        self.counts = [0] * (bounds + 1)  # the last is for what exceeds every bound
        self.total = 0.0


class Histogram(Collector):
    """Values in buckets, a series for each combination of label values.

    ``name`` ends in the unit; ``bounds`` are inclusive upper bounds, ascending, in that unit.
    """

    def __init__(
        self, name: str, description: str, labels: Sequence[str], bounds: Sequence[float]
    ) -> None:
        self._name, self._description = name, description
        self._labels = tuple(labels)
        self._bounds = tuple(bounds)
        self._series: dict[tuple[str, ...], _Buckets] = {}

    def record(self, value: float, *labels: str) -> None:
        """One value, with its labels' values in the order in which they were declared."""
        series = self._series.get(labels)
        if series is None:
            series = self._series[_fitting(labels, self._labels)] = _Buckets(len(self._bounds))
        series.counts[bisect_left(self._bounds, value)] += 1
        series.total += value

    def collect(self) -> Iterable[Metric]:
        family = HistogramMetricFamily(self._name, self._description, labels=self._labels)
        bounds = [*map(floatToGoString, self._bounds), "+Inf"]
        for labels, series in list(self._series.items()):
            counts = accumulate(list(series.counts))
            family.add_metric(labels, list(zip(bounds, counts, strict=True)), series.total)
        yield family


class Counter(Collector):
    """A count that only grows, one for each combination of label values; shown with ``_total``."""

    def __init__(self, name: str, description: str, labels: Sequence[str]) -> None:
        self._name, self._description = name, description
        self._labels = tuple(labels)
        self._counts: dict[tuple[str, ...], int] = {}

    def add(self, count: int, *labels: str) -> None:
        """So many more, with the labels' values in the order in which they were declared."""
        known = self._counts.get(labels)
        if known is None:
            known = self._counts[_fitting(labels, self._labels)] = 0
        self._counts[labels] = known + count

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(self._name, self._description, labels=self._labels)
        for labels, count in list(self._counts.items()):
            family.add_metric(labels, count)
        yield family


def _fitting(values: tuple[str, ...], labels: tuple[str, ...]) -> tuple[str, ...]:
    """``values``, once for each series: a wrong number of them would spoil every scrape."""
    if len(values) != len(labels):
        raise ValueError(f"labels {labels} were given the values {values}")
    return values
