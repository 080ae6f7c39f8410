"""The goals that need a million items, several workers, swaps or events beside the load.

Usage: python loadtest/goals.py [--items 1000000] [--seconds 10]. Part of ``make bench``. The
ranker's item table is float16 here (``ranking.precision=f16``): what a catalogue of this size is
served with; everything else is at its default.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import uvloop
from asking import CHANNELS, RECOMMEND, open_loop, recommendations, require_answers, saturation
from bundles import USERS, lists
from driver import Load, calls, offer, saturate
from serving import Server, served, server

from scenarios.disturbances import Releases, swap
from tamis.v1 import event_service_pb2, item_pb2
from tamis.v1 import recommend_service_pb2 as pb

BATCH = "/tamis.v1.RecommendService/BatchRecommend"
RECORD = "/tamis.v1.EventService/RecordEvents"
BATCHED, EVENTS, WRITERS = 100, 100, 16
SETTINGS = ("protection.wait_s=10", "ranking.precision=f16")
SMALL = 10_000
_PATIENCE_S = 120.0


Figure = (
    tuple[str, float, str] | tuple[str, float, str, str, float]
)  # what it is against, and ratio


def figures(items: int, seconds: float) -> Iterator[Figure]:
    """All of them, in one run. Raises SystemExit where requests failed that may not."""
    directory, size = lists(items), f"{items // 1_000_000}m"
    with server("empty_handler.py") as under:
        empty, _ = uvloop.run(saturation(under, RECOMMEND, recommendations(), seconds))
    with served(lists(SMALL), *SETTINGS) as under:
        _, small_cpu = uvloop.run(saturation(under, RECOMMEND, recommendations(), seconds))
        small_mb = under.pss_mb()
    with served(directory, *SETTINGS):
        pass  # so that the files are in memory
    start = time.perf_counter()
    with served(directory, *SETTINGS) as under:
        yield ("start_to_ready_s", time.perf_counter() - start, f"s, {items:,} items")
        full, cpu = uvloop.run(saturation(under, RECOMMEND, recommendations(), seconds))
        batches = [
            pb.BatchRecommendRequest(
                requests=[pb.RecommendRequest.FromString(each) for each in some]
            ).SerializeToString()
            for some in np.array_split(recommendations(), USERS // BATCHED)
        ]
        many, _ = uvloop.run(saturation(under, BATCH, batches, seconds, in_flight=4))
        alone_mb = under.pss_mb()
        yield from _events(under, full.rate / 2, seconds)
    require_answers(empty, full, many)
    yield (
        f"funnel_{size}_rps",
        full.rate,
        "requests/s",
        "empty_handler_rps",
        full.rate / empty.rate,
    )
    yield (f"funnel_{size}_cpu_us", cpu * 1e6, "us/request")
    users = many.rate * BATCHED
    yield ("batch_users_per_s", users, "users/s", f"funnel_{size}_rps", users / full.rate)
    yield (
        "growth_10k_1m_cpu", cpu * 1e6, "us/request", f"{small_cpu * 1e6:.0f} us at 10k",
        cpu / small_cpu,
    )  # fmt: skip
    grown = (alone_mb - small_mb) * (1 << 20) / (items - SMALL)
    yield ("bytes_per_item", grown, "bytes, all that grows with the catalogue")
    yield from _workers(directory, size, alone_mb, seconds)


def _workers(directory: Path, size: str, alone_mb: float, seconds: float) -> Iterator[Figure]:
    """Two workers: latency below saturation, memory, and swaps under load."""
    with TemporaryDirectory(dir=directory.parent) as scratch:
        releases = Releases(directory, Path(scratch))
        with served(releases.link, *SETTINGS, "server.workers=2") as under:
            both, _ = uvloop.run(saturation(under, RECOMMEND, recommendations(), seconds))
            mb = under.pss_mb()
            calm = uvloop.run(open_loop(under, both.rate * 0.6, 3 * seconds))
            half = uvloop.run(open_loop(under, both.rate * 0.5, 3 * seconds))
            disturbed = uvloop.run(_swapped(under, releases, both.rate * 0.5))
    require_answers(both, calm, half)
    yield (f"funnel_{size}_2_workers_rps", both.rate, "requests/s")
    for percent in (50, 99):
        yield (
            f"funnel_{size}_p{percent}_ms",
            calm.percentile_ms(percent),
            "ms at 60 % of saturation",
        )
    yield ("worker_extra_rss_mb", mb - alone_mb, "MiB, pages that are shared counted once")
    steady, swapping = half.percentile_ms(99), disturbed.percentile_ms(99)
    against = f"{steady:.1f} ms steady"
    yield ("swap_p99_ms", swapping, "ms while a bundle is swapped", against, swapping / steady)
    yield ("swap_failed", sum(disturbed.failures.values()), "requests")


async def _swapped(under: Server, releases: Releases, rate: float) -> Load:
    """The load for as long as a swap takes, from a second before it to a second after it."""
    over = asyncio.Event()
    failed: list[str] = []

    async def release() -> None:
        await asyncio.sleep(1)
        await asyncio.to_thread(swap, under, releases, failed)
        await asyncio.sleep(1)
        over.set()

    async with calls(under.target, RECOMMEND, CHANNELS) as call:
        releasing = asyncio.create_task(release())
        load = await offer(call, recommendations(), rate=rate, seconds=_PATIENCE_S, until=over)
        await releasing
    if failed:
        raise SystemExit(f"the bundle was not swapped: {failed}")
    return load


def _events(under: Server, rate: float, seconds: float) -> Iterator[Figure]:
    """Events a second that are durable, beside a load of requests: after as long of the same, in
    which most users get their records and the store its size."""
    rng = np.random.default_rng(3)
    prepared = [
        event_service_pb2.RecordEventsRequest(
            events=[
                item_pb2.Event(
                    event_id=f"{batch}-{number}",
                    user_id=f"user-{rng.integers(USERS)}",
                    item_id=f"item-{rng.integers(SMALL)}",
                    kind=item_pb2.EVENT_KIND_VIEW,
                )
                for number in range(EVENTS)
            ]
        ).SerializeToString()
        for batch in range(int(2000 + 800 * seconds))
    ]
    before, counted = prepared[: len(prepared) // 2], prepared[len(prepared) // 2 :]

    async def both(batches: list[bytes]) -> tuple[Load, Load]:
        async with (
            calls(under.target, RECOMMEND, CHANNELS) as ask,
            calls(under.target, RECORD, WRITERS) as record,
        ):
            return await asyncio.gather(
                saturate(record, batches, in_flight=WRITERS, seconds=seconds),
                offer(ask, recommendations(), rate=rate, seconds=seconds),
            )

    for batches in (before, counted):
        recorded, asked = uvloop.run(both(batches))
        require_answers(recorded, asked)
    yield (
        "events_per_s",
        recorded.rate * EVENTS,
        f"events/s beside {rate:.0f} requests/s, durable",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    options = parser.parse_args()
    for name, value, unit, *against in figures(options.items, options.seconds):
        ratio = f"  {against[1]:.3f} x {against[0]}" if against else ""
        print(f"{name:<30} {value:>12.3f} {unit}{ratio}", flush=True)


if __name__ == "__main__":
    main()
