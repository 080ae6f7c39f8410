"""Each scenario of ``make loadtest``, short, against a real server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from scenarios import DEMO, ghz, locust, open_loop, plans, report
from scenarios.answers import Answers
from scenarios.report import Report
from scenarios.rpcs import RPCS
from support.servers import server_process

ROOT = Path(__file__).resolve().parents[2]


def loadtest(out: Path, *arguments: str, status: int = 0) -> list[Report]:
    """What ``make loadtest`` runs; the reports that it wrote."""
    ran = subprocess.run(
        [sys.executable, "-m", "scenarios", *arguments, "--out", str(out)],
        cwd=ROOT, env={"PYTHONPATH": str(ROOT / "loadtest"), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert ran.returncode == status, ran.stdout + ran.stderr
    if status:
        assert ran.stderr.startswith("loadtest: ")
        assert "Traceback" not in ran.stderr
    pages = sorted(out.glob("*.html"))
    assert all(page.read_text().startswith("<!doctype html>") for page in pages)
    return [report.read(page.with_suffix(".json")) for page in pages]


def test_the_open_loop_measures_two_servers_by_turns(bundle: Path, tmp_path: Path) -> None:
    quiet = ("--set", "server.access_log=false")
    with server_process(bundle, *quiet) as one, server_process(bundle, *quiet) as other:
        reports = loadtest(
            tmp_path, "open-loop", "--bundle", str(bundle), "--target", one.target, "--beside",
            other.target, "--rate", "60", "--seconds", "1", "--rounds", "3",
        )  # fmt: skip
    assert len({each.pair for each in reports}) == 1
    assert {each.about["target"] for each in reports} == {one.target, other.target}
    for each in reports:
        assert [len(figure.rounds) for figure in each.figures] == [3] * len(each.figures)
        (total,) = [row for row in each.rows if row.rpc == "all"]
        assert total.requests == 180
        assert not total.failures
    (recommend,) = [row for row in reports[0].rows if row.rpc == "Recommend"]
    assert recommend.levels["full"] > 0


class Refusing(grpc.GenericRpcHandler):
    """Answers UNAVAILABLE to whatever is asked, and counts it."""

    def __init__(self) -> None:
        self.asked = 0

    def service(self, _details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        def refuse(_request: bytes, context: grpc.ServicerContext) -> bytes:
            context.abort(grpc.StatusCode.UNAVAILABLE, "not today")

        self.asked += 1
        return grpc.unary_unary_rpc_method_handler(refuse)


@contextmanager
def refusing() -> Iterator[tuple[str, Refusing]]:
    handler, server = Refusing(), grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}", handler
    server.stop(None).wait()


def assert_each_is_counted(answers: Answers, server: Refusing, under_way: int = 0) -> None:
    """under_way: how many may be when the run ends, of which nobody hears."""
    assert set(answers.code.tolist()) == {"UNAVAILABLE"}
    assert 0 <= server.asked - len(answers) <= under_way


async def test_the_open_loop_counts_each_call_that_a_server_refused(bundle: Path) -> None:
    with refusing() as (target, server):
        (run,) = await open_loop.run([target], bundle, rate=40, seconds=1, rounds=1)
    assert_each_is_counted(run.answers, server)


@pytest.mark.skipif(not locust.installed(), reason="locust is not there: '.[loadtest]' has it")
def test_locust_counts_each_call_that_a_server_refused(bundle: Path) -> None:
    steps, capacity = plans.plan("spike", 1.0), 10.0
    with refusing() as (target, server):
        answers = locust.run("spike", target, bundle, steps, capacity)
    assert_each_is_counted(answers, server, under_way=steps[-1].users(capacity))


def as_written(part: str) -> str:
    """The command of docs/load-testing.md that has this in it."""
    page = (ROOT / "docs" / "load-testing.md").read_text()
    (found,) = [line for line in page.splitlines() if line.startswith("    ") and part in line]
    return found.strip()


def by_hand(part: str, target: str) -> str:
    """What it prints, against a server of our own."""
    command = as_written(part).replace("127.0.0.1:50051", target)
    programs = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    ran = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, env=programs,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


@pytest.mark.skipif(not ghz.PROGRAM.is_file(), reason="ghz is not there: make tools")
def test_ghz_runs_by_hand_as_the_page_says() -> None:
    with server_process(DEMO, "--set", "server.access_log=false") as server:
        assert "recommend.json" in by_hand("-m scenarios.data", server.target)
        assert "[OK]" in by_hand(".tools/bin/ghz", server.target)


@pytest.mark.skipif(not locust.installed(), reason="locust is not there: '.[loadtest]' has it")
def test_locust_runs_by_hand_as_the_page_says() -> None:
    with server_process(DEMO, "--set", "server.access_log=false") as server:
        shown = by_hand("--headless", server.target)
    assert "RelatedItems" in shown
    assert "RuntimeError" not in shown


def test_a_target_that_serves_another_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    with server_process(bundle) as server:
        loadtest(tmp_path, "open-loop", "--target", server.target, status=2)


@pytest.mark.skipif(not ghz.PROGRAM.is_file(), reason="ghz is not there: make tools")
def test_ghz_calls_every_rpc_but_search_and_none_fails(bundle: Path, tmp_path: Path) -> None:
    with server_process(bundle, "--set", "server.access_log=false") as server:
        (found,) = loadtest(
            tmp_path, "ghz", "--bundle", str(bundle), "--target", server.target,
            "--seconds", "0.3", "--rounds", "1",
        )  # fmt: skip
    assert {row.rpc for row in found.rows} == set(RPCS) - {"Search"}, "it has no CLIP"
    assert not any(row.failures for row in found.rows)


@pytest.mark.skipif(not locust.installed(), reason="locust is not there: '.[loadtest]' has it")
def test_locust_s_spike_is_reported_by_phase_rpc_and_level(bundle: Path, tmp_path: Path) -> None:
    with server_process(bundle, "--set", "server.access_log=false") as server:
        (found,) = loadtest(
            tmp_path, "spike", "--bundle", str(bundle), "--target", server.target,
            "--rate", "60", "--seconds", "2", "--rounds", "1",
        )  # fmt: skip
    assert [phase.name for phase in found.phases] == ["before", "spike", "after"]
    asked = {row.phase: row.requests for row in found.rows if row.rpc == "Recommend"}
    assert asked["spike"] > asked["before"]
    assert sum(row.levels.get("full", 0) for row in found.rows) > 20
    assert not any(row.failures for row in found.rows), "it waits for answers, however late"


@pytest.mark.skipif(not locust.installed(), reason="locust is not there: '.[loadtest]' has it")
def test_a_short_soak_swaps_bundles_and_restarts_workers_and_nothing_fails_by_itself(
    bundle: Path, tmp_path: Path
) -> None:
    (found,) = loadtest(
        tmp_path,
        "soak",
        "--bundle",
        str(bundle),
        "--rate",
        "40",
        "--seconds",
        "10",
        "--rounds",
        "1",
    )
    assert found.checks, "and all held, or it would have ended with status 1"
    assert {code for row in found.rows for code in row.failures} <= {"CANCELLED", "UNAVAILABLE"}
    assert any(re.match(r"\d+ swaps and [1-9]\d* restarts", check) for check in found.checks)
    assert {series.plot for series in found.series} >= {"Memory", "Descriptors", "Latency"}
