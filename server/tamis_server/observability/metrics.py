"""What the server measures of itself, for Prometheus to fetch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry, generate_latest, start_http_server

from tamis_server.domain.errors import TamisError
from tamis_server.domain.slate import Slate, StageTrace
from tamis_server.observability.series import Counter, Histogram

_SECONDS = (
    .0001, .00025, .0005, .001, .002, .003, .005, .0075, .01, .02, .035, .05, .1, .2, .5, 1, 2, 5,
)  # fmt: skip
_AGES = (1, 10, 60, 600, 3_600, 21_600, 86_400, 604_800, 2_592_000, 31_536_000)
_CANDIDATES = (0, 1, 10, 20, 50, 100, 200, 300, 500, 750, 1_000, 2_000, 5_000, 10_000)
_RATES = (1e-6, 1e-5, 1e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 1)
Read = Callable[[], float | Mapping[Any, float]]  # keys: str, or tuples of it (keys are invariant)


class CannotExpose(TamisError):
    """The address of /metrics can't be bound."""


class Metrics:
    """Instruments of one server, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=True)  # refuses a name given twice
        reader = PrometheusMetricReader(
            disable_target_info=True, scope_info_enabled=False, registry=self._registry
        )
        self._provider = MeterProvider(metric_readers=[reader])
        self._meter = self._provider.get_meter("tamis")
        self._requests = self.histogram(
            "tamis_request_duration_seconds", "of calls", ("method", "code"), _SECONDS
        )
        self._stages = self.histogram(
            "tamis_stage_duration_seconds", "of stages", ("stage", "outcome"), _SECONDS
        )
        self._candidates = self.histogram(
            "tamis_stage_candidates", "that left a stage", ("stage",), _CANDIDATES
        )
        self._counted = self._count(
            "tamis_candidates", "found by each source, dropped by each filter", ("stage", "name")
        )
        self._degradations = self._count(
            "tamis_degradations", "what failed and what that cost", ("stage", "level")
        )
        self._variants = self._count(
            "tamis_variant_answers", "of the running experiment", ("variant", "level")
        )
        self._stores = self.histogram(
            "tamis_state_duration_seconds",
            "of store operations",
            ("operation", "outcome"),
            _SECONDS,
        )
        self._ages = self.histogram(
            "tamis_user_features_age_seconds", "since the user's last event, when read", (), _AGES
        )
        self._rates = self.histogram(
            "tamis_seen_false_positive_rate", "of users' filters, when read", (), _RATES
        )
        self._server: tuple[Any, Any] | None = None

    def observe(self, trace: StageTrace) -> None:
        """One stage of one request. Implements StageObserver."""
        stage = trace.stage
        self._stages.record(trace.seconds, stage, trace.outcome)
        if trace.rows_in or trace.rows_out:
            self._candidates.record(trace.rows_out, stage)
            for name, count in trace.counts.items():
                self._counted.add(count, stage, name)

    def answered(self, slate: Slate) -> None:
        """What was wrong with one answer. Implements StageObserver."""
        if slate.variant:
            self._variants.add(1, slate.variant, slate.level.name.lower())
        for cause in slate.causes:
            self._degradations.add(1, cause.stage, cause.level.name.lower())

    def request(self, method: str, code: str, seconds: float) -> None:
        """One call answered."""
        self._requests.record(seconds, method, code)

    def store(self, operation: str, outcome: str, seconds: float) -> None:
        """One operation of the state store: outcome is ok or error."""
        self._stores.record(seconds, operation, outcome)

    def user_read(self, age_s: float, false_positive_rate: float) -> None:
        """What a sampled read of a user's state brought."""
        self._ages.record(max(age_s, 0.0))
        self._rates.record(false_positive_rate)

    def histogram(
        self, name: str, description: str, labels: Sequence[str], bounds: Sequence[float]
    ) -> Histogram:
        """A recorder for the event loop; ``name`` ends in the unit, and so are the ``bounds``."""
        made = Histogram(name, description, labels, bounds)
        self._registry.register(made)
        return made

    def gauge(
        self, name: str, description: str, unit: str, read: Read, labels: Sequence[str] = ()
    ) -> None:
        """A value read when Prometheus asks, on its thread; NaN is left out.

        With ``labels`` ``read`` gives a mapping: the label's value, or a tuple of the labels'
        values in that order -> value.
        """
        self._meter.create_observable_gauge(
            name, [_callback(read, labels)], unit=unit, description=description
        )

    def counter(self, name: str, description: str, read: Read, labels: Sequence[str] = ()) -> None:
        """A count that only grows, read as a gauge is; shown with ``_total``."""
        self._meter.create_observable_counter(
            name, [_callback(read, labels)], description=description
        )

    def expose(self, listen: str) -> int:
        """Serve /metrics at host:port and return the port. Raises CannotExpose."""
        host, _, port = listen.rpartition(":")
        try:
            self._server = start_http_server(int(port), host or "0.0.0.0", self._registry)  # noqa: S104 asked for
        except (OSError, OverflowError) as error:
            raise CannotExpose(f"metrics can't be served on {listen}: {error}") from None
        return int(self._server[0].server_port)

    def exposition(self) -> str:
        """What Prometheus would get."""
        return generate_latest(self._registry).decode()

    def close(self) -> None:
        if self._server is not None:
            server, thread = self._server
            server.shutdown()
            server.server_close()
            thread.join()
        self._provider.shutdown()

    def _count(self, name: str, description: str, labels: Sequence[str]) -> Counter:
        made = Counter(name, description, labels)
        self._registry.register(made)
        return made


def _callback(
    read: Read, labels: Sequence[str]
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_: CallbackOptions) -> Iterable[Observation]:
        found = read()
        series: Mapping[Any, float] = found if isinstance(found, Mapping) else {(): found}
        return [
            Observation(value, dict(zip(labels, _values(key), strict=True)))
            for key, value in series.items()
            if not math.isnan(value)
        ]

    return observe


def _values(key: str | tuple[str, ...]) -> tuple[str, ...]:
    return key if isinstance(key, tuple) else (key,)
