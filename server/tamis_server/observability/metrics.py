"""What the server measures of itself, for Prometheus to fetch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry, start_http_server

from tamis_server.domain.errors import TamisError
from tamis_server.domain.slate import Slate, StageTrace

_SECONDS = (
    .0001, .00025, .0005, .001, .002, .003, .005, .0075, .01, .02, .035, .05, .1, .2, .5, 1, 2, 5,
)  # fmt: skip
_AGES = (1, 10, 60, 600, 3_600, 21_600, 86_400, 604_800, 2_592_000, 31_536_000)
_CANDIDATES = (0, 1, 10, 20, 50, 100, 200, 300, 500, 750, 1_000, 2_000, 5_000, 10_000)
_RATES = (1e-6, 1e-5, 1e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 1)
Read = Callable[[], float | Mapping[str, float]]


class CannotExpose(TamisError):
    """The address of /metrics can't be bound."""


class Metrics:
    """Instruments of one server, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        reader = PrometheusMetricReader(
            disable_target_info=True, scope_info_enabled=False, registry=self._registry
        )
        self._provider = MeterProvider(metric_readers=[reader])
        self._meter = self._provider.get_meter("tamis")
        self._requests = self._histogram("tamis_request_duration", "of calls", "s", _SECONDS)
        self._stages = self._histogram("tamis_stage_duration", "of stages", "s", _SECONDS)
        self._candidates = self._histogram(
            "tamis_stage_candidates", "that left a stage", "", _CANDIDATES
        )
        self._counted = self._meter.create_counter(
            "tamis_candidates", description="found by each source, dropped by each filter"
        )
        self._degradations = self._meter.create_counter(
            "tamis_degradations", description="what failed and what that cost"
        )
        self._stores = self._histogram("tamis_state_duration", "of store operations", "s", _SECONDS)
        self._ages = self._histogram(
            "tamis_user_features_age", "since the user's last event, when read", "s", _AGES
        )
        self._rates = self._histogram(
            "tamis_seen_false_positive_rate", "of users' filters, when read", "", _RATES
        )
        self._server: tuple[Any, Any] | None = None

    def observe(self, trace: StageTrace) -> None:
        """One stage of one request. Implements StageObserver."""
        stage = {"stage": trace.stage}
        self._stages.record(trace.seconds, {**stage, "outcome": trace.outcome})
        if trace.rows_in or trace.rows_out:
            self._candidates.record(trace.rows_out, stage)
            for name, count in trace.counts.items():
                self._counted.add(count, {**stage, "name": name})

    def answered(self, slate: Slate) -> None:
        """What was wrong with one answer. Implements StageObserver."""
        for cause in slate.causes:
            self._degradations.add(1, {"stage": cause.stage, "level": cause.level.name.lower()})

    def request(self, method: str, code: str, seconds: float) -> None:
        """One call answered."""
        self._requests.record(seconds, {"method": method, "code": code})

    def store(self, operation: str, outcome: str, seconds: float) -> None:
        """One operation of the state store: outcome is ok or error."""
        self._stores.record(seconds, {"operation": operation, "outcome": outcome})

    def user_read(self, age_s: float, false_positive_rate: float) -> None:
        """What a sampled read of a user's state brought."""
        self._ages.record(max(age_s, 0.0))
        self._rates.record(false_positive_rate)

    def gauge(self, name: str, description: str, unit: str, read: Read) -> None:
        """A value read when Prometheus asks; a mapping has one by ``name``; NaN is left out."""
        self._meter.create_observable_gauge(
            name, [_callback(read)], unit=unit, description=description
        )

    def counter(self, name: str, description: str, read: Read) -> None:
        """A count that only grows, read when Prometheus asks."""
        self._meter.create_observable_counter(name, [_callback(read)], description=description)

    def expose(self, listen: str) -> int:
        """Serve /metrics at host:port and return the port. Raises CannotExpose."""
        host, _, port = listen.rpartition(":")
        try:
            self._server = start_http_server(int(port), host or "0.0.0.0", self._registry)  # noqa: S104 asked for
        except (OSError, OverflowError) as error:
            raise CannotExpose(f"metrics can't be served on {listen}: {error}") from None
        return int(self._server[0].server_port)

    def close(self) -> None:
        if self._server is not None:
            server, thread = self._server
            server.shutdown()
            server.server_close()
            thread.join()
        self._provider.shutdown()

    def _histogram(self, name: str, what: str, unit: str, buckets: Sequence[float]) -> Any:
        return self._meter.create_histogram(
            name, unit, what, explicit_bucket_boundaries_advisory=buckets
        )


def _callback(read: Read) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_: CallbackOptions) -> Iterable[Observation]:
        found = read()
        if isinstance(found, Mapping):
            return [Observation(value, {"name": name}) for name, value in found.items()]
        return [] if math.isnan(found) else [Observation(found)]

    return observe
