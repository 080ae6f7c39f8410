"""Reports of load tests: whatever offered the load, they are counted, written and shown alike."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest
from driver import at_times
from google.protobuf.json_format import ParseDict

from scenarios import DEMO, data, ghz, plans, report, summary
from scenarios.answers import Answers, Recorder, level_of
from scenarios.page import page
from scenarios.report import Figure, NoReport, Phase, Report
from scenarios.rpcs import RPCS, Rpc
from scenarios.traffic import MIX, Traffic
from tamis.v1 import event_service_pb2
from tamis.v1 import recommend_service_pb2 as pb

# as ghz 0.121.0 printed it, but for what is not read; it notes when a request ended
GHZ = {
    "count": 3,
    "total": 30_000_000,
    "date": "2026-11-25T09:50:00Z",
    "details": [
        {
            "timestamp": "2026-11-25T09:50:00.010000000Z",
            "latency": 10_000_000,
            "error": "",
            "status": "OK",
        },
        {
            "timestamp": "2026-11-25T09:50:00.025000000Z",
            "latency": 5_000_000,
            "error": "",
            "status": "OK",
        },
        {
            "timestamp": "2026-11-25T09:50:00.030000000Z",
            "latency": 20_000_000,
            "error": "rpc error: code = DeadlineExceeded desc = context deadline exceeded",
            "status": "DeadlineExceeded",
        },
    ],
}


def answers(*rows: tuple[float, float, str, str, int]) -> Answers:
    recorder = Recorder()
    for row in rows:
        recorder.add(*row)
    return recorder.answers()


def a_report(**other: object) -> Report:
    found = answers(*((0.1 * n, 0.01, "Recommend", "OK", 1 + n % 2) for n in range(100)))
    phases = [Phase(name="one", start_s=0, end_s=10)]
    fields = {
        "scenario": "open-loop",
        "tool": "driver",
        "about": {"bundle": "b"},
        "parameters": {"rate": "10"},
        "figures": tuple(summary.figures(found, phases, 2)),
        "rows": tuple(summary.rows(found, phases)),
        "phases": tuple(phases),
        "series": tuple(summary.curves(found, 10.0)),
    }
    return Report.model_validate({**fields, **other})


@pytest.mark.parametrize("rpc", RPCS.values(), ids=RPCS)
def test_every_rpc_has_a_ghz_configuration_and_none_is_left_over(rpc: Rpc) -> None:
    found = json.loads((ghz.CONFIGURATIONS / f"{rpc.snake}.json").read_text())
    assert found["call"] == f"{rpc.service}.{rpc.name}"
    assert found["proto"] == rpc.proto
    assert found["data-file"] == str(data.DIRECTORY / f"{rpc.snake}.json")
    assert len(list(ghz.CONFIGURATIONS.iterdir())) == len(RPCS)


def test_data_files_hold_messages_of_the_bundle_s_users_and_items(tmp_path: Path) -> None:
    traffic = Traffic(DEMO)
    for path, rpc in zip(data.write(DEMO, tmp_path), RPCS.values(), strict=True):
        for message in json.loads(path.read_text()):
            ParseDict(message, rpc.request())
    asked = json.loads((tmp_path / "recommend.json").read_text())
    assert {each["userId"] for each in asked} <= set(traffic.users)
    assert any("predicates" in each for each in asked)


def test_ghz_fills_in_ids_of_events_at_each_call(tmp_path: Path) -> None:
    data.write(DEMO, tmp_path)
    for name in ("record_events", "stream_events"):
        for message in json.loads((tmp_path / f"{name}.json").read_text()):
            assert {event["eventId"] for event in message["events"]} == {"{{newUUID}}"}


def test_equal_seeds_draw_equal_requests_and_a_few_users_ask_most() -> None:
    one, same = (Traffic(DEMO, 7, event_id=lambda: "e") for _ in range(2))
    drawn = [one.mixed() for _ in range(300)]
    assert drawn == [same.mixed() for _ in range(300)]
    assert {name for name, _ in drawn} <= set(MIX)
    users = [one.user() for _ in range(5000)]
    often = set(one.users[: len(one.users) // 10])
    assert sum(user in often for user in users) > 0.5 * len(users)
    assert len(set(users)) > 500


def test_ids_of_events_are_new_each_time_where_we_send_them() -> None:
    requests = [Traffic(DEMO, 3).draw("RecordEvents") for _ in range(2)]
    events = [
        event
        for request in requests
        if isinstance(request, event_service_pb2.RecordEventsRequest)
        for event in request.events
    ]
    assert len({event.event_id for event in events}) == len(events) == 10


def test_what_ghz_prints_becomes_answers_timed_from_when_they_were_sent() -> None:
    found, phases = ghz.converted([(RPCS["Recommend"], GHZ)])
    assert found.code.tolist() == ["OK", "DEADLINE_EXCEEDED", "OK"]
    np.testing.assert_allclose(found.at_s, [0.0, 0.01, 0.02], atol=1e-6)
    np.testing.assert_allclose(found.latency_s, [0.01, 0.02, 0.005])
    (row,) = summary.rows(found, phases)
    assert (row.requests, row.failures, row.levels) == (3, {"DEADLINE_EXCEEDED": 1}, {})


def test_rows_count_answers_by_rpc_phase_failure_and_level() -> None:
    found = answers(
        (0.0, 0.010, "Recommend", "OK", 1),
        (0.5, 0.030, "Recommend", "OK", 4),
        (1.0, 0.500, "Recommend", "UNAVAILABLE", 0),
        (1.5, 0.002, "GetItems", "OK", 0),
        (2.5, 0.004, "GetItems", "OK", 0),
    )
    phases = [Phase(name="first", start_s=0, end_s=2), Phase(name="second", start_s=2, end_s=3)]
    rows = {(row.phase, row.rpc): row for row in summary.rows(found, phases)}
    assert set(rows) == {
        ("first", "Recommend"), ("first", "GetItems"), ("first", "all"), ("second", "GetItems"),
    }  # fmt: skip
    recommend = rows["first", "Recommend"]
    assert recommend.failures == {"UNAVAILABLE": 1}
    assert recommend.levels == {"full": 1, "retrieval_order": 1}
    assert (recommend.requests, recommend.rate, recommend.longest_ms) == (3, 1.0, 30.0)
    assert rows["first", "all"].requests == 4


def test_an_rpc_that_was_never_answered_has_no_percentile() -> None:
    found = answers((0.0, 0.1, "Search", "UNAVAILABLE", 0))
    (row,) = summary.rows(found, [Phase(name="one", start_s=0, end_s=1)])
    assert row.p99_ms is None
    assert row.rate == 0.0


def test_figures_have_a_value_for_each_round_and_no_percentile_of_a_handful() -> None:
    figures = {figure.name: figure for figure in a_report().figures}
    assert figures["Recommend p99"].rounds == (10.0, 10.0)
    assert figures["Recommend rate"].rounds == (10.0, 10.0)
    few = answers(*((0.01 * n, 0.1, "Search", "OK", 1) for n in range(19)))
    assert not summary.figures(few, [Phase(name="one", start_s=0, end_s=1)])
    refused = answers(*((0.01 * n, 0.1, "Search", "UNAVAILABLE", 0) for n in range(20)))
    found = summary.figures(refused, [Phase(name="one", start_s=0, end_s=1)])
    assert {each.name: each.mean for each in found} == {"Search rate": 0.0, "Search failed": 1.0}


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    report.write_text(path, a_report().model_dump_json())
    assert report.read(path) == a_report()


@pytest.mark.parametrize("text", ["", "[]", '{"format": 2}', '{"name": "funnel_100k_rps"}'])
def test_what_is_no_report_is_refused_with_the_file_s_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(NoReport, match=r"other\.json"):
        report.read(path)


def test_a_page_needs_nothing_else_and_escapes_what_it_is_given() -> None:
    shown = page(
        a_report(
            about={"target": "<b>"},
            checks={"no request failed": False},
            figures=(Figure(name="<i>", unit="ms", better="lower", rounds=(1.0,)),),
        )
    )
    assert "<svg" in shown
    assert "no request failed: no" in shown
    assert "&lt;b&gt;" in shown
    assert "&lt;i&gt;" in shown
    for foreign in ("<script", "src=", "href=", "@import", "url("):
        assert foreign not in shown


def test_answers_are_read_as_they_were_written(tmp_path: Path) -> None:
    found = answers((0.0, 0.1, "Search", "OK", 1), (1.0, 0.2, "Recommend", "UNAVAILABLE", 0))
    found.write(tmp_path / "answers.npz")
    read = Answers.read(tmp_path / "answers.npz")
    assert read.rpc.tolist() == ["Search", "Recommend"]
    assert read.level.dtype == np.int64


def test_the_level_of_a_batch_is_its_worst() -> None:
    good, bad = (
        pb.RecommendResponse(degradation=pb.Degradation(level=level))
        for level in (pb.DEGRADATION_LEVEL_FULL, pb.DEGRADATION_LEVEL_POPULARITY)
    )
    batch = pb.BatchRecommendResponse(
        results=[pb.BatchRecommendResult(response=each) for each in (good, bad, good)]
    )
    assert level_of(batch) == pb.DEGRADATION_LEVEL_POPULARITY
    assert level_of(good) == pb.DEGRADATION_LEVEL_FULL
    assert level_of(event_service_pb2.RecordEventsResponse()) == 0


async def test_in_the_open_loop_nobody_waits_for_an_answer_that_is_late() -> None:
    all_sent = asyncio.Event()
    sent = []

    async def send(number: int, due: float) -> None:
        sent.append((number, due))
        if len(sent) == 5:
            all_sent.set()
        await all_sent.wait()  # none is answered before the last was sent

    begin = perf_counter()
    times = [begin + 0.001 * number for number in range(5)]
    await at_times(times, send)
    assert sent == list(enumerate(times)), "each knows when it was due, not when it was sent"


def test_a_ramp_goes_beyond_what_the_server_can_do_and_a_spike_comes_back() -> None:
    ramp = [step.users(100) * plans.PACE for step in plans.plan("ramp", 10)]
    assert ramp == sorted(ramp)
    assert ramp[0] <= 100 < ramp[-1]
    before, spike, after = (step.users(100) for step in plans.plan("spike", 10))
    assert before == after
    assert spike == 4 * before
    with pytest.raises(ValueError, match="there are ramp, spike, soak"):
        plans.plan("storm", 10)


def test_a_plan_says_how_many_users_there_are_at_each_time_and_when_it_is_over() -> None:
    steps = plans.plan("spike", 10)
    assert [plans.users_at(steps, 100, time) for time in (0, 9.9, 10, 20, 29.9, 30)] == [
        20, 20, 80, 20, 20, None,
    ]  # fmt: skip
    assert [(phase.name, phase.start_s, phase.end_s) for phase in plans.phases(steps)] == [
        ("before", 0, 10), ("spike", 10, 20), ("after", 20, 30),
    ]  # fmt: skip
