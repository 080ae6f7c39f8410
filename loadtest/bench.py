"""`make bench`: the full funnel at 100k items beside an empty handler, and the goals, in one run.

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
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filter_plan
import goals
import rankers
import state
import uvloop
from asking import RECOMMEND, open_loop, recommendations, require_answers, saturation
from baselines.running import naive
from bundles import bundle, lists
from serving import served, server

import tamis_kernels
from tamis_server.bundles.manifest import read_manifest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "kernels" / "bench"))

import deepfm
import nearest

HERE = Path(__file__).resolve().parent
REPORT = HERE / "reports" / "latest.json"


Entry = dict[str, Any]


def entry(
    name: str, value: float, unit: str, baseline: str = "", ratio: float | None = None
) -> Entry:
    """baseline: another entry's name; ratio: of the value to that one's."""
    return {
        "name": name,
        "value": round(value, 4),
        "unit": unit,
        "baseline": baseline or None,
        "ratio": None if ratio is None else round(ratio, 4),
    }


def funnel(items: int, seconds: float) -> Iterator[Entry]:
    """The full funnel beside an empty handler and the naive baseline."""
    asked = recommendations()
    with server("empty_handler.py") as under:
        empty, empty_cpu = uvloop.run(saturation(under, RECOMMEND, asked, seconds))
    # saturation is what is measured: nobody is refused
    with served(lists(items), "protection.wait_s=10") as under:
        full, cpu = uvloop.run(saturation(under, RECOMMEND, asked, seconds))
        calm = uvloop.run(open_loop(under, full.rate / 2, seconds))
        rss = under.rss_mb()
    with served(lists(items), "protection.wait_s=10", "ranking.precision=int8") as under:
        coded, coded_cpu = uvloop.run(saturation(under, RECOMMEND, asked, seconds))
    with naive(bundle(items)) as (under, store):
        simple, simple_cpu = uvloop.run(saturation(under, RECOMMEND, asked, seconds))
    require_answers(empty, full, calm, coded, simple)
    size = f"funnel_{items // 1000}k"
    for name, load, spent in ((size, full, cpu), (f"{size}_int8", coded, coded_cpu)):
        against = load.rate / empty.rate, spent / empty_cpu
        yield entry(f"{name}_rps", load.rate, "requests/s", "empty_handler_rps", against[0])
        yield entry(f"{name}_cpu_us", spent * 1e6, "us/request", "empty_handler_cpu_us", against[1])
    for name, percent in (("p50", 50), ("p99", 99), ("p999", 99.9)):
        yield entry(f"{size}_{name}_ms", calm.percentile_ms(percent), "ms at half of saturation")
    yield entry(f"{size}_rss_mb", rss, "MiB")
    yield entry("empty_handler_rps", empty.rate, "requests/s")
    yield entry("empty_handler_cpu_us", empty_cpu * 1e6, "us/request")
    yield entry(
        "naive_rps", simple.rate, f"requests/s, {store}", f"{size}_rps", simple.rate / full.rate
    )
    yield entry(
        "naive_cpu_us",
        simple_cpu * 1e6,
        "us/request, without Redis",
        f"{size}_cpu_us",
        simple_cpu / cpu,
    )


def kernels(many_items: int) -> Iterator[Entry]:
    """Kernels beside what else there is for the same, one thread."""
    best = tamis_kernels.available_levels()[-1]
    for items, size in ((200_000, "200k"), (many_items, f"{many_items // 1_000_000}m")):
        (found,) = nearest.measured(items, 64, clustered=True, beams=(300,))
        name, us = f"ann_{size}", found.us["hnswlib"]
        yield entry(f"{name}_hnswlib_qps", 1e6 / us, f"queries/s, recall@200 {found.recall:.3f}")
        for way in ("graph", "lists"):
            us, ratio = found.us[f"{way} {best}"], found.ratio[f"{way} {best}"]
            yield entry(f"{name}_{way}_qps", 1e6 / us, "queries/s", f"{name}_hnswlib_qps", ratio)
    table = deepfm.measured()
    against = "onnxruntime, bundle"
    yield entry("deepfm_500_us_onnxruntime", table[against]["us"], "us, 500 candidates")
    for precision in deepfm.TABLES:
        row = table[f"{best} {precision}"]
        name = f"deepfm_500_us_{precision}"
        yield entry(name, row["us"], "us", "deepfm_500_us_onnxruntime", row[against])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--many-items", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    options = parser.parse_args()
    entries = list(funnel(options.items, options.seconds))
    entries += [entry(*each) for each in goals.figures(options.many_items, options.seconds)]
    for name, value, unit in (
        *filter_plan.figures(options.items),
        *state.figures(options.seconds),
        *rankers.figures(options.seconds),
    ):
        entries.append(entry(name, value, unit))
    entries += kernels(options.many_items)
    about = {
        "commit": _commit(),
        "kernel_level": tamis_kernels.level(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "bundle": read_manifest(lists(options.items)).bundle_id,
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
