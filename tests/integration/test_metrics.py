"""What Prometheus fetches from a running server."""

from __future__ import annotations

import asyncio
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from support.servers import Running, running
from tamis.v1 import item_pb2
from tamis_client import AsyncTamisClient, InvalidRequest
from tamis_server.domain.candidates import Cause, DegradationLevel
from tamis_server.domain.slate import Slate
from tamis_server.observability.metrics import CannotExpose, Metrics

EXPOSED = {"metrics": {"listen": "127.0.0.1:0"}}
Labels = frozenset[tuple[str, str]]


async def scrape(port: int | None) -> dict[tuple[str, Labels], float]:
    url = f"http://127.0.0.1:{port}/metrics"
    text = await asyncio.to_thread(lambda: urllib.request.urlopen(url).read().decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of(**labels: str) -> Labels:
    return frozenset(labels.items())


@pytest.fixture
async def fetched(bundle: Path) -> dict[tuple[str, Labels], float]:
    """After three answers, a refusal and some events."""
    async with (
        running(bundle, EXPOSED) as server,
        AsyncTamisClient(server.target, timeout_s=10.0) as client,
    ):
        view = item_pb2.EVENT_KIND_VIEW
        await client.record_events(
            [
                item_pb2.Event(event_id=f"e{n}", user_id="ada", item_id=f"item-{n}", kind=view)
                for n in range(60)
            ]
        )
        for _ in range(3):
            await client.recommend(user_id="ada")
        with pytest.raises(InvalidRequest):
            await client.recommend(page_size=-1)
        return await scrape(server.application.metrics_port)


async def test_calls_and_stages_are_counted_and_timed(
    fetched: dict[tuple[str, Labels], float],
) -> None:
    method = "/tamis.v1.RecommendService/Recommend"
    count = "tamis_request_duration_seconds_count"
    assert fetched[count, of(method=method, code="OK")] == 3
    assert fetched[count, of(method=method, code="INVALID_ARGUMENT")] == 1
    ranked = fetched["tamis_stage_duration_seconds_count", of(stage="ranking", outcome="ok")]
    assert ranked == 4, "with the warm-up"
    assert fetched["tamis_candidates_total", of(stage="retrieval", name="popular")] > 0
    assert fetched["tamis_state_duration_seconds_count", of(operation="read", outcome="ok")] == 3


async def test_the_freshness_of_features_and_the_rate_of_filters_are_exported(
    fetched: dict[tuple[str, Labels], float],
) -> None:
    assert fetched["tamis_user_features_age_seconds_count", of()] == 1, "one read of 64 is sampled"
    assert fetched["tamis_user_features_age_seconds_sum", of()] < 60
    assert fetched["tamis_seen_false_positive_rate_count", of()] == 1
    assert 0 < fetched["tamis_seen_false_positive_rate_sum", of()] < 0.01
    assert fetched["tamis_item_features_age_seconds", of()] < 60
    assert fetched["tamis_catalogue_age_seconds", of()] < 60
    assert fetched["tamis_bundle_swaps_total", of()] == 1
    assert sum(value for (name, _), value in fetched.items() if name == "tamis_searches_total") > 0


async def test_what_runs_and_what_it_serves_are_labels(
    fetched: dict[tuple[str, Labels], float],
) -> None:
    labels = {name: dict(found) for name, found in fetched if name.endswith("_info")}
    assert set(labels["tamis_build_info"]) == {"version", "kernel_level"}
    assert labels["tamis_bundle_info"]["bundle_id"].startswith("random-")


async def test_a_recorder_and_a_callback_of_another_component_are_exposed() -> None:
    metrics = Metrics()
    metrics.histogram("tamis_example_rows", "of a test", ("plan",), (1, 10)).record(5, "scan")
    metrics.gauge("tamis_example", "", "", lambda: {"a": 1.0, "b": float("nan")}, ("part",))
    metrics.counter("tamis_example_drops", "", lambda: 3.0)
    found = await scrape(metrics.expose("127.0.0.1:0"))
    metrics.close()
    assert found["tamis_example_rows_bucket", of(plan="scan", le="10.0")] == 1
    assert found["tamis_example", of(part="a")] == 1
    assert ("tamis_example", of(part="b")) not in found, "NaN is no value"
    assert found["tamis_example_drops_total", of()] == 3


async def test_two_servers_of_one_process_keep_their_figures_apart(bundle: Path) -> None:
    async def calls(server: Running) -> float:
        found = await scrape(server.application.metrics_port)
        return sum(
            value
            for (name, _), value in found.items()
            if name.endswith("request_duration_seconds_count")
        )

    async with running(bundle, EXPOSED) as first, running(bundle, EXPOSED) as second:
        async with AsyncTamisClient(first.target, timeout_s=10.0) as client:
            await client.recommend()
        assert (await calls(first), await calls(second)) == (1, 0)


async def test_what_degraded_an_answer_is_counted() -> None:
    metrics = Metrics()
    port = metrics.expose("127.0.0.1:0")
    cause = Cause("user_state", "gone", DegradationLevel.POPULARITY)
    metrics.answered(Slate(candidates=None, causes=(cause, cause)))  # type: ignore[arg-type]
    found = await scrape(port)
    metrics.close()
    assert found["tamis_degradations_total", of(stage="user_state", level="popularity")] == 2


def test_an_address_that_is_taken_is_said() -> None:
    metrics, other = Metrics(), Metrics()
    port = metrics.expose("127.0.0.1:0")
    with pytest.raises(CannotExpose, match=f"127.0.0.1:{port}"):
        other.expose(f"127.0.0.1:{port}")
    metrics.close()
    other.close()
