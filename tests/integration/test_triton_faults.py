"""The funnel over real Triton servers that fail: every answer whole and in time, and full quality
again when the fault is over."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import pytest

from support.deep_shop import PATIENCE_S, deep_shop, write_deep_bundle, write_faulty_repository
from support.triton import require_triton
from tamis_server.domain.candidates import DegradationLevel
from tamis_server.protection.breaker import State
from triton_local.server import TritonServer

HUNG_S = 10.0
NO_HURRY_S = 0.8  # where it is not lateness that is tested
FULL, LIGHT = DegradationLevel.FULL, DegradationLevel.LIGHT_RANKER


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_triton()
    return write_deep_bundle(tmp_path_factory.mktemp("deep") / "bundle")


@dataclass
class Faulty:
    server: TritonServer
    mode: Path


@pytest.fixture(scope="module")
def started(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    repository = tmp_path_factory.mktemp("faulty")
    mode = write_faulty_repository(bundle, repository)
    options = ("--model-control-mode=explicit", "--load-model=*")
    with TritonServer(repository, *options) as server:
        yield Faulty(server, mode)


@pytest.fixture
def faulty(started: Faulty) -> Faulty:
    started.mode.write_text("ok")
    return started


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("nan", "1 probabilities that are not finite"),
        ("shape", "where float32"),
        ("slow", "Deadline Exceeded|took longer"),  # by gRPC's clock or by the stage's
    ],
)
async def test_a_model_that_goes_wrong_is_replaced_by_the_light_ranker_while_it_does(
    bundle: Path, faulty: Faulty, mode: str, reason: str
) -> None:
    async with deep_shop(bundle, [faulty.server.endpoint]) as shop:
        await shop.until(FULL)
        faulty.mode.write_text(mode)
        slate = await shop.until(LIGHT)
        assert slate.causes[0].stage == "ranking"
        assert re.search(reason, slate.causes[0].reason)
        for user in range(10):
            assert (await shop.ask(user)).level is LIGHT
        faulty.mode.write_text("ok")
        await shop.until(FULL)


async def test_a_crashed_model_is_left_alone_until_it_is_loaded_again(
    bundle: Path, faulty: Faulty
) -> None:
    import tritonclient.grpc.aio as client

    async with deep_shop(bundle, [faulty.server.endpoint]) as shop:
        await shop.until(FULL)
        faulty.mode.write_text("crash")
        await shop.until(LIGHT)
        for user in range(20):
            assert (await shop.ask(user)).level is LIGHT
        assert shop.model.endpoints[0].breaker.openings > 0
        faulty.mode.write_text("ok")
        connection = client.InferenceServerClient(faulty.server.endpoint)
        await connection.unload_model("deepfm")
        await connection.load_model("deepfm")
        await connection.close()
        await shop.until(FULL)


async def test_a_model_that_is_loaded_again_under_load_costs_no_answer(
    bundle: Path, faulty: Faulty
) -> None:
    import tritonclient.grpc.aio as client

    async with deep_shop(bundle, [faulty.server.endpoint]) as shop:
        await shop.until(FULL)
        connection = client.InferenceServerClient(faulty.server.endpoint)
        for _ in range(3):
            # a reload is one only where something has changed
            os.utime(faulty.mode.parent / "1" / "model.py")
            reload = asyncio.ensure_future(connection.load_model("deepfm"))
            while not reload.done():
                answers = await asyncio.gather(*(shop.ask(user) for user in range(4)))
                assert {slate.level for slate in answers} <= {FULL, LIGHT}
            await reload
        await connection.close()
        await shop.until(FULL)


async def test_a_version_that_is_not_there_degrades_and_says_so(
    bundle: Path, faulty: Faulty
) -> None:
    async with deep_shop(
        bundle, [faulty.server.endpoint], "deepfm:7", timeout_s=NO_HURRY_S
    ) as shop:
        slate = await shop.ask()
        assert slate.level is LIGHT
        assert "NOT_FOUND" in slate.causes[0].reason


async def test_a_model_made_with_another_bundle_is_not_believed(
    bundle: Path, faulty: Faulty, tmp_path: Path
) -> None:
    other = write_deep_bundle(tmp_path / "other", seed=1)
    async with deep_shop(other, [faulty.server.endpoint], timeout_s=NO_HURRY_S) as shop:
        slate = await shop.ask()
        assert slate.level is LIGHT
        assert "made with another bundle" in slate.causes[0].reason


async def test_a_killed_server_is_used_again_when_it_is_back(bundle: Path) -> None:
    with TritonServer(bundle / "models") as server:
        async with deep_shop(bundle, [server.endpoint]) as shop:
            await shop.until(FULL)
            server.stop()
            await shop.until(LIGHT)
            for user in range(20):
                assert (await shop.ask(user)).level is LIGHT
            await asyncio.to_thread(server.start)
            await shop.until(FULL)


async def test_a_server_that_hangs_costs_no_answer(bundle: Path) -> None:
    with TritonServer(bundle / "models") as server:
        async with deep_shop(bundle, [server.endpoint]) as shop:
            await shop.until(FULL)
            server.signal(signal.SIGSTOP)
            await shop.until(LIGHT)
            end, levels = monotonic() + HUNG_S, set()
            while monotonic() < end:
                answers = await asyncio.gather(*(shop.ask(user) for user in range(4)))
                levels |= {slate.level for slate in answers}
                await asyncio.sleep(0.02)
            assert levels == {LIGHT}
            server.signal(signal.SIGCONT)
            await shop.until(FULL)


async def test_of_two_servers_one_may_restart_at_any_time(bundle: Path) -> None:
    models = bundle / "models"
    with TritonServer(models) as first, TritonServer(models) as second:
        async with deep_shop(bundle, [first.endpoint, second.endpoint]) as shop:
            await shop.until(FULL)
            levels = []
            for server in (first, second):
                restart = asyncio.ensure_future(asyncio.to_thread(_restart, server))
                while not restart.done():
                    answers = await asyncio.gather(*(shop.ask(user) for user in range(4)))
                    levels += [slate.level for slate in answers]
                await restart
                for endpoint in shop.model.endpoints:  # both are needed before the next goes
                    for _ in range(500):
                        if endpoint.state is State.CLOSED:
                            break
                        await shop.ask()
                        await asyncio.sleep(0.02)
                    assert endpoint.state is State.CLOSED
            assert levels.count(FULL) > 0.9 * len(levels), levels


def _restart(server: TritonServer) -> None:
    server.drain()
    server.start()


async def test_of_two_servers_a_slow_one_is_helped_out_and_then_left_alone(
    bundle: Path, faulty: Faulty
) -> None:
    with TritonServer(bundle / "models") as second:
        endpoints = [faulty.server.endpoint, second.endpoint]
        async with deep_shop(bundle, endpoints, timeout_s=1.0) as shop:
            await shop.until(FULL)
            for user in range(60):  # so that it knows what is slow
                await shop.ask(user)
            faulty.mode.write_text("slower")
            slow = shop.model.endpoints[0].breaker
            slates = [await shop.ask(user) for user in range(60)]
            async with asyncio.timeout(PATIENCE_S):
                while not slow.openings:  # it takes longer where they were not that quick before
                    slates.append(await shop.ask(len(slates)))
            assert [slate.causes for slate in slates if slate.level is not FULL] == []
            assert shop.model.hedges > 0


async def test_nothing_is_left_behind_by_ten_faults(bundle: Path, faulty: Faulty) -> None:
    async with deep_shop(bundle, [faulty.server.endpoint]) as shop:

        async def round_of_faults() -> tuple[int, int]:
            for mode in ("nan", "shape", "slow"):
                faulty.mode.write_text(mode)
                await shop.until(LIGHT)
                faulty.mode.write_text("ok")
                await shop.until(FULL)
            faulty.server.signal(signal.SIGSTOP)
            await shop.until(LIGHT)
            await asyncio.gather(*(shop.ask(user) for user in range(20)))
            faulty.server.signal(signal.SIGCONT)
            await shop.until(FULL)
            return len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())  # noqa: PTH208

        await shop.until(FULL)
        first, last = await round_of_faults(), (0, 0)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(9):
            last = await round_of_faults()
        grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert last[0] <= first[0]
        assert last[1] == first[1]
        assert grown_kb < 20_000
