"""One DeepFM, run three ways: by the native kernel, by onnxruntime in process, by a Triton server.

A run is what ranking adds to a request: features of the user included, retrieval not. At one at a
time it shows what a way costs; with many in flight, what sharing runs is worth.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import numpy as np
import uvloop

from tamis_pipeline.bundle import write_bundle
from tamis_pipeline.rankers import export
from tamis_pipeline.synthetic import random_parts
from tamis_server.adapters.embedded.deepfm import NativeDeepFM
from tamis_server.adapters.embedded.features import ColumnFeatures
from tamis_server.bundles.loader import Bundle, load
from tamis_server.domain.candidates import Candidates
from tamis_server.domain.context import Deadline, History, RequestContext
from tamis_server.domain.ports import Ranker
from tamis_server.rankers import deep_ranker, open_triton
from tamis_server.settings import RankingSettings

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

from triton_local.server import NoTriton, TritonServer

ITEMS, USERS, IN_FLIGHT = 20_000, 100, 16
Figure = tuple[str, float, str]


def figures(seconds: float) -> Iterator[Figure]:
    """Of each way, at 200 and 500 candidates."""
    with TemporaryDirectory() as scratch:
        directory = Path(scratch) / "bundle"
        parts = random_parts(items=ITEMS, users=USERS)
        models = {"deepfm/1/model.onnx": export.deepfm(parts.ranker, parts.features)}
        write_bundle(replace(parts, models=models), directory)
        bundle = load(directory)
        yield from uvloop.run(_measured(bundle, "native", "", None, seconds))
        yield from uvloop.run(_measured(bundle, "onnxruntime", "onnx://deepfm", None, seconds))
        try:
            server = TritonServer(directory / "models")
        except NoTriton as error:
            print(f"SKIPPED (1): ranking by Triton: {error}", file=sys.stderr)
            return
        with server:
            url = f"triton://{server.endpoint}/deepfm"
            yield from uvloop.run(_measured(bundle, "triton", url, server, seconds))


async def _measured(
    bundle: Bundle, name: str, url: str, server: TritonServer | None, seconds: float
) -> list[Figure]:
    found: list[Figure] = []
    async with _ranker(bundle, url) as ranker:
        for count in (200, 500):
            asked = [each async for each in _requests(bundle, count)]
            await _offer(ranker, asked, 1, min(seconds, 0.5))
            for at_once in (1, IN_FLIGHT):
                before, start = process_time() + _cpu(server), perf_counter()
                taken = await _offer(ranker, asked, at_once, seconds)
                cpu = process_time() + _cpu(server) - before
                what = f"rank_{name}_{count}{'' if at_once == 1 else '_batched'}"
                found += [
                    (f"{what}_rps", len(taken) / (perf_counter() - start), "requests/s"),
                    (f"{what}_p50_ms", float(np.percentile(taken, 50)) * 1e3, "ms"),
                    (f"{what}_p99_ms", float(np.percentile(taken, 99)) * 1e3, "ms"),
                    (f"{what}_cpu_us", cpu / len(taken) * 1e6, "us/request, server included"),
                ]
    return found


@asynccontextmanager
async def _ranker(bundle: Bundle, url: str) -> AsyncIterator[Ranker]:
    settings = RankingSettings(url=url, timeout_s=30)
    light = NativeDeepFM(bundle, {})
    triton = open_triton(settings)
    yield deep_ranker(bundle, triton, light, settings) or light
    for model in triton.values():
        await model.close()


async def _requests(bundle: Bundle, count: int) -> AsyncIterator[tuple[RequestContext, Candidates]]:
    rng = np.random.default_rng(0)
    features = ColumnFeatures(bundle)
    for user in bundle.users.to_pylist():
        past = History(
            np.array(user["rows"], np.int32),
            np.array(user["times"]),
            np.array(user["kinds"], np.uint8),
        )
        query = bundle.vectors[rng.integers(bundle.manifest.items)]
        ctx = RequestContext(
            "bench", user["user_id"], 20, Deadline.after(3600), bundle.manifest.as_of,
            history=past, query=query,
        )  # fmt: skip
        rows = rng.choice(bundle.manifest.items, count, replace=False).astype(np.int32)
        columns = await features.columns(ctx, rows)
        empty = np.zeros(count, np.float32), np.zeros(count, np.uint32)
        yield ctx, Candidates(rows, *empty, columns)


async def _offer(
    ranker: Ranker,
    asked: list[tuple[RequestContext, Candidates]],
    at_once: int,
    seconds: float,
) -> list[float]:
    """Seconds of each request."""
    taken: list[float] = []
    end = perf_counter() + seconds

    async def client(number: int) -> None:
        while (start := perf_counter()) < end:
            await ranker.score(*asked[(number + len(taken)) % len(asked)])
            taken.append(perf_counter() - start)

    await asyncio.gather(*(client(number) for number in range(at_once)))
    return taken


def _cpu(server: TritonServer | None) -> float:
    return 0.0 if server is None else server.cpu_seconds()


if __name__ == "__main__":
    for figure, value, unit in figures(3.0):
        print(f"{figure:<36} {value:>10.3f} {unit}")
