"""The format of reports: the same whatever offered the load. JSON for machines, HTML beside it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import tamis_kernels

REPORTS = Path(__file__).resolve().parents[1] / "reports"
FORMAT: Literal[1] = 1
SHARE = "share"  # the unit of figures from 0 to 1


class NoReport(Exception):
    """A file that is no report: says which and why."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Figure(_Strict):
    """One measured quantity; ``rounds`` are its values in each round, in order of time."""

    name: str = Field(min_length=1)
    unit: str
    better: Literal["lower", "higher"]
    rounds: tuple[float, ...] = Field(min_length=1)

    @property
    def mean(self) -> float:
        return sum(self.rounds) / len(self.rounds)


class Row(_Strict):
    """What became of the requests of one RPC in one phase.

    Latencies are of answered requests, in ms, None where there are none; ``rate`` counts answers a
    second; levels: answers by degradation level, empty where the tool does not tell.
    """

    phase: str
    rpc: str
    requests: int = Field(ge=0)
    rate: float
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    p999_ms: float | None
    longest_ms: float | None
    failures: dict[str, int]
    levels: dict[str, int]


class Series(_Strict):
    """A curve over the run: ``at_s`` are seconds since its begin."""

    plot: str
    name: str
    unit: str
    at_s: tuple[float, ...]
    values: tuple[float | None, ...]


class Phase(_Strict):
    """A part of the run under one load; rounds are parts of it, or of several with one name."""

    name: str
    start_s: float
    end_s: float


class Report(_Strict):
    """One run of one scenario.

    pair: names the run that two reports were measured in, turn by turn; empty: it was alone.
    about: machine, commit, bundle …; parameters: what must be equal for two reports to be compared.
    checks: what had to be true, and whether it was.
    """

    format: Literal[1] = FORMAT
    scenario: str
    tool: str
    pair: str = ""
    about: dict[str, str]
    parameters: dict[str, str]
    checks: dict[str, bool] = {}
    figures: tuple[Figure, ...]
    rows: tuple[Row, ...]
    phases: tuple[Phase, ...] = ()
    series: tuple[Series, ...] = ()


def about(target: str, bundle_id: str) -> dict[str, str]:
    """Where and when a run was made."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"],
        capture_output=True, text=True, check=False, cwd=REPORTS.parent,
    )  # fmt: skip
    return {
        "target": target,
        "bundle": bundle_id,
        "commit": commit.stdout.strip() or "unknown",
        "kernel level here": tamis_kernels.level(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load average": f"{os.getloadavg()[0]:.1f}",
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def write_text(path: Path, text: str) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)


def read(path: Path) -> Report:
    """Raises NoReport."""
    try:
        return Report.model_validate(json.loads(path.read_text("utf-8")))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise NoReport(f"{path}: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise NoReport(f"{path}: no load report: {where}: {first['msg']}") from None
