"""What a request pays for being measured: our series beside OpenTelemetry's, in one run.

Prints JSON: nanoseconds per recorded value with two labels, for the observations of one request
(8 stages, 8 counts, a store read and the call), and to be asked by Prometheus afterwards. Both
record the same values under the same labels; repeats take turns and the best of each counts.
"""

from __future__ import annotations

import json
import sys
import timeit
from collections.abc import Callable

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry, generate_latest

from tamis_server.observability.series import Counter, Histogram

BOUNDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
STAGES = [f"stage-{number}" for number in range(8)]
COUNTS = [f"source-{number}" for number in range(8)]
REPEATS, TIMES = 15, 500

ours = CollectorRegistry()
durations = Histogram("ours_seconds", "ours", ("stage", "outcome"), BOUNDS)
candidates = Histogram("ours_candidates", "ours", ("stage",), BOUNDS)
counted = Counter("ours", "ours", ("stage", "name"))
for series in (durations, candidates, counted):
    ours.register(series)

theirs = CollectorRegistry()
reader = PrometheusMetricReader(registry=theirs)
provider = MeterProvider(metric_readers=[reader])
meter = provider.get_meter("theirs")
sdk_durations = meter.create_histogram(
    "theirs", "s", explicit_bucket_boundaries_advisory=list(BOUNDS)
)
sdk_candidates = meter.create_histogram(
    "theirs_candidates", explicit_bucket_boundaries_advisory=list(BOUNDS)
)
sdk_counted = meter.create_counter("theirs")


def our_request() -> None:
    for stage in STAGES:
        durations.record(0.0003, stage, "ok")
    for stage in STAGES[3:]:
        candidates.record(500, stage)
    for name in COUNTS:
        counted.add(10, "retrieval", name)
    durations.record(0.0003, "read", "ok")
    durations.record(0.003, "Recommend", "OK")


def sdk_request() -> None:
    for stage in STAGES:
        sdk_durations.record(0.0003, {"stage": stage, "outcome": "ok"})
    for stage in STAGES[3:]:
        sdk_candidates.record(500, {"stage": stage})
    for name in COUNTS:
        sdk_counted.add(10, {"stage": "retrieval", "name": name})
    sdk_durations.record(0.0003, {"stage": "read", "outcome": "ok"})
    sdk_durations.record(0.003, {"stage": "Recommend", "outcome": "OK"})


def best(times: int, **works: Callable[[], object]) -> dict[str, int]:
    """Nanoseconds of each."""
    seconds = dict.fromkeys(works, float("inf"))
    for _ in range(REPEATS):
        for name, work in works.items():
            seconds[name] = min(seconds[name], timeit.timeit(work, number=times) / times)
    return {name: round(value * 1e9) for name, value in seconds.items()}


report = {
    "value_ns": best(
        TIMES,
        ours=lambda: durations.record(0.0003, "ranking", "ok"),
        opentelemetry=lambda: sdk_durations.record(0.0003, {"stage": "ranking", "outcome": "ok"}),
    ),
    "request_ns": best(TIMES, ours=our_request, opentelemetry=sdk_request),
    "scrape_ns": best(
        5, ours=lambda: generate_latest(ours), opentelemetry=lambda: generate_latest(theirs)
    ),
}
provider.shutdown()
sys.stdout.write(json.dumps(report, indent=1) + "\n")
