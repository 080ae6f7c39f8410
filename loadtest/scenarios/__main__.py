"""``make loadtest SCENARIO=…``: one scenario against a server, reported as JSON and as a page.

Without --target the bundle is served beside the load, on this machine, by a process of its own.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
from serving import served

from scenarios import DEMO, runs, soak
from scenarios.ghz import NoGhz
from scenarios.locust import NoLocust
from scenarios.page import page
from scenarios.report import REPORTS, Report, write_text
from tamis.v1 import admin_service_pb2, admin_service_pb2_grpc
from tamis_server.bundles.manifest import read_manifest
from tamis_server.domain.errors import BundleRejected

_SHOWN = "{:<38} {:>12} {:<12} {}"


class OtherBundle(Exception):
    """The target serves another bundle than requests are drawn from."""


def main() -> int:
    options = _options()
    try:
        reports = _run(options)
    except (NoGhz, NoLocust, OtherBundle, BundleRejected, RuntimeError) as error:
        print(f"loadtest: {error}", file=sys.stderr)
        return 2
    held = True
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    for report, suffix in zip(reports, ("", "-beside"), strict=False):
        path = options.out / f"{report.scenario}-{stamp}{suffix}.json"
        write_text(path, report.model_dump_json(indent=1) + "\n")
        write_text(path.with_suffix(".html"), page(report))
        _show(report, path)
        held &= all(report.checks.values())
    return 0 if held else 1


def _run(options: argparse.Namespace) -> list[Report]:
    with _target(options) as (target, place):
        targets = [each for each in (target, options.beside) if each]
        for each in targets:
            _check_bundle(each, options.bundle)
        asked = runs.Asked(
            tuple(targets), options.bundle, options.rate, options.seconds, options.rounds, place
        )
        return runs.SCENARIOS[options.scenario](asked)


@contextmanager
def _target(options: argparse.Namespace) -> Iterator[tuple[str, soak.Place | None]]:
    """Where the server is, and what a soak may do to it where it is ours."""
    if options.target:
        yield options.target, None
    elif options.scenario == "soak":
        with soak.place(options.bundle) as place:
            yield place.under.target, place
    else:
        with served(options.bundle) as under:
            yield under.target, None


def _check_bundle(target: str, bundle: Path) -> None:
    """Requests for users and items that the server does not know would measure something else."""
    wanted = read_manifest(bundle).bundle_id
    with grpc.insecure_channel(target) as channel:
        stub = admin_service_pb2_grpc.AdminServiceStub(channel)
        try:
            status = stub.GetStatus(admin_service_pb2.GetStatusRequest(), timeout=10)
        except grpc.RpcError as error:
            raise OtherBundle(f"{target} does not answer: {error}") from None
    if status.bundle.bundle_id != wanted:
        raise OtherBundle(
            f"{target} serves {status.bundle.bundle_id}, requests would be drawn from {wanted}; "
            "say with --bundle which it serves"
        )


def _show(report: Report, path: Path) -> None:
    print(_SHOWN.format("figure", "mean", "unit", "rounds"))
    for figure in report.figures:
        values = " ".join(f"{value:.4g}" for value in figure.rounds)
        print(_SHOWN.format(figure.name, f"{figure.mean:.4g}", figure.unit, values))
    for name, held in report.checks.items():
        print(f"{'held' if held else 'NOT HELD'}: {name}")
    print(f"{path}\n{path.with_suffix('.html')}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scenarios", description=__doc__)
    parser.add_argument("scenario", choices=runs.SCENARIOS)
    parser.add_argument("--target", default="", help="host:port; default: serves the bundle itself")
    parser.add_argument(
        "--beside", default="", help="host:port of another server, measured by turns (open-loop)"
    )
    parser.add_argument("--bundle", type=Path, default=DEMO, help="default: the demo shop's")
    parser.add_argument(
        "--rate", type=float, help="requests/s that count as all it can do; default: measured"
    )
    parser.add_argument("--seconds", type=float, help="of a round or a phase")
    parser.add_argument("--rounds", type=int, help="so that a report knows its own noise")
    parser.add_argument("--out", type=Path, default=REPORTS)
    options = parser.parse_args()
    if options.beside and options.scenario != "open-loop":
        parser.error("--beside: only with open-loop")
    return options


if __name__ == "__main__":
    raise SystemExit(main())
