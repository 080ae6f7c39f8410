"""Bundles change and servers go without a request being lost."""

from __future__ import annotations

import asyncio
import gc
import signal
import weakref
from collections import Counter
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from support.engines import Recorder, request
from support.servers import running, server_process
from tamis_client import AsyncTamisClient, TamisClient
from tamis_pipeline.bundle import write_bundle
from tamis_pipeline.synthetic import random_parts
from tamis_server.bundles import manifest as fmt
from tamis_server.bundles.loader import load
from tamis_server.domain.context import RequestContext
from tamis_server.domain.slate import Slate
from tamis_server.engines import build_engine
from tamis_server.funnel.funnel import Funnel
from tamis_server.settings import Settings, StateSettings
from tamis_server.stores import open_stores
from tamis_server.tables import Tables


async def test_a_swap_under_load_loses_no_request_and_mixes_no_bundles(tmp_path: Path) -> None:
    directory = tmp_path / "bundle"
    ids = [write_bundle(random_parts(items=400, seed=0), directory).bundle_id]
    answered: Counter[str] = Counter()
    async with running(directory) as server:
        swapping = True

        async def load(client: AsyncTamisClient, number: int) -> None:
            while swapping:
                response = await client.recommend(user_id=f"user-{number}", page_size=20)
                assert len(response.items) == 20
                answered[response.bundle_id] += 1

        async with AsyncTamisClient(server.target, channels=4, timeout_s=30.0) as client:
            loads = [asyncio.ensure_future(load(client, number)) for number in range(16)]
            for seed in range(1, 5):
                while not answered[ids[-1]]:
                    await asyncio.sleep(0)
                    for task in loads:
                        if task.done():
                            task.result()
                part = await asyncio.to_thread(random_parts, items=400, seed=seed)
                ids.append((await asyncio.to_thread(write_bundle, part, directory)).bundle_id)
                await server.application.reload()
            while not answered[ids[-1]]:  # noqa: ASYNC110 lets the load run
                await asyncio.sleep(0)
            swapping = False
            await asyncio.gather(*loads)
    assert list(answered) == ids, "every bundle answered, each after the one before"


async def test_a_bundle_that_is_not_whole_is_refused_and_the_old_one_serves(tmp_path: Path) -> None:
    directory = tmp_path / "bundle"
    good = write_bundle(random_parts(seed=0), directory).bundle_id
    async with (
        running(directory) as server,
        AsyncTamisClient(server.target, timeout_s=5.0) as client,
    ):
        write_bundle(random_parts(seed=1), directory)
        path = directory / fmt.VECTORS
        path.write_bytes(path.read_bytes()[:-1])
        await server.application.reload()
        assert (await client.recommend()).bundle_id == good
        status = await client.status()
        assert status.bundle.bundle_id == good
        assert status.last_rejection.startswith("vectors.npy: ")
        mended = write_bundle(random_parts(seed=2), directory).bundle_id
        await server.application.reload()
        assert (await client.recommend()).bundle_id == mended
        assert not (await client.status()).last_rejection


def test_sighup_activates_the_bundle_in_the_directory(tmp_path: Path) -> None:
    directory = tmp_path / "bundle"
    write_bundle(random_parts(seed=0), directory)
    with (
        server_process(directory, "--set", "bundle.watch_s=0") as server,
        TamisClient(server.target, timeout_s=10.0) as client,
    ):
        other = write_bundle(random_parts(seed=1), directory).bundle_id
        server.process.send_signal(signal.SIGHUP)
        server.wait_for(f"serving bundle {other}")
        assert client.status().bundle.bundle_id == other


def test_a_new_bundle_is_found_without_being_told(tmp_path: Path) -> None:
    directory = tmp_path / "bundle"
    write_bundle(random_parts(seed=0), directory)
    with server_process(directory, "--set", "bundle.watch_s=0.05") as server:
        other = write_bundle(random_parts(seed=1), directory).bundle_id
        server.wait_for(f"serving bundle {other}")


async def test_draining_says_not_serving_first_and_answers_what_is_in_flight(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, gate, entered = Funnel.run, asyncio.Event(), asyncio.Semaphore(0)

    async def held(self: Funnel, ctx: RequestContext) -> Slate:
        if ctx.user_id:
            entered.release()
            await gate.wait()
        return await run(self, ctx)

    monkeypatch.setattr(Funnel, "run", held)
    async with (
        running(bundle) as server,
        grpc.aio.insecure_channel(server.target) as channel,
        AsyncTamisClient(server.target, timeout_s=20.0) as client,
    ):
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        states = [(await watch.read()).status]
        in_flight = [
            asyncio.ensure_future(client.recommend(user_id=f"user-{number}"))
            for number in range(20)
        ]
        for _ in in_flight:
            await entered.acquire()
        draining = asyncio.ensure_future(server.application.stop())
        states.append((await watch.read()).status)
        watch.cancel()
        gate.set()
        answers = await asyncio.gather(*in_flight)
        await draining
    assert states == [
        health_pb2.HealthCheckResponse.SERVING,
        health_pb2.HealthCheckResponse.NOT_SERVING,
    ]
    assert all(len(answer.items) == 20 for answer in answers)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_server_told_to_stop_drains_and_exits_0(bundle: Path, how: signal.Signals) -> None:
    with server_process(bundle) as server:
        with TamisClient(server.target, timeout_s=10.0) as client:
            client.recommend(user_id="user-1")
        assert server.stop(how) == 0
        messages = [entry["message"] for entry in server.log]
        assert messages[-2:] == ["draining", "stopped"]


async def test_a_bundle_no_longer_served_is_freed_without_python_s_collector(
    tmp_path: Path,
) -> None:
    stores = open_stores(StateSettings(url=f"lmdb://{tmp_path}/state", fsync="never"))
    write_bundle(random_parts(content=8), tmp_path / "bundle")
    gc.disable()
    try:
        bundle = load(tmp_path / "bundle", spare=10)
        engine = build_engine(Tables.of(bundle, Settings()), stores.users, Settings(), Recorder())
        await engine.recommend.run(request("user-1", 5))
        held = [weakref.ref(bundle.vectors), weakref.ref(engine.recommend)]
        del bundle, engine
        assert [each() for each in held] == [None, None]
    finally:
        gc.enable()
        await stores.close()
