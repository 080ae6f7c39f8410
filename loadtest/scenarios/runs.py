"""What each scenario does, from what was asked for to its reports."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop

from scenarios import ghz, locust, open_loop, plans, soak, summary
from scenarios.answers import Answers
from scenarios.report import Phase, Report, about
from tamis_server.bundles.manifest import read_manifest

Parameters = dict[str, str]
_SOAK_S = 1200.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asked for; None: what the scenario takes for good. rate: requests/s; place:
    what to disturb, where the server is ours to disturb."""

    targets: tuple[str, ...]
    bundle: Path
    rate: float | None
    seconds: float | None
    rounds: int | None
    place: soak.Place | None = None

    @property
    def target(self) -> str:
        return self.targets[0]

    def capacity(self) -> float:
        """What is given, else what the first target is measured to do."""
        return self.rate or uvloop.run(open_loop.measured_capacity(self.target, self.bundle))


def open_loop_reports(asked: Asked) -> list[Report]:
    seconds, rounds = asked.seconds or 5.0, asked.rounds or 12
    rate = asked.rate or open_loop.SHARE * asked.capacity()
    runs = uvloop.run(
        open_loop.run(asked.targets, asked.bundle, rate=rate, seconds=seconds, rounds=rounds)
    )
    pair = uuid.uuid4().hex if len(runs) > 1 else ""
    parameters = {"rate": f"{rate:.4g}", "seconds": f"{seconds:g}"}
    return [
        _report("open-loop", "driver", asked, target, run.answers, run.phases, parameters, pair)
        for target, run in zip(asked.targets, runs, strict=True)
    ]


def ghz_reports(asked: Asked) -> list[Report]:
    seconds, rounds = asked.seconds or 3.0, asked.rounds or 5
    rpcs = ghz.servable(read_manifest(asked.bundle).has_clip)
    answers, phases = ghz.run(asked.target, asked.bundle, rpcs, rounds=rounds, seconds=seconds)
    parameters = {"seconds": f"{seconds:g}"}
    return [_report("ghz", "ghz 0.121.0", asked, asked.target, answers, phases, parameters)]


def ramp_reports(asked: Asked) -> list[Report]:
    return [_shaped("ramp", asked, asked.seconds or 20.0)]


def spike_reports(asked: Asked) -> list[Report]:
    return [_shaped("spike", asked, asked.seconds or 30.0)]


def soak_reports(asked: Asked) -> list[Report]:
    if asked.place is None:
        return [_shaped("soak", asked, asked.seconds or _SOAK_S)]
    capacity, steps = asked.capacity(), plans.plan("soak", asked.seconds or _SOAK_S)
    answers, checks, series = soak.run(asked.place, asked.bundle, steps, capacity)
    parameters = {"capacity": f"{capacity:.4g}", "seconds": f"{steps[0].seconds:g}"}
    phases = plans.phases(steps)
    report = _report(
        "soak", "locust", asked, asked.target, answers, phases, parameters, cut=asked.rounds or 6
    )
    return [report.model_copy(update={"checks": checks, "series": (*report.series, *series)})]


def _shaped(scenario: str, asked: Asked, seconds: float) -> Report:
    """A plan of locust's; rounds are parts of each of its phases."""
    capacity, steps = asked.capacity(), plans.plan(scenario, seconds)
    answers = locust.run(scenario, asked.target, asked.bundle, steps, capacity)
    parameters = {"capacity": f"{capacity:.4g}", "seconds": f"{seconds:g}"}
    phases = plans.phases(steps)
    return _report(
        scenario, "locust", asked, asked.target, answers, phases, parameters, cut=asked.rounds or 4
    )


def _report(
    scenario: str,
    tool: str,
    asked: Asked,
    target: str,
    answers: Answers,
    phases: Sequence[Phase],
    parameters: Parameters,
    pair: str = "",
    cut: int = 1,
) -> Report:
    return Report(
        scenario=scenario,
        tool=tool,
        pair=pair,
        about=about(target, read_manifest(asked.bundle).bundle_id),
        parameters=parameters,
        figures=tuple(summary.figures(answers, phases, cut)),
        rows=tuple(summary.rows(answers, phases)),
        phases=tuple(phases),
        series=tuple(summary.curves(answers, phases[-1].end_s)),
    )


SCENARIOS: dict[str, Callable[[Asked], list[Report]]] = {
    "open-loop": open_loop_reports,
    "ghz": ghz_reports,
    "ramp": ramp_reports,
    "spike": spike_reports,
    "soak": soak_reports,
}
