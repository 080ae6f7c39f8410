"""`make bench`: the full funnel at 100k items beside an empty handler, in one run.

Writes loadtest/reports/latest.json, a list of {"name", "value", "unit", "baseline", "ratio"};
``baseline`` names another entry of the same run. One server process at a time, the driver beside
it on the same machine: ratios mean more than the absolute figures.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import filter_plan
import numpy as np
import rankers
import state
import uvloop
from baselines.running import naive
from bundles import USERS, bundle
from driver import Load, calls, offer, saturate
from serving import Server, served, server

import tamis_kernels
from tamis.v1 import recommend_service_pb2 as pb
from tamis_server.bundles.manifest import read_manifest

HERE = Path(__file__).resolve().parent
REPORT = HERE / "reports" / "latest.json"
METHOD = "/tamis.v1.RecommendService/Recommend"
CHANNELS = 8
IN_FLIGHT = 32


def requests(page_size: int = 20) -> list[bytes]:
    """A request for each user in an order of its own: nothing repeats for long."""
    users = np.random.default_rng(1).permutation(USERS)
    predicate = pb.Predicate(attribute="colour")
    values = getattr(predicate, "in").values  # a keyword of Python's
    values.extend(pb.Value(text=colour) for colour in ("red", "green", "blue"))
    return [
        pb.RecommendRequest(
            user_id=f"user-{user}", page_size=page_size, predicates=[predicate]
        ).SerializeToString()
        for user in users
    ]


async def saturation(under: Server, seconds: float) -> tuple[Load, float]:
    """The load at saturation and the server's CPU-seconds per request."""
    async with calls(under.target, METHOD, CHANNELS) as call:
        prepared = requests()
        await saturate(call, prepared, in_flight=IN_FLIGHT, seconds=min(2.0, seconds))
        before = under.cpu_seconds()
        load = await saturate(call, prepared, in_flight=IN_FLIGHT, seconds=seconds)
        cpu = under.cpu_seconds() - before
    return load, cpu / max(len(load.latencies_s), 1)


async def open_loop(under: Server, rate: float, seconds: float) -> Load:
    async with calls(under.target, METHOD, CHANNELS) as call:
        return await offer(call, requests(), rate=rate, seconds=seconds)


def entry(
    name: str, value: float, unit: str, baseline: str = "", against: float = 0.0
) -> dict[str, Any]:
    ratio = round(value / against, 4) if baseline and against else None
    return {
        "name": name,
        "value": round(value, 4),
        "unit": unit,
        "baseline": baseline or None,
        "ratio": ratio,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    options = parser.parse_args()
    directory = bundle(options.items)
    with server("empty_handler.py") as under:
        empty, empty_cpu = uvloop.run(saturation(under, options.seconds))
    # saturation is what is measured: nobody is refused
    with served(directory, "protection.wait_s=10") as under:
        full, cpu = uvloop.run(saturation(under, options.seconds))
        calm = uvloop.run(open_loop(under, full.rate / 2, options.seconds))
        rss = under.rss_mb()
    with naive(directory) as (under, store):
        simple, simple_cpu = uvloop.run(saturation(under, options.seconds))
    failures = {**empty.failures, **full.failures, **calm.failures, **simple.failures}
    if failures:
        raise SystemExit(f"requests failed, the figures would mean nothing: {failures}")
    size = f"funnel_{options.items // 1000}k"
    entries = [
        entry("empty_handler_rps", empty.rate, "requests/s"),
        entry("empty_handler_cpu_us", empty_cpu * 1e6, "us/request"),
        entry(f"{size}_rps", full.rate, "requests/s", "empty_handler_rps", empty.rate),
        entry(f"{size}_p50_ms", calm.percentile_ms(50), "ms at half of saturation"),
        entry(f"{size}_p99_ms", calm.percentile_ms(99), "ms at half of saturation"),
        entry(f"{size}_p999_ms", calm.percentile_ms(99.9), "ms at half of saturation"),
        entry(f"{size}_cpu_us", cpu * 1e6, "us/request", "empty_handler_cpu_us", empty_cpu * 1e6),
        entry(f"{size}_rss_mb", rss, "MiB"),
        entry("naive_rps", simple.rate, f"requests/s, {store}", f"{size}_rps", full.rate),
        entry(
            "naive_cpu_us",
            simple_cpu * 1e6,
            "us/request, without Redis",
            f"{size}_cpu_us",
            cpu * 1e6,
        ),
    ]
    for name, value, unit in (
        *filter_plan.figures(options.items),
        *state.figures(options.seconds),
        *rankers.figures(options.seconds),
    ):
        entries.append(entry(name, value, unit))
    about = {
        "commit": _commit(),
        "kernel_level": tamis_kernels.level(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "bundle": read_manifest(directory).bundle_id,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    for each in entries:
        each.update(about)
    REPORT.parent.mkdir(exist_ok=True)
    temporary = REPORT.with_suffix(".partial")
    temporary.write_text(json.dumps(entries, indent=2) + "\n")
    temporary.rename(REPORT)
    for each in entries:
        ratio = f"  {each['ratio']} x {each['baseline']}" if each["baseline"] else ""
        print(f"{each['name']:<30} {each['value']:>12.3f} {each['unit']}{ratio}")


def _commit() -> str:
    result = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"],
        capture_output=True, text=True, check=False, cwd=HERE,
    )  # fmt: skip
    return result.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
